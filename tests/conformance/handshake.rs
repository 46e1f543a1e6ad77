//! Which requests become connections: what a good one gets, and what is wrong with others.

use axeom_ws::{App, Rejection};

use crate::{
    on_every_runtime,
    support::{
        Events, TestRuntime, TestServer,
        frame::{self, Frame},
        raw::{ACCEPT, KEY, Response},
        recorder::{Seen, recorder},
        request::Request,
    },
};

on_every_runtime!(
    a_good_request_gets_101_and_the_accept_key,
    upgrade_and_connection_are_token_lists_in_any_case,
    an_unknown_route_is_not_found,
    a_method_that_is_not_get_is_not_allowed,
    a_request_that_asks_for_no_upgrade_is_told_to,
    another_version_is_told_the_right_one,
    a_header_that_may_be_sent_once_is_refused_twice,
    a_key_that_is_not_one_of_16_bytes_is_refused,
    a_request_with_a_body_is_refused,
    an_empty_body_may_be_announced,
    the_first_thing_that_is_wrong_is_answered,
    bytes_right_after_the_head_are_the_first_frames,
    a_refused_request_opens_nothing,
    the_head_of_a_refusal_has_no_body_for_head
);

/// A server with an echo under `/chat`.
async fn chat<R: TestRuntime>() -> TestServer {
    let app = App::new().ws("/chat", |route| {
        route.message(async |ws, msg| {
            let _ = ws.send(msg).await;
        })
    });
    TestServer::start::<R, _>(app).await
}

async fn ask<R: TestRuntime>(server: &TestServer, request: &Request) -> Response {
    server.raw::<R>().await.ask(request).await
}

/// What holds for every refusal.
pub(crate) fn assert_refused(response: &Response, status: u16, request: &dyn std::fmt::Debug) {
    assert_eq!(response.status, status, "{request:?}: {response:?}");
    let length = response.body.len().to_string();
    assert_eq!(response.header("content-length"), Some(length.as_str()), "{response:?}");
    let connection = response.header("connection").unwrap_or_default();
    assert!(connection.split(", ").any(|token| token == "close"), "{response:?}");
    assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(response.header("date").is_some_and(|date| date.ends_with(" GMT")), "{response:?}");
    let line = response.body.strip_suffix('\n').expect("the body ends its line");
    assert!(!line.is_empty() && !line.contains('\n'), "not one line: {line:?}");
}

async fn a_good_request_gets_101_and_the_accept_key<R: TestRuntime>() {
    let server = chat::<R>().await;
    let mut raw = server.raw::<R>().await;
    let response = raw.upgrade("/chat").await;
    assert_eq!(response.header("upgrade"), Some("websocket"));
    assert_eq!(response.header("connection"), Some("Upgrade"));
    assert_eq!(response.header("sec-websocket-accept"), Some(ACCEPT));
    for absent in [
        "content-length",
        "transfer-encoding",
        "sec-websocket-protocol",
        "sec-websocket-extensions",
        "sec-websocket-version",
    ] {
        assert_eq!(response.header(absent), None);
    }
    raw.send(frame::masked(frame::TEXT, b"hello")).await;
    assert_eq!(raw.frame().await, Frame::text("hello"));
}

async fn upgrade_and_connection_are_token_lists_in_any_case<R: TestRuntime>() {
    let server = chat::<R>().await;
    let good = Request::get("/chat");
    for request in [
        good.clone().with("Upgrade", "WebSocket"),
        good.clone().with("Upgrade", "h2c, websocket"),
        good.clone().with("Upgrade", "h2c").and("upgrade: WEBSOCKET"),
        good.clone().with("Connection", "upgrade"),
        good.clone().with("Connection", "keep-alive, Upgrade"),
        good.clone().with("Connection", "keep-alive,UPGRADE ,\t"),
        good.clone().with("Connection", "keep-alive").and("CONNECTION: upgrade"),
        good.clone().without("Sec-WebSocket-Version").and("sec-websocket-VERSION:13"),
        good.clone().without("Sec-WebSocket-Key").and(format!("SEC-WEBSOCKET-KEY:\t {KEY} ")),
        good.clone().line("/chat", "/chat?a=b"),
        good.clone().line("/chat", "http://localhost/chat"),
    ] {
        let mut raw = server.raw::<R>().await;
        raw.send(request.text()).await;
        assert_eq!(raw.head().await.status, 101, "{request:?}");
    }
}

async fn an_unknown_route_is_not_found<R: TestRuntime>() {
    let server = chat::<R>().await;
    for path in ["/", "/cha", "/chat/", "/chat/x", "/CHAT", "//chat"] {
        let response = ask::<R>(&server, &Request::get(path)).await;
        assert_refused(&response, 404, &path);
    }
}

async fn a_method_that_is_not_get_is_not_allowed<R: TestRuntime>() {
    let server = chat::<R>().await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "get", "GETS"] {
        let response = ask::<R>(&server, &Request::get("/chat").line("GET", method)).await;
        assert_refused(&response, 405, &method);
        assert_eq!(response.header("allow"), Some("GET"));
    }
}

async fn the_head_of_a_refusal_has_no_body_for_head<R: TestRuntime>() {
    let server = chat::<R>().await;
    let response = ask::<R>(&server, &Request::get("/chat").line("GET", "HEAD")).await;
    assert_eq!((response.status, response.body.as_str()), (405, ""));
    assert_ne!(response.header("content-length"), Some("0"), "the length is that for GET");
}

async fn a_request_that_asks_for_no_upgrade_is_told_to<R: TestRuntime>() {
    let server = chat::<R>().await;
    let good = Request::get("/chat");
    for request in [
        Request::plain("GET /chat"),
        good.clone().line("HTTP/1.1", "HTTP/1.0"),
        good.clone().without("Upgrade"),
        good.clone().with("Upgrade", "h2c"),
        good.clone().with("Upgrade", "websockets"),
        good.clone().with("Upgrade", "\"websocket\""),
        good.clone().with("Upgrade", "web socket"),
        good.clone().without("Connection"),
        good.clone().with("Connection", "keep-alive"),
        good.clone().with("Connection", "keep-alive; upgrade"),
        good.clone().with("Connection", "upgraded"),
    ] {
        let response = ask::<R>(&server, &request).await;
        assert_refused(&response, 426, &request);
        assert_eq!(response.header("upgrade"), Some("websocket"), "{request:?}");
        let connection = response.header("connection").unwrap();
        assert!(connection.split(", ").any(|token| token == "Upgrade"), "{response:?}");
        assert_eq!(response.header("sec-websocket-version"), None, "{request:?}");
    }
}

async fn another_version_is_told_the_right_one<R: TestRuntime>() {
    let server = chat::<R>().await;
    let good = Request::get("/chat");
    for request in [
        good.clone().without("Sec-WebSocket-Version"),
        good.clone().with("Sec-WebSocket-Version", "8"),
        good.clone().with("Sec-WebSocket-Version", "014"),
        good.clone().with("Sec-WebSocket-Version", "13, 8"),
        good.clone().with("Sec-WebSocket-Version", ""),
    ] {
        let response = ask::<R>(&server, &request).await;
        assert_refused(&response, 426, &request);
        assert_eq!(response.header("sec-websocket-version"), Some("13"), "{request:?}");
        assert_eq!(response.header("upgrade"), Some("websocket"), "{request:?}");
    }
}

async fn a_header_that_may_be_sent_once_is_refused_twice<R: TestRuntime>() {
    let server = chat::<R>().await;
    for header in [
        "Host: localhost",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Version: 8",
        &format!("Sec-WebSocket-Key: {KEY}"),
        "Origin: http://localhost",
        "Origin: http://elsewhere",
        "Content-Length: 0",
    ] {
        let name = header.split(':').next().unwrap();
        let good = match name {
            "Origin" | "Content-Length" => Request::get("/chat").and(header),
            _ => Request::get("/chat"),
        };
        let response = ask::<R>(&server, &good.and(header)).await;
        assert_refused(&response, 400, &header);
        assert!(response.body.contains(name), "{header}: {response:?}");
    }
}

async fn a_key_that_is_not_one_of_16_bytes_is_refused<R: TestRuntime>() {
    let server = chat::<R>().await;
    let good = Request::get("/chat");
    let repeated = good.clone().and(format!("Sec-WebSocket-Key: {KEY}"));
    let missing = good.clone().without("Sec-WebSocket-Key");
    let wrong = [
        "",
        "x",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25jZSE=",
        "dGhlIHNhbXBsZSBub25jZSEh",
        // The last digit has bits that belong to no byte.
        "dGhlIHNhbXBsZSBub25jZR==",
        "dGhlIHNhbXBsZSBub25jZf==",
        "dGhlIHNhbXBsZSBub25j-Q==",
        "dGhlIHNhbXBsZS\u{a0}ub25jZQ==",
        "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let wrong = wrong.map(|key| good.clone().with("Sec-WebSocket-Key", key));
    for request in wrong.iter().chain([&repeated, &missing]) {
        let response = ask::<R>(&server, request).await;
        assert_refused(&response, 400, request);
        assert!(response.body.contains("Sec-WebSocket-Key"), "{response:?}");
    }
}

async fn a_request_with_a_body_is_refused<R: TestRuntime>() {
    let server = chat::<R>().await;
    let good = Request::get("/chat");
    for header in [
        "Content-Length: 1",
        "Content-Length: 00000000000000000005",
        "Content-Length: 0, 1",
        "Content-Length: -0",
        "Content-Length: +0",
        "Content-Length: ",
        "Content-Length: 0\r\nContent-Length: 7",
        "Content-Length: 0\r\nContent-Length: 0",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: ",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
    ] {
        let response = ask::<R>(&server, &good.clone().and(header)).await;
        assert_refused(&response, 400, &header);
        assert!(response.body.contains("body"), "{response:?}");
    }
}

async fn an_empty_body_may_be_announced<R: TestRuntime>() {
    let server = chat::<R>().await;
    let mut raw = server.raw::<R>().await;
    raw.send(Request::get("/chat").and("Content-Length: 0").text()).await;
    assert_eq!(raw.head().await.status, 101);
}

/// One thing wrong with a request: how to do it wrong, and the answer.
type Fault = (fn(Request) -> Request, u16, &'static str);

/// In the order in which they are looked at.
const FAULTS: [Fault; 12] = [
    (|request| request.without("Host"), 400, "Host"),
    (|request| request.line(" /chat", " http://elsewhere/chat"), 421, "allow_hosts"),
    (|request| request.line("/chat", "/nowhere"), 404, "route"),
    (|request| request.line("GET", "POST"), 405, "GET"),
    (|request| request.without("Upgrade"), 426, "Upgrade: websocket"),
    (|request| request.without("Sec-WebSocket-Version"), 426, "Sec-WebSocket-Version: 13"),
    (|request| request.without("Sec-WebSocket-Key"), 400, "Sec-WebSocket-Key"),
    (|request| request.and("Content-Length: 5"), 400, "body"),
    (|request| request.with("Origin", "http://evil.example"), 403, "Origin"),
    (|request| request.without("X-User"), 401, "authentication"),
    (|request| request.without("Sec-WebSocket-Protocol"), 400, "Sec-WebSocket-Protocol"),
    (|request| request.and("Sec-WebSocket-Extensions: ;"), 400, "Sec-WebSocket-Extensions"),
];

async fn the_first_thing_that_is_wrong_is_answered<R: TestRuntime>() {
    let app = App::new()
        .allow_hosts(["localhost"])
        .derive(async |ctx| ctx.header("x-user").map(drop).ok_or(Rejection::unauthorized("Bearer")))
        .ws("/chat", |route| route.protocols(["v1"]).require_protocol());
    let server = TestServer::start::<R, _>(app).await;
    let good = Request::get("/chat").and("X-User: ada").and("Sec-WebSocket-Protocol: v1");
    let mut raw = server.raw::<R>().await;
    raw.send(good.text()).await;
    assert_eq!(raw.head().await.status, 101);

    for (i, (first, status, says)) in FAULTS.iter().enumerate() {
        for (second, ..) in &FAULTS[i..] {
            // The first fault again changes nothing, and is the case of one fault alone.
            let faulty = first(good.clone());
            let both = std::panic::catch_unwind(|| second(faulty.clone())).unwrap_or(faulty);
            let response = ask::<R>(&server, &both).await;
            assert_refused(&response, *status, &both);
            assert!(response.body.contains(says), "{both:?}: {response:?}");
        }
    }
}

async fn bytes_right_after_the_head_are_the_first_frames<R: TestRuntime>() {
    let (app, mut events) = recorder();
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.raw::<R>().await;
    let mut bytes = Request::get("/").text().into_bytes();
    bytes.extend(frame::masked(frame::TEXT, b"early"));
    bytes.extend(frame::masked(frame::PING, b"p"));
    // Larger than one read of a head, and ending in the middle of a frame.
    let large = vec![b'x'; 20_000];
    let split = bytes.len() + 10_000;
    bytes.extend(frame::masked(frame::TEXT, &large));
    raw.send(&bytes[..split]).await;
    assert_eq!(raw.head().await.status, 101);
    assert_eq!(raw.frame().await, Frame::text("early"));
    assert_eq!(raw.frame().await, Frame::new(frame::PONG, "p"));
    raw.send(&bytes[split..]).await;
    assert_eq!(raw.frame().await, Frame::new(frame::TEXT, large));
    assert_eq!(events.next().await, Seen::Open);
    assert_eq!(events.next().await, Seen::text("early"));
}

async fn a_refused_request_opens_nothing<R: TestRuntime>() {
    let mut events = Events::new();
    let (derived, opened) = (events.teller(), events.teller());
    let app = App::new()
        .derive(move |_| {
            derived("derived");
            async { Ok(()) }
        })
        .ws("/chat", |route| {
            route.open(move |_| {
                opened("opened");
                async {}
            })
        });
    let server = TestServer::start::<R, _>(app).await;
    // Frames behind a refused request are no frames.
    let request = Request::get("/chat").without("Sec-WebSocket-Key");
    let mut bytes = request.text().into_bytes();
    bytes.extend(frame::masked(frame::TEXT, b"smuggled"));
    let mut raw = server.raw::<R>().await;
    raw.send(bytes).await;
    assert_refused(&raw.response().await, 400, &request);
    assert_eq!(server.handle.connections(), 0);
    assert_eq!(events.rest(), [] as [&str; 0], "derives run for valid handshakes only");
    server.upgraded::<R>("/chat").await;
    assert_eq!(events.next().await, "derived");
    assert_eq!(events.next().await, "opened");
}
