//! Requests, and connections that are opened and closed.

use std::hint::black_box;

use axeom_ws::{
    Bytes,
    handshake::{HeadLimits, HeadReader, OriginPolicy, check_head, check_upgrade, encode},
    http::HeaderValue,
};

use super::{
    Case, Work,
    connection::{Connection, HEAD, echo},
};

/// As a browser sends it.
const BROWSER: &[u8] = b"GET /chat/lobby?lang=en HTTP/1.1\r\n\
    Host: chat.example.com\r\n\
    Connection: Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/138.0.0.0 Safari/537.36\r\n\
    Upgrade: websocket\r\n\
    Origin: https://chat.example.com\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Cookie: session=6f1ed002ab5595859014ebf0951522d9; theme=dark\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: chat.v2, chat.v1\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::counted("head, checked and answered", 200, answer),
        Case::counted("head of a browser, checked and answered", 100, || respond(BROWSER)),
        Case::counted("connect, upgrade, close", 50, connect),
    ]
}

fn answer() -> Work {
    respond(HEAD)
}

fn respond(head: &'static [u8]) -> Work {
    let origins = OriginPolicy::default();
    let protocol = HeaderValue::from_static("chat.v2");
    Work::new(1, move || {
        let head = HeadReader::new(HeadLimits::default()).read(head).unwrap().unwrap();
        check_head(&head.request).unwrap();
        let upgrade = check_upgrade(&head.request, &origins, None).unwrap();
        black_box(encode(&upgrade.response(Some(&protocol)).map(|()| Bytes::new())));
    })
}

fn connect() -> Work {
    let service = echo().build().unwrap();
    let head = Bytes::from_static(HEAD);
    let close = Bytes::from_static(&[0x88, 0x82, 0, 0, 0, 0, 3, 0xe8]);
    Work::new(1, move || {
        let mut connection = Connection::open_with(&service, &head);
        connection.receive(&close);
        connection.end();
        assert!(!connection.is_open());
        assert_eq!(connection.written(), 4);
    })
}
