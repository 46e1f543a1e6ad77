//! The request head: how it may arrive, how large it may be, and what is not one.

use std::time::Duration;

use axeom_ws::{App, handshake::HeadLimits};

use super::handshake::assert_refused;
use crate::{
    on_every_runtime,
    support::{TestRuntime, TestServer, frame, in_memory, request::Request},
};

on_every_runtime!(
    a_head_may_arrive_cut_anywhere,
    a_head_may_arrive_byte_by_byte,
    an_empty_line_before_the_request_is_skipped,
    what_is_not_http_is_refused,
    exactly_one_host_is_needed,
    a_malformed_host_is_refused,
    a_host_is_a_name_or_an_address_with_an_optional_port,
    http_1_0_needs_no_host,
    a_target_of_another_form_is_refused,
    a_line_that_ends_with_a_bare_lf_is_refused,
    a_folded_header_is_refused,
    a_long_request_line_is_refused_before_it_ends,
    a_large_head_is_refused_before_it_ends,
    the_limits_themselves_are_allowed,
    more_headers_than_the_limit_are_refused,
    a_slow_head_times_out,
    a_client_that_leaves_within_the_head_is_forgotten
);

fn app() -> App {
    App::new().ws("/chat", |route| route)
}

async fn a_head_may_arrive_cut_anywhere<R: TestRuntime>() {
    let service = app().build().unwrap();
    let text = Request::get("/chat").text();
    for cut in 1..text.len() {
        let mut peer = in_memory::<R>(&service);
        peer.send(&text[..cut]).await;
        peer.send(&text[cut..]).await;
        assert_eq!(peer.head().await.status, 101, "cut at {cut}");
    }
}

async fn a_head_may_arrive_byte_by_byte<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    let mut raw = server.raw::<R>().await;
    for byte in Request::get("/chat").text().bytes() {
        raw.send([byte]).await;
    }
    assert_eq!(raw.head().await.status, 101);
}

async fn an_empty_line_before_the_request_is_skipped<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    let mut raw = server.raw::<R>().await;
    raw.send(format!("\r\n{}", Request::get("/chat").text())).await;
    assert_eq!(raw.head().await.status, 101);
}

async fn refused<R: TestRuntime>(server: &TestServer, head: &str, status: u16) {
    let mut raw = server.raw::<R>().await;
    raw.send(head).await;
    let response = raw.response().await;
    assert_refused(&response, status, &head);
}

async fn what_is_not_http_is_refused<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    let good = Request::get("/chat");
    for line in [
        "",
        "GET",
        "GET /chat",
        "GET /chat HTTP/2.0",
        "GET /chat HTTP/1.2",
        "GET /chat http/1.1",
        "GET /chat HTTP/1.1 ",
        "GET  /chat HTTP/1.1",
        "G(T /chat HTTP/1.1",
        " GET /chat HTTP/1.1",
        "GET /ch at HTTP/1.1",
        "GET /chat\u{7f} HTTP/1.1",
    ] {
        let head = good.text().replacen("GET /chat HTTP/1.1", line, 1);
        // Without a first line the next one is taken for it.
        let head = if line.is_empty() { head.replacen("\r\n", "", 1) } else { head };
        refused::<R>(&server, &head, 400).await;
    }
    for line in [
        "X-Space : a",
        ": nameless",
        "X Y: a",
        "X-No-Colon",
        "X-Nul: a\0b",
        "X-Cr: a\rb",
        "X-Del: \u{7f}",
        "X-\u{e9}: a",
    ] {
        refused::<R>(&server, &good.clone().and(line).text(), 400).await;
    }
}

async fn exactly_one_host_is_needed<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    let good = Request::get("/chat");
    for request in [
        good.clone().without("Host"),
        good.clone().and("Host: localhost"),
        good.clone().and("host: elsewhere"),
        Request::plain("GET /nowhere").without("Host"),
    ] {
        let mut raw = server.raw::<R>().await;
        let response = raw.ask(&request).await;
        assert_refused(&response, 400, &request);
        assert!(response.body.contains("Host"), "{response:?}");
    }
}

async fn a_malformed_host_is_refused<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    for host in [
        "",
        ":80",
        "a b",
        "a,\tb",
        "a@b",
        "a@b:99999/x",
        "http://a",
        "a/x",
        "a?x",
        "a#x",
        "a\\b",
        "a:65536",
        "a:+80",
        "a:80:80",
        "::1",
        "[::1",
        "[::1]80",
        "[a]",
        "%zz",
        "\u{e9}",
    ] {
        for path in ["/chat", "/nowhere", "http://localhost/chat"] {
            let request = Request::get(path).with("Host", host);
            let mut raw = server.raw::<R>().await;
            let response = raw.ask(&request).await;
            assert_refused(&response, 400, &request);
            assert!(response.body.contains("Host"), "{response:?}");
        }
    }
    for target in ["http://a@b/chat", "http://a:99999/chat", "http://[a]/chat"] {
        refused::<R>(&server, &Request::get(target).text(), 400).await;
    }
}

async fn a_host_is_a_name_or_an_address_with_an_optional_port<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    for host in
        ["a", "a:", "a:0", "A.example.:65535", "a_b-c~d", "10.0.0.1:80", "[::1]", "[::1]:80"]
    {
        let mut raw = server.raw::<R>().await;
        raw.send(Request::get("/chat").with("Host", host).text()).await;
        assert_eq!(raw.head().await.status, 101, "{host}");
    }
}

async fn http_1_0_needs_no_host<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    for (path, status) in [("/chat", 426), ("/nowhere", 404)] {
        let request = Request::get(path).line("HTTP/1.1", "HTTP/1.0");
        refused::<R>(&server, &request.clone().without("Host").text(), status).await;
        // If there is one, it must be good all the same.
        refused::<R>(&server, &request.clone().with("Host", "a b").text(), 400).await;
        refused::<R>(&server, &request.and("Host: localhost").text(), 400).await;
    }
}

async fn a_target_of_another_form_is_refused<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    for target in ["/chat#x", "/chat#", "/chat?a#x", "*", "chat", "localhost:80", "http://", "?a"] {
        refused::<R>(&server, &Request::get(target).text(), 400).await;
    }
    // These two belong to methods that no route answers.
    for line in ["OPTIONS *", "CONNECT localhost:80"] {
        refused::<R>(&server, &Request::plain(line).text(), 404).await;
    }
}

async fn a_line_that_ends_with_a_bare_lf_is_refused<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    let good = Request::get("/chat").text();
    for (at, _) in good.match_indices("\r\n") {
        let mut head = good.clone();
        head.remove(at);
        refused::<R>(&server, &head, 400).await;
    }
}

async fn a_folded_header_is_refused<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    for fold in [" folded", "\tfolded", " ", " Host: other"] {
        refused::<R>(&server, &Request::get("/chat").and(fold).text(), 400).await;
    }
}

async fn a_long_request_line_is_refused_before_it_ends<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    refused::<R>(&server, &format!("GET /{}", "a".repeat(8 * 1024)), 414).await;
    let path = format!("/{}", "a".repeat(9 * 1024));
    refused::<R>(&server, &Request::get(&path).text(), 414).await;
}

async fn a_large_head_is_refused_before_it_ends<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    let filler = format!("X-Filler: {}", "a".repeat(16 * 1024));
    refused::<R>(&server, &format!("GET /chat HTTP/1.1\r\n{filler}"), 431).await;
    refused::<R>(&server, &Request::get("/chat").and(filler).text(), 431).await;
}

async fn the_limits_themselves_are_allowed<R: TestRuntime>() {
    let limits = HeadLimits::new().size(512).headers(7).request_line(100);
    let server = TestServer::start::<R, _>(app().head_limits(limits)).await;
    // Five headers are there already.
    let good = Request::get("/chat").and("X-Sixth: 6").and("X-Seventh: ");
    let line = "/chat?".len() + "GET  HTTP/1.1\r\n".len();
    for (more, status) in [(0, 101), (1, 414)] {
        let query = "q".repeat(limits.request_line - line + more);
        let head = good.clone().line("/chat", &format!("/chat?{query}")).text();
        let mut raw = server.raw::<R>().await;
        raw.send(head).await;
        assert_eq!(raw.head().await.status, status, "{more} bytes over the limit");
    }
    for (more, status) in [(0, 101), (1, 431)] {
        let rest = limits.size - good.text().len() + more;
        let request = good.clone().with("X-Seventh", &"a".repeat(rest));
        assert_eq!(request.text().len(), limits.size + more);
        let mut raw = server.raw::<R>().await;
        raw.send(request.text()).await;
        assert_eq!(raw.head().await.status, status, "{more} bytes over the limit");
    }
    refused::<R>(&server, &good.and("X-Eighth: 8").text(), 431).await;
}

async fn more_headers_than_the_limit_are_refused<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    for (count, status) in [(100, 101), (101, 431), (1000, 431)] {
        let fill = |request: Request, n| request.and(format!("X{n}: {n}"));
        let request = (5..count).fold(Request::get("/chat"), fill);
        let mut raw = server.raw::<R>().await;
        raw.send(request.text()).await;
        assert_eq!(raw.head().await.status, status, "{count} headers");
    }
}

async fn a_slow_head_times_out<R: TestRuntime>() {
    let app = app().handshake_timeout(Duration::from_millis(50));
    let server = TestServer::start::<R, _>(app).await;
    for head in ["", "GET /chat HTTP/1.1\r\nHost: localhost\r\n"] {
        refused::<R>(&server, head, 408).await;
    }
    // The deadline is that of the handshake: what is open stays open.
    let mut raw = server.upgraded::<R>("/chat").await;
    refused::<R>(&server, "", 408).await;
    raw.send(frame::masked(frame::PING, b"still here")).await;
    assert_eq!(raw.frame().await.payload, b"still here");
}

async fn a_client_that_leaves_within_the_head_is_forgotten<R: TestRuntime>() {
    let mut server = TestServer::start::<R, _>(app()).await;
    let mut raw = server.raw::<R>().await;
    raw.send("GET /chat HTTP/1.1\r\nHost: loc").await;
    raw.shutdown().await;
    assert_eq!(raw.read_to_end().await, b"");
    // It is gone, and so does not hold up the end of the server.
    server.handle.shutdown();
    (&mut server.ended).await.unwrap().unwrap();
}
