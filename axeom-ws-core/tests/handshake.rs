//! The handshake on its own, without any runtime: what holds for all requests.

use axeom_ws_core::handshake::{
    Head, HeadLimits, HeadReader, OriginPolicy, Refusal, check_head, check_upgrade, encode,
    is_upgrade, offered_extensions, offered_protocols,
};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version};
use proptest::{collection::vec, prelude::*, sample::Index};

const LIMITS: HeadLimits = HeadLimits::new().size(400).headers(8).request_line(80);

/// Shows a reader more and more of `input`; what it says in the end.
fn read(input: &[u8], cuts: &[Index]) -> Result<Option<(String, usize)>, Refusal> {
    let mut reader = HeadReader::new(LIMITS);
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    cuts.push(input.len());
    cuts.sort_unstable();
    for end in cuts {
        if let Some(Head { request, size, .. }) = reader.read(&input[..end])? {
            return Ok(Some((format!("{request:?}"), size)));
        }
    }
    Ok(None)
}

/// Heads as clients send them, such with some bytes changed, and noise.
fn heads() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(&[
        "GET /chat HTTP/1.1",
        "GET /chat?a=b HTTP/1.0",
        "POST / HTTP/1.1",
        "",
        "GET / HTTP/3",
        "GET /a-rather-long-path-that-goes-on-and-on-and-on-and-on-and-on-and-on HTTP/1.1",
    ]);
    let header = prop::sample::select(&[
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: keep-alive, Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Extensions: a; b=\"c\", d",
        "Sec-WebSocket-Protocol: v1, v2",
        "Origin: http://localhost",
        "X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        " folded",
        "no colon",
    ]);
    let ends = prop::sample::select(&["\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r"]);
    let head = (line, vec((header, ends), 0..10)).prop_map(|(line, headers)| {
        let mut head = format!("{line}\r\n");
        headers.iter().for_each(|(header, end)| head.extend([*header, *end]));
        head + "\r\nbytes of the connection"
    });
    let changes = vec((any::<Index>(), any::<u8>()), 0..3);
    let changed = (head, changes).prop_map(|(head, changes)| {
        let mut head = head.into_bytes();
        for (at, byte) in changes {
            let at = at.index(head.len());
            head[at] = byte;
        }
        head
    });
    prop_oneof![9 => changed, 1 => vec(any::<u8>(), 0..500)]
}

proptest! {
    #[test]
    fn any_chunking_of_a_head_gives_the_same_request(
        input in heads(),
        cuts in vec(any::<Index>(), 0..20),
    ) {
        let whole = read(&input, &[]);
        prop_assert_eq!(&read(&input, &cuts), &whole);
        // Byte by byte.
        let mut reader = HeadReader::new(LIMITS);
        let stepped = (0..=input.len()).find_map(|end| reader.read(&input[..end]).transpose());
        let stepped = stepped.transpose().map(|head| {
            head.map(|Head { request, size, .. }| (format!("{request:?}"), size))
        });
        prop_assert_eq!(stepped, whole);
    }

    #[test]
    fn whatever_is_read_is_checked_without_a_panic(input in heads()) {
        let mut reader = HeadReader::new(HeadLimits::default());
        if let Ok(Some(Head { request, size, .. })) = reader.read(&input) {
            prop_assert!(size <= input.len());
            prop_assert!(input[..size].ends_with(b"\r\n\r\n"));
            let upgrade = check_head(&request)
                .and_then(|()| check_upgrade(&request, &OriginPolicy::default(), None));
            let _ = (offered_protocols(&request), offered_extensions(&request));
            if upgrade.is_ok() {
                prop_assert!(is_upgrade(&request));
                prop_assert_eq!(request.version(), Version::HTTP_11);
                prop_assert_eq!(request.headers().get_all("host").iter().count(), 1);
            }
        }
    }

    #[test]
    fn no_head_is_read_past_its_limits(byte in any::<u8>(), prefix in "(GET / HTTP/1.1\r\n)?") {
        // Whatever it is made of: something is said by the limit at the latest.
        let mut input = prefix.into_bytes();
        input.resize(LIMITS.size + 1, byte);
        prop_assert!(read(&input, &[]).is_err());
    }

    #[test]
    fn sixteen_bytes_of_base64_are_a_key(digits in "[A-Za-z0-9+/]{21}[AQgw]", at in 0..24_usize) {
        let key = format!("{digits}==");
        let response = check_upgrade(&request(&key), &OriginPolicy::default(), None);
        prop_assert!(response.is_ok());
        let mut broken = key.into_bytes();
        broken[at] = b'-';
        let broken = String::from_utf8(broken).unwrap();
        let refusal = check_upgrade(&request(&broken), &OriginPolicy::default(), None);
        prop_assert_eq!(refusal, Err(Refusal::BadKey));
    }

    #[test]
    fn a_response_is_what_http_parsers_read(
        status in prop_oneof![200..600_u16, Just(204), Just(304)],
        headers in vec(("x-[a-z]{1,10}", "[!-~]([ -~]{0,20}[!-~])?"), 0..10),
        body in vec(any::<u8>(), 0..100),
    ) {
        let mut response = Response::builder().status(status);
        for (name, value) in &headers {
            response = response.header(name, value);
        }
        let bytes = encode(&response.body(body.clone()).unwrap());
        let mut parsed = [httparse::EMPTY_HEADER; 20];
        let mut parsed = httparse::Response::new(&mut parsed);
        let size = parsed.parse(&bytes).unwrap().unwrap();
        prop_assert_eq!(parsed.code, Some(status));
        // These two have no body.
        let sent = Some(&body).filter(|_| ![204, 304].contains(&status));
        prop_assert_eq!(&bytes[size..], &sent.cloned().unwrap_or_default()[..]);
        let values = |name: &str| {
            let named = parsed.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name));
            named.map(|h| String::from_utf8(h.value.to_vec()).unwrap()).collect::<Vec<_>>()
        };
        let length: Vec<_> = sent.map(|body| body.len().to_string()).into_iter().collect();
        prop_assert_eq!(values("content-length"), length);
        prop_assert_eq!(values("connection"), ["close"]);
        for (name, _) in &headers {
            let sent = headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone());
            prop_assert_eq!(values(name), sent.collect::<Vec<_>>());
        }
    }
}

/// A good handshake with this key.
fn request(key: &str) -> Request<()> {
    Request::get("/")
        .header("host", "localhost")
        .header("upgrade", "websocket")
        .header("connection", "Upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", key)
        .body(())
        .unwrap()
}

#[test]
fn the_accept_key_is_that_of_the_rfc() {
    let request = request("dGhlIHNhbXBsZSBub25jZQ==");
    let upgrade = check_upgrade(&request, &OriginPolicy::default(), None).unwrap();
    let protocol = HeaderValue::from_static("v1");
    let response = upgrade.response(Some(&protocol)).map(|()| Bytes::new());
    assert_eq!(
        String::from_utf8(encode(&response)).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\n\
         Upgrade: websocket\r\n\
         Connection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         Sec-WebSocket-Protocol: v1\r\n\r\n"
    );
}

#[test]
fn every_refusal_is_a_whole_response_of_one_line() {
    for (refusal, status) in [
        (Refusal::InvalidHead("it is not"), 400),
        (Refusal::BareLf, 400),
        (Refusal::FoldedHeader, 400),
        (Refusal::Host, 400),
        (Refusal::MalformedHost { host: "a b".to_owned() }, 400),
        (Refusal::Repeated { header: "Origin" }, 400),
        (Refusal::UnknownHost { host: "elsewhere".to_owned() }, 421),
        (Refusal::RequestLineTooLong { limit: 1 }, 414),
        (Refusal::HeadTooLarge { limit: 1 }, 431),
        (Refusal::TooManyHeaders { limit: 1 }, 431),
        (Refusal::TimedOut, 408),
        (Refusal::NotFound, 404),
        (Refusal::MethodNotAllowed, 405),
        (Refusal::FallbackMethod, 405),
        (Refusal::UpgradeRequired, 426),
        (Refusal::UnsupportedVersion, 426),
        (Refusal::BadKey, 400),
        (Refusal::Body, 400),
        (Refusal::ForeignOrigin { origin: "http://elsewhere".to_owned() }, 403),
        (Refusal::Failed, 500),
        (Refusal::ProtocolRequired, 400),
        (Refusal::BadProtocols, 400),
        (Refusal::BadExtensions, 400),
        (Refusal::AtCapacity, 503),
        (Refusal::ShuttingDown, 503),
    ] {
        assert_eq!(refusal.status(), status, "{refusal:?}");
        let has = |name: &str| refusal.clone().into_response().headers().contains_key(name);
        assert_eq!(has("allow"), status == 405);
        assert_eq!(has("upgrade"), status == 426);
        assert_eq!(has("retry-after"), status == 503);
        assert_eq!(has("sec-websocket-version"), refusal == Refusal::UnsupportedVersion);
        let response = refusal.into_response();
        assert_eq!(response.status(), status);
        let body = std::str::from_utf8(response.body()).unwrap();
        assert_eq!(body.lines().count(), 1, "{body:?}");
        assert!(body.ends_with('\n') && body.len() > 10, "{body:?}");
    }
}
