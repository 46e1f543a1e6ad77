//! Plain HTTP beside WebSocket: the app's fallback.

use std::time::{Duration, SystemTime};

use async_tungstenite::tungstenite::http::Response as HttpResponse;
use axeom_ws::App;

use super::handshake::assert_refused;
use crate::{
    on_every_runtime,
    support::{TestRuntime, TestServer, raw::Response, request::Request},
};

on_every_runtime!(
    a_plain_get_gets_the_page,
    a_plain_head_gets_the_head_of_the_page,
    a_head_without_a_body_is_whole,
    all_else_goes_past_the_fallback,
    another_method_is_told_those_of_the_fallback,
    http_1_0_without_a_host_gets_the_page,
    every_response_but_101_is_dated,
    a_fallback_that_panics_is_500,
    without_a_fallback_there_is_nothing
);

async fn page<R: TestRuntime>() -> TestServer {
    let app = App::new()
        .ws("/chat", |route| {
            route.open(async |ws| {
                let _ = ws.send("hello").await;
            })
        })
        .fallback(async |request| {
            assert_ne!(request.uri().path(), "/panic", "secret");
            let page = format!("you asked for {}", request.uri());
            HttpResponse::builder().header("x-page", "1").body(page).unwrap()
        });
    TestServer::start::<R, _>(app).await
}

async fn ask<R: TestRuntime>(server: &TestServer, request: &Request) -> Response {
    server.raw::<R>().await.ask(request).await
}

async fn a_plain_get_gets_the_page<R: TestRuntime>() {
    let server = page::<R>().await;
    for request in [
        Request::plain("GET /index?a=b"),
        Request::plain("GET /index?a=b").and("Content-Length: 0"),
        Request::plain("GET /index?a=b").line("HTTP/1.1", "HTTP/1.0"),
    ] {
        let response = ask::<R>(&server, &request).await;
        assert_eq!(response.status, 200, "{request:?}");
        assert_eq!(response.body, "you asked for /index?a=b");
        assert_eq!(response.header("x-page"), Some("1"));
        assert_eq!(response.header("content-length"), Some("24"));
        assert_eq!(response.header("connection"), Some("close"));
    }
    assert_eq!(server.connect::<R>("/chat").await.recv_text().await, "hello");
}

async fn a_plain_head_gets_the_head_of_the_page<R: TestRuntime>() {
    let server = page::<R>().await;
    let response = ask::<R>(&server, &Request::plain("HEAD /index")).await;
    assert_eq!((response.status, response.body.as_str()), (200, ""));
    assert_eq!(response.header("content-length"), Some("20"), "that of the page");
}

async fn a_head_without_a_body_is_whole<R: TestRuntime>() {
    let app = App::new().fallback(async |request| {
        let status = request.uri().path()[1..].parse::<u16>().unwrap();
        HttpResponse::builder().status(status).header("x-last", "1").body("not sent").unwrap()
    });
    let server = TestServer::start::<R, _>(app).await;
    for status in [204, 304, 200] {
        for method in ["HEAD", "GET"] {
            let request = Request::plain(&format!("{method} /{status}"));
            let response = ask::<R>(&server, &request).await;
            assert_eq!((response.status, response.header("x-last")), (status, Some("1")));
            assert_eq!(response.header("connection"), Some("close"), "{method} {status}");
            let has_body = (method, status) == ("GET", 200);
            assert_eq!(response.body, if has_body { "not sent" } else { "" });
            let length = (status == 200).then_some("8");
            assert_eq!(response.header("content-length"), length, "{method} {status}");
        }
    }
}

async fn all_else_goes_past_the_fallback<R: TestRuntime>() {
    let server = page::<R>().await;
    for (request, status) in [
        (Request::get("/index"), 404),
        (Request::plain("POST /index"), 405),
        (Request::plain("CONNECT localhost:80"), 405),
        (Request::get("/index").line("GET", "POST"), 404),
        (Request::plain("GET /index").and("Content-Length: 3"), 400),
        (Request::plain("GET /index").and("Transfer-Encoding: chunked"), 400),
        (Request::plain("GET /index").without("Host"), 400),
        (Request::plain("GET /chat"), 426),
        (Request::plain("POST /chat"), 405),
    ] {
        assert_refused(&ask::<R>(&server, &request).await, status, &request);
    }
}

async fn another_method_is_told_those_of_the_fallback<R: TestRuntime>() {
    let server = page::<R>().await;
    for request in [
        Request::plain("POST /index"),
        Request::plain("DELETE /index").and("Content-Length: 3"),
        Request::plain("OPTIONS *"),
        Request::plain("get /index"),
    ] {
        let response = ask::<R>(&server, &request).await;
        assert_refused(&response, 405, &request);
        assert_eq!(response.header("allow"), Some("GET, HEAD"), "{request:?}");
    }
    let route = ask::<R>(&server, &Request::plain("POST /chat")).await;
    assert_eq!(route.header("allow"), Some("GET"), "a route goes before the fallback");
}

async fn http_1_0_without_a_host_gets_the_page<R: TestRuntime>() {
    let server = page::<R>().await;
    let old = |line| Request::plain(line).line("HTTP/1.1", "HTTP/1.0").without("Host");
    assert_eq!(ask::<R>(&server, &old("GET /index")).await.body, "you asked for /index");
    assert_refused(&ask::<R>(&server, &old("GET /chat")).await, 426, &"GET /chat");
}

async fn every_response_but_101_is_dated<R: TestRuntime>() {
    let app = App::new().ws("/chat", |route| route).fallback(async |request| {
        match request.uri().path() {
            "/old" => HttpResponse::builder().header("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            _ => HttpResponse::builder(),
        }
        .body("")
        .unwrap()
    });
    let server = TestServer::start::<R, _>(app).await;
    for (request, status) in [
        (Request::plain("GET /page"), 200),
        (Request::plain("HEAD /page"), 200),
        (Request::plain("GET /chat"), 426),
        (Request::plain("GET chat"), 400),
        (Request::plain("GET"), 400),
        (Request::get("/nowhere"), 404),
    ] {
        let response = ask::<R>(&server, &request).await;
        assert_eq!(response.status, status, "{request:?}");
        let date = response.header("date").unwrap_or_else(|| panic!("{request:?}: {response:?}"));
        let age = SystemTime::now().duration_since(httpdate::parse_http_date(date).unwrap());
        assert!(age.unwrap() < Duration::from_secs(60), "{date}");
    }
    let old = ask::<R>(&server, &Request::plain("GET /old")).await;
    assert_eq!(old.header("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    let upgraded = server.raw::<R>().await.upgrade("/chat").await;
    assert_eq!(upgraded.header("date"), None);
}

async fn a_fallback_that_panics_is_500<R: TestRuntime>() {
    let server = page::<R>().await;
    let response = ask::<R>(&server, &Request::plain("GET /panic")).await;
    assert_refused(&response, 500, &"a panic");
    assert!(!response.body.contains("secret"));
    assert_eq!(ask::<R>(&server, &Request::plain("GET /index")).await.status, 200);
}

async fn without_a_fallback_there_is_nothing<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(App::new().ws("/chat", |route| route)).await;
    let request = Request::plain("GET /index");
    assert_refused(&ask::<R>(&server, &request).await, 404, &request);
}
