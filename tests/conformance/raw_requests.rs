//! Requests as bytes on the wire, good and bad: what each is answered, that its connection ends in
//! an orderly way, and that the next client is served as if nothing had been.

use std::time::Duration;

use axeom_ws::App;

use super::handshake::assert_refused;
use crate::{
    on_every_runtime,
    support::{
        TestRuntime, TestServer,
        frame::{self, Frame, TEXT},
        raw::{KEY, Raw},
        request::Request,
    },
};

on_every_runtime!(
    every_request_has_its_answer,
    every_request_has_its_answer_byte_by_byte,
    a_request_that_never_ends_has_its_answer
);

/// What follows from the bytes of a request.
enum Answer {
    /// A refusal of this status.
    Refused(u16),
    /// A connection, on which these texts come back.
    Echoes(&'static [&'static str]),
    /// A connection, which is closed with this code for what came behind the head.
    Closed(u16),
}

use Answer::{Closed, Echoes, Refused};

struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    answer: Answer,
}

fn case(name: &'static str, bytes: impl Into<Vec<u8>>, answer: Answer) -> Case {
    Case { name, bytes: bytes.into(), answer }
}

fn cases() -> Vec<Case> {
    let mut cases = lines_and_bytes();
    cases.extend(targets_and_hosts());
    cases.extend(tokens_and_methods());
    cases.extend(sizes());
    cases.extend(what_follows_the_head());
    cases.extend(other_protocols());
    cases
}

fn good() -> Request {
    Request::get("/chat")
}

/// How lines end and begin, and bytes that belong nowhere in a head.
fn lines_and_bytes() -> Vec<Case> {
    let text = good().text();
    let with = |line: &str| good().and(line).text();
    vec![
        case("as it should be", text.clone(), Echoes(&[])),
        case("empty lines in front", format!("\r\n\r\n{text}"), Echoes(&[])),
        case("LF alone everywhere", text.replace('\r', ""), Refused(400)),
        case("LF alone after the request line", text.replacen("\r\n", "\n", 1), Refused(400)),
        case("LF alone at the end", text.replace("\r\n\r\n", "\r\n\n"), Refused(400)),
        case("LF in front", format!("\n{text}"), Refused(400)),
        case("CR alone everywhere", text.replace("\r\n", "\r") + "\r\n\r\n", Refused(400)),
        case("CR twice", text.replacen("\r\n", "\r\r\n", 1), Refused(400)),
        case("CR in a value", with("X-Any: a\rUpgrade: h2c"), Refused(400)),
        case("CR in the target", text.replace("/chat", "/chat\rX: a"), Refused(400)),
        case("CR in a name", with("X\r-Any: a"), Refused(400)),
        case("NUL in a value", with("X-Any: a\0b"), Refused(400)),
        case("NUL in a name", with("X\0Any: a"), Refused(400)),
        case("NUL in the target", text.replace("/chat", "/chat\0"), Refused(400)),
        case("NUL in the method", text.replace("GET", "G\0T"), Refused(400)),
        case("a folded header", with("X-Any: a\r\n b"), Refused(400)),
        case("a folded header, by a tab", with("X-Any: a\r\n\tb"), Refused(400)),
        case("a space before the first header", text.replace("Host", " Host"), Refused(400)),
        case("a space before the colon", with("X-Any : a"), Refused(400)),
        case("a header without a name", with(": a"), Refused(400)),
        case("a header without a colon", with("X-Any"), Refused(400)),
        case("spaces around a value", with("X-Any: \t a \t "), Echoes(&[])),
        case("bytes over 127 in a value", with("X-Any: \u{e9}"), Echoes(&[])),
        case("bytes over 127 in a name", with("X-\u{e9}: a"), Refused(400)),
        case("a space behind the version", text.replace("HTTP/1.1", "HTTP/1.1 "), Refused(400)),
        case("two spaces", text.replace("GET ", "GET  "), Refused(400)),
        case("a lower-case version", text.replace("HTTP/1.1", "http/1.1"), Refused(400)),
        case("no version", text.replace(" HTTP/1.1", ""), Refused(400)),
        case("no target", text.replace(" /chat", ""), Refused(400)),
        case("HTTP/1.0", text.replace("HTTP/1.1", "HTTP/1.0"), Refused(426)),
        case("HTTP/1.2", text.replace("HTTP/1.1", "HTTP/1.2"), Refused(400)),
    ]
}

fn targets_and_hosts() -> Vec<Case> {
    let to = |target: &str| Request::get(target).text();
    let host = |host: &str| good().with("Host", host).text();
    vec![
        case("an unknown path", to("/nowhere"), Refused(404)),
        case("a query", to("/chat?a=b"), Echoes(&[])),
        case("an absolute target", to("http://elsewhere:81/chat"), Echoes(&[])),
        case("an absolute target with userinfo", to("http://a@b/chat"), Refused(400)),
        case("a fragment", to("/chat#x"), Refused(400)),
        case("an asterisk", to("*"), Refused(400)),
        case("no slash", to("chat"), Refused(400)),
        case("no Host", good().without("Host").text(), Refused(400)),
        case("two Hosts", good().and("Host: localhost").text(), Refused(400)),
        case("two different Hosts", good().and("HOST: elsewhere").text(), Refused(400)),
        case("an empty Host", host(""), Refused(400)),
        case("a Host with a space", host("a b"), Refused(400)),
        case("a Host with userinfo", host("a@b"), Refused(400)),
        case("a Host with a path", host("a/x"), Refused(400)),
        case("a Host that is a list", host("a, b"), Refused(400)),
        case("a Host with a port over 65535", host("a:65536"), Refused(400)),
        case("a Host with a port of letters", host("a:b"), Refused(400)),
        case("a Host that is a bare IPv6 address", host("::1"), Refused(400)),
        case("a Host that is an IPv6 address", host("[::1]:3000"), Echoes(&[])),
    ]
}

/// Token lists in any case and spacing, methods, and headers that say something of a body.
fn tokens_and_methods() -> Vec<Case> {
    let with = |name: &str, value: &str| good().with(name, value).text();
    let and = |line: &str| good().and(line).text();
    let method = |method: &str| good().line("GET", method).text();
    vec![
        case("tokens in capitals", with("Upgrade", "WEBSOCKET"), Echoes(&[])),
        case("a token list", with("Connection", ",keep-alive\t, ,uPgRaDe,"), Echoes(&[])),
        case("a token list in two headers", and("Connection: keep-alive"), Echoes(&[])),
        case("a token that only begins so", with("Connection", "upgrades"), Refused(426)),
        case("a quoted token", with("Upgrade", "\"websocket\""), Refused(426)),
        case("tokens with spaces for commas", with("Connection", "a upgrade"), Refused(426)),
        case("another version", with("Sec-WebSocket-Version", "8"), Refused(426)),
        case("two versions", and("Sec-WebSocket-Version: 13"), Refused(400)),
        case("a short key", with("Sec-WebSocket-Key", "AAAA"), Refused(400)),
        case("two keys", and(&format!("Sec-WebSocket-Key: {KEY}")), Refused(400)),
        case("two Origins", and("Origin: a\r\nOrigin: a"), Refused(400)),
        case("a foreign Origin", and("Origin: http://elsewhere"), Refused(403)),
        case("an Origin with userinfo", and("Origin: http://evil@localhost"), Refused(403)),
        case("POST", method("POST"), Refused(405)),
        case("a lower-case method", method("get"), Refused(405)),
        case("CONNECT to a path", method("CONNECT"), Refused(405)),
        case("CONNECT", Request::plain("CONNECT localhost:80").text(), Refused(404)),
        case("OPTIONS *", Request::plain("OPTIONS *").text(), Refused(404)),
        case("Expect on a handshake", and("Expect: 100-continue"), Echoes(&[])),
        case(
            "Expect with a body",
            Request::plain("POST /chat")
                .and("Expect: 100-continue")
                .and("Content-Length: 9")
                .text(),
            Refused(405),
        ),
        case("a body of no bytes", and("Content-Length: 0"), Echoes(&[])),
        case("a body", and("Content-Length: 5") + "hello", Refused(400)),
        case("two lengths", and("Content-Length: 0\r\nContent-Length: 0"), Refused(400)),
        case("a body in chunks", and("Transfer-Encoding: chunked") + "0\r\n\r\n", Refused(400)),
        case("broken extensions", and("Sec-WebSocket-Extensions: a;"), Refused(400)),
        case("broken subprotocols", and("Sec-WebSocket-Protocol: a b"), Refused(400)),
    ]
}

fn sizes() -> Vec<Case> {
    let headers = (0..2000).fold(good(), |request, n| request.and(format!("X{n}: a")));
    let few =
        (0..101).fold(Request::plain("GET /chat"), |request, n| request.and(format!("X{n}:")));
    let value = "a".repeat(100 * 1024);
    let path = "a".repeat(20 * 1024);
    vec![
        case("2 000 headers", headers.text(), Refused(431)),
        case("one header too many", few.text(), Refused(431)),
        case("a header of 100 KiB", good().and(format!("X-Any: {value}")).text(), Refused(431)),
        case("a header name of 100 KiB", good().and(format!("{value}: a")).text(), Refused(431)),
        case("a request line of 20 KiB", Request::get(&format!("/{path}")).text(), Refused(414)),
        case("a method of 20 KiB", good().line("GET", &path).text(), Refused(414)),
        case("a line of 100 KiB without an end", value, Refused(414)),
        case(
            "a header of 100 KiB without an end",
            {
                let mut bytes = b"GET /chat HTTP/1.1\r\nX-Any: ".to_vec();
                bytes.resize(100 * 1024, b'a');
                bytes
            },
            Refused(431),
        ),
        case("empty lines without an end", "\r\n".repeat(20 * 1024), Refused(431)),
    ]
}

/// What is glued to a head is the first of the connection, or is dropped with it.
fn what_follows_the_head() -> Vec<Case> {
    let glued = |head: String, tails: &[&[u8]]| [&[head.as_bytes()], tails].concat().concat();
    let hello = frame::masked(TEXT, b"hello");
    let ping = frame::masked(frame::PING, b"");
    vec![
        case("an early frame", glued(good().text(), &[&hello]), Echoes(&["hello"])),
        case("early frames", glued(good().text(), &[&hello, &hello]), Echoes(&["hello", "hello"])),
        case("an early frame without a mask", glued(good().text(), &[&[0x81, 0]]), Closed(1002)),
        case("a second upgrade", glued(good().text(), &[good().text().as_bytes()]), Closed(1002)),
        case("another empty line behind the head", glued(good().text(), &[b"\r\n"]), Closed(1002)),
        case(
            "frames behind a refused head",
            glued(good().line("GET", "POST").text(), &[&hello, &ping]),
            Refused(405),
        ),
        case(
            "an upgrade behind a refused head",
            glued(Request::get("/nowhere").text(), &[good().text().as_bytes()]),
            Refused(404),
        ),
    ]
}

/// What clients send that speak another protocol.
fn other_protocols() -> Vec<Case> {
    // The beginning of a ClientHello: a record of a handshake, of 512 bytes, in TLS 1.0's clothes.
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.resize(517, 0x2a);
    vec![
        case("a TLS ClientHello", hello, Refused(400)),
        case("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0", Refused(400)),
        case(
            "a PROXY line",
            format!("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n{}", good().text()),
            Refused(400),
        ),
        case("the PROXY header in binary", "\r\n\r\n\0\r\nQUIT\n", Refused(400)),
        case("a greeting of SSH", "SSH-2.0-OpenSSH_9.6\r\n\r\n", Refused(400)),
        case("a frame without a handshake", frame::masked(TEXT, b"hello"), Refused(400)),
    ]
}

/// Sends the bytes of a case in pieces of this size, and looks at all that comes of it.
async fn run_case<R: TestRuntime>(server: &TestServer, case: &Case, piece: usize) {
    let name = case.name;
    let mut raw = server.raw::<R>().await;
    for piece in case.bytes.chunks(piece) {
        raw.send(piece).await;
    }
    match case.answer {
        Refused(status) => {
            let response = raw.response().await;
            assert_refused(&response, status, &name);
        }
        Echoes(texts) => {
            assert_eq!(raw.head().await.status, 101, "{name}");
            for text in texts {
                assert_eq!(raw.frame().await, Frame::text(text), "{name}");
            }
            works(&mut raw).await;
        }
        Closed(code) => {
            assert_eq!(raw.head().await.status, 101, "{name}");
            assert_eq!(raw.close_code().await, code, "{name}");
        }
    }
}

/// Uses a connection, and closes it.
pub(crate) async fn works(raw: &mut Raw) {
    raw.send(frame::masked(TEXT, b"works")).await;
    assert_eq!(raw.frame().await, Frame::text("works"));
    raw.send(frame::close(1000)).await;
    assert_eq!(raw.close_code().await, 1000);
}

fn app() -> App {
    App::new().ws("/chat", |route| {
        route.message(async |ws, msg| {
            let _ = ws.send(msg).await;
        })
    })
}

async fn every_request_has_its_answer<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    for case in &cases() {
        run_case::<R>(&server, case, usize::MAX).await;
        works(&mut server.upgraded::<R>("/chat").await).await;
    }
}

async fn every_request_has_its_answer_byte_by_byte<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    for case in cases().iter().filter(|case| case.bytes.len() < 1024) {
        run_case::<R>(&server, case, 1).await;
        works(&mut server.upgraded::<R>("/chat").await).await;
    }
}

async fn a_request_that_never_ends_has_its_answer<R: TestRuntime>() {
    let app = app().handshake_timeout(Duration::from_millis(100));
    let server = TestServer::start::<R, _>(app).await;
    for bytes in ["", "G", "GET /chat HTTP/1.1", "GET /chat HTTP/1.1\r\nHost: localhost\r\n"] {
        run_case::<R>(&server, &case("a head without an end", bytes, Refused(408)), 1).await;
        works(&mut in_time::<R>(&server).await).await;
    }
}

/// A connection after a handshake that was in time, which on a busy machine need not be the first.
async fn in_time<R: TestRuntime>(server: &TestServer) -> Raw {
    loop {
        let mut raw = server.raw::<R>().await;
        raw.send(good().text()).await;
        match raw.head().await.status {
            101 => return raw,
            status => assert_eq!(status, 408),
        }
    }
}
