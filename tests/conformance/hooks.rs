//! What an app does with all its requests, responses and errors.

use std::{future::pending, net::Ipv4Addr, num::ParseIntError, time::Duration};

use async_tungstenite::tungstenite::{
    self,
    http::{HeaderName, HeaderValue, Request as HttpRequest, Response as HttpResponse, header},
};
use axeom_ws::{App, Context, Rejection, handshake::HeadLimits};

use super::handshake::assert_refused;
use crate::{
    on_every_runtime,
    support::{
        Events, NOWHERE, TestRuntime, TestServer, handshake, raw::Response, request::Request,
    },
};

on_every_runtime!(
    mounted:
    befores_run_in_order_ahead_of_routing,
    a_rejection_of_a_before_reaches_the_client_whole,
    headers_of_a_before_go_out_with_an_accepted_handshake,
    a_before_that_takes_too_long_is_answered_with_503,
    every_on_response_adds_to_every_answer_once,
    an_on_response_cannot_touch_what_belongs_to_the_handshake,
    a_before_that_panics_is_500,
    an_on_response_that_panics_stops_no_answer,
    map_error_decides_what_an_error_looks_like,
    an_error_is_500_without_detail_by_default,
    a_map_error_that_panics_is_500;
    alone:
    a_before_sees_every_request_that_has_a_head_and_a_host,
    a_before_goes_ahead_of_the_fallback,
    all_that_a_server_sends_gets_the_headers,
    who_did_not_ask_in_time_gets_the_headers,
    who_has_no_place_gets_the_headers,
    an_embedded_service_has_the_hooks
);

/// Passes soon.
const SOON: Duration = Duration::from_millis(30);

/// The response to a handshake, whether it is accepted or not.
async fn connect<R: TestRuntime>(server: &TestServer, path: &str) -> HttpResponse<String> {
    let response = match server.request::<R>(path, &[]).await {
        Ok((_, response)) => response,
        Err(tungstenite::Error::Http(response)) => *response,
        Err(error) => panic!("{path}: {error}"),
    };
    response.map(|body| String::from_utf8(body.unwrap_or_default()).unwrap())
}

/// 101, or 200 over HTTP/2.
fn is_accepted<T>(response: &HttpResponse<T>) -> bool {
    [101, 200].contains(&response.status().as_u16())
}

fn all<'a, T>(response: &'a HttpResponse<T>, name: &str) -> Vec<&'a str> {
    response.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

async fn ask<R: TestRuntime>(server: &TestServer, request: &Request) -> Response {
    server.raw::<R>().await.ask(request).await
}

const X_HOOK: HeaderName = HeaderName::from_static("x-hook");

fn value(text: &str) -> HeaderValue {
    text.parse().unwrap()
}

async fn befores_run_in_order_ahead_of_routing<R: TestRuntime>() {
    let mut events = Events::new();
    let (first, second, derived) = (events.teller(), events.teller(), events.teller());
    let app = App::new()
        .before(move |ctx| {
            first(format!("first {}", ctx.uri().path()));
            async move {
                match ctx.uri().path() {
                    "/rejected" => Err(Rejection::forbidden("not here")),
                    _ => Ok(()),
                }
            }
        })
        .guard(move |_| {
            derived("guard".to_owned());
            async { Ok(()) }
        })
        .ws("/chat", |route| route)
        .ws("/rejected", |route| route)
        .before(move |ctx| {
            second(format!("second {}", ctx.uri().path()));
            async { Ok(()) }
        });
    let server = TestServer::start::<R, _>(app).await;
    assert!(is_accepted(&connect::<R>(&server, "/chat").await));
    assert_eq!(events.rest(), ["first /chat", "second /chat", "guard"]);
    assert_eq!(connect::<R>(&server, "/nowhere").await.status(), 404);
    assert_eq!(events.rest(), ["first /nowhere", "second /nowhere"]);
    assert_eq!(connect::<R>(&server, "/rejected").await.status(), 403);
    assert_eq!(events.rest(), ["first /rejected"]);
}

async fn a_rejection_of_a_before_reaches_the_client_whole<R: TestRuntime>() {
    let app = App::new()
        .before(async |ctx| match ctx.query("tea") {
            Some(_) => Err(Rejection::from_response(
                HttpResponse::builder()
                    .status(418)
                    .header(header::SET_COOKIE, "a=1")
                    .header(header::SET_COOKIE, "b=2")
                    .body(r#"{"short":"stout"}"#)
                    .unwrap(),
            )),
            None => Ok(()),
        })
        .ws("/", |route| route);
    let server = TestServer::start::<R, _>(app).await;
    for path in ["/?tea", "/nowhere?tea"] {
        let response = connect::<R>(&server, path).await;
        assert_eq!(response.status(), 418, "{path}");
        assert_eq!(response.body(), r#"{"short":"stout"}"#);
        assert_eq!(all(&response, "set-cookie"), ["a=1", "b=2"]);
    }
    assert!(is_accepted(&connect::<R>(&server, "/").await));
}

async fn headers_of_a_before_go_out_with_an_accepted_handshake<R: TestRuntime>() {
    let mut kept = Events::<Context>::new();
    let keep = kept.teller();
    let app = App::new()
        .before(move |ctx| {
            ctx.append_response_header(X_HOOK, value("before"));
            ctx.append_response_header(header::UPGRADE, value("h2c"));
            if ctx.uri().path() == "/kept" {
                keep(ctx.clone());
            }
            async { Ok(()) }
        })
        .guard(async |ctx| {
            ctx.append_response_header(X_HOOK, value(ctx.param("room")));
            Ok(())
        })
        .ws("/:room", |route| {
            route.open(async |ws| {
                ws.send(ws.param("room")).await?;
                Ok(())
            })
        });
    let server = TestServer::start::<R, _>(app).await;
    // Whether the program keeps a context of its own makes no difference.
    for room in ["lobby", "kept"] {
        let path = format!("/{room}");
        let (mut client, response) = server.request::<R>(&path, &[]).await.unwrap();
        assert_eq!(all(&response, "x-hook"), ["before", room]);
        assert_eq!(client.recv_text().await, room);
    }
    let kept = kept.next().await;
    assert_eq!((kept.uri().path(), kept.params().count()), ("/kept", 0));
}

async fn a_before_that_takes_too_long_is_answered_with_503<R: TestRuntime>() {
    let app = App::new()
        .handshake_timeout(SOON)
        .before(async |_| pending().await)
        .on_response(|response| response.append(X_HOOK, value("1")))
        .ws("/", |route| route);
    let server = TestServer::start::<R, _>(app).await;
    let response = connect::<R>(&server, "/").await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(all(&response, "x-hook"), ["1"]);
}

async fn every_on_response_adds_to_every_answer_once<R: TestRuntime>() {
    let app = App::new()
        .on_response(|response| {
            response.append(X_HOOK, value(response.status().as_str()));
            response.append(header::SET_COOKIE, value("a=1"));
        })
        .before(async |ctx| match ctx.uri().path() {
            "/gone" => Err(Rejection::not_found("it is gone")),
            _ => Ok(()),
        })
        .guard(async |ctx| {
            ctx.append_response_header(header::SET_COOKIE, value("guard=1"));
            match ctx.query("error") {
                Some(number) => Ok(number.parse::<u32>().map(drop)?),
                None => Ok(()),
            }
        })
        .ws("/", |route| route)
        .on_response(|response| {
            let seen = response.headers().get_all(X_HOOK).iter().count();
            response.append(X_HOOK, value(&format!("second of {}", seen + 1)));
            response.insert(header::SERVER, value("hooks"));
        });
    let server = TestServer::start::<R, _>(app).await;
    for (path, cookies) in [
        ("/", &["guard=1", "a=1"][..]),
        ("/nowhere", &["a=1"]),
        ("/gone", &["a=1"]),
        ("/?error=x", &["a=1"]),
    ] {
        let response = connect::<R>(&server, path).await;
        assert_eq!(all(&response, "x-hook"), [response.status().as_str(), "second of 2"], "{path}");
        assert_eq!(all(&response, "set-cookie"), cookies, "{path}");
        assert_eq!(all(&response, "server"), ["hooks"], "{path}");
    }
}

async fn an_on_response_cannot_touch_what_belongs_to_the_handshake<R: TestRuntime>() {
    let names = [
        header::CONNECTION,
        header::UPGRADE,
        header::SEC_WEBSOCKET_ACCEPT,
        header::SEC_WEBSOCKET_PROTOCOL,
        header::SEC_WEBSOCKET_EXTENSIONS,
        header::SEC_WEBSOCKET_VERSION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
    ];
    let untouched = names.clone();
    let app = App::new().ws("/", |route| route).on_response(move |response| {
        for name in &names {
            response.insert(name.clone(), value("evil"));
            response.append(name.clone(), value("evil"));
        }
        response.append(X_HOOK, value("1"));
    });
    let server = TestServer::start::<R, _>(app).await;
    for path in ["/", "/nowhere"] {
        let response = connect::<R>(&server, path).await;
        assert_eq!(is_accepted(&response), path == "/", "{response:?}");
        assert_eq!(all(&response, "x-hook"), ["1"]);
        for name in &untouched {
            assert!(!all(&response, name.as_str()).contains(&"evil"), "{response:?}");
        }
    }
}

async fn a_before_that_panics_is_500<R: TestRuntime>() {
    let app = App::new()
        .before(|ctx| {
            assert_ne!(ctx.uri().path(), "/call", "secret");
            async move {
                assert_ne!(ctx.uri().path(), "/await", "secret");
                Ok(())
            }
        })
        .ws("/*", |route| route);
    let server = TestServer::start::<R, _>(app).await;
    for path in ["/call", "/await"] {
        let response = connect::<R>(&server, path).await;
        assert_eq!(response.status(), 500, "{path}");
        assert!(!response.body().contains("secret"));
    }
    assert!(is_accepted(&connect::<R>(&server, "/").await));
}

async fn an_on_response_that_panics_stops_no_answer<R: TestRuntime>() {
    let app = App::new()
        .ws("/", |route| {
            route.open(async |ws| {
                ws.send("hello").await?;
                Ok(())
            })
        })
        .on_response(|response| {
            response.append(X_HOOK, value("1"));
            panic!("secret");
        })
        .on_response(|response| response.append(X_HOOK, value("2")));
    let server = TestServer::start::<R, _>(app).await;
    let response = connect::<R>(&server, "/nowhere").await;
    assert_eq!((response.status().as_u16(), all(&response, "x-hook")), (404, vec!["1", "2"]));
    let (mut client, response) = server.request::<R>("/", &[]).await.unwrap();
    assert_eq!(all(&response, "x-hook"), ["1", "2"]);
    assert_eq!(client.recv_text().await, "hello");
}

/// An app whose hooks, derives and guards fail where the path says, with an error that says
/// `invalid digit`.
fn failing() -> App<impl Clone + Send + Sync + 'static> {
    let fail = |ctx: &Context, here: &str| match ctx.uri().path() == here {
        true => "secret".parse::<u32>().map_err(Rejection::from),
        false => Ok(0),
    };
    App::new()
        .before(move |ctx| async move { fail(&ctx, "/before").map(drop) })
        .derive(move |ctx| async move { fail(&ctx, "/derive") })
        .guard(async |ctx| match ctx.uri().path() {
            "/guard" => Ok("secret".parse::<u32>().map(drop)?),
            "/rejected" => Err(Rejection::forbidden("as it is")),
            _ => Ok(()),
        })
        .ws("/*", |route| route)
}

const FAILING: [&str; 3] = ["/before", "/derive", "/guard"];

async fn map_error_decides_what_an_error_looks_like<R: TestRuntime>() {
    let app = failing().map_error(|_| panic!("another has replaced it")).map_error(|error| {
        match error.downcast_ref::<ParseIntError>() {
            Some(error) => Rejection::bad_request(format!("no number: {error}"))
                .with_header(X_HOOK, value("mapped")),
            None => panic!("it is no other error"),
        }
    });
    let server = TestServer::start::<R, _>(app).await;
    for path in FAILING {
        let response = connect::<R>(&server, path).await;
        assert_eq!(response.status(), 400, "{path}");
        assert_eq!(response.body(), "no number: invalid digit found in string\n");
        assert_eq!(all(&response, "x-hook"), ["mapped"]);
    }
    let rejected = connect::<R>(&server, "/rejected").await;
    assert_eq!((rejected.status().as_u16(), rejected.body().as_str()), (403, "as it is\n"));
    assert!(is_accepted(&connect::<R>(&server, "/").await));
}

async fn an_error_is_500_without_detail_by_default<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(failing()).await;
    for path in FAILING {
        let response = connect::<R>(&server, path).await;
        assert_eq!(response.status(), 500, "{path}");
        assert!(!response.body().contains("digit"), "{response:?}");
    }
    assert!(is_accepted(&connect::<R>(&server, "/").await));
}

async fn a_map_error_that_panics_is_500<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(failing().map_error(|_| panic!("secret"))).await;
    for path in FAILING {
        let response = connect::<R>(&server, path).await;
        assert_eq!(response.status(), 500, "{path}");
        assert!(!response.body().contains("secret"));
    }
    assert!(is_accepted(&connect::<R>(&server, "/").await));
}

async fn a_before_sees_every_request_that_has_a_head_and_a_host<R: TestRuntime>() {
    let mut events = Events::new();
    let tell = events.teller();
    let app = App::new()
        .allow_hosts(["chat.example"])
        .before(move |ctx| {
            assert_eq!(ctx.peer().ip(), Some(Ipv4Addr::LOCALHOST.into()));
            assert_eq!(ctx.params().count(), 0);
            let of = ctx.header("x-of").unwrap_or_default();
            let host = ctx.header("host").unwrap_or_default();
            tell(format!("{} {} of {of} at {host}", ctx.method(), ctx.uri().path()));
            async { Ok(()) }
        })
        .ws("/:room", |route| route);
    let server = TestServer::start::<R, _>(app).await;
    let chat = |request: Request| request.with("Host", "chat.example").and("X-Of: Ada");
    for (request, status, seen) in [
        (chat(Request::get("/a/b")), 404, "GET /a/b of Ada at chat.example"),
        (chat(Request::plain("GET /a")), 426, "GET /a of Ada at chat.example"),
        (chat(Request::plain("POST /a")), 405, "POST /a of Ada at chat.example"),
        (chat(Request::plain("HEAD /a/b")), 404, "HEAD /a/b of Ada at chat.example"),
        (
            chat(Request::get("/a").without("Sec-WebSocket-Key")),
            400,
            "GET /a of Ada at chat.example",
        ),
        (chat(Request::get("/%ff")), 400, "GET /%ff of Ada at chat.example"),
        (
            chat(Request::get("http://chat.example:81/a/b")).with("Host", "evil.example"),
            404,
            "GET /a/b of Ada at chat.example:81",
        ),
    ] {
        assert_eq!(ask::<R>(&server, &request).await.status, status, "{request:?}");
        assert_eq!(events.rest(), [seen], "{request:?}");
    }
    for (request, status) in [
        (chat(Request::get("/a")).without("Host"), 400),
        (chat(Request::get("/a")).with("Host", "evil.example"), 421),
        (Request::plain("GET"), 400),
    ] {
        assert_refused(&ask::<R>(&server, &request).await, status, &request);
        assert_eq!(events.rest(), [] as [&str; 0], "{request:?}");
    }
}

async fn a_before_goes_ahead_of_the_fallback<R: TestRuntime>() {
    let app = App::new()
        .before(async |ctx| match ctx.uri().path() {
            "/private" => Err(Rejection::forbidden("this is private")),
            _ => Ok(()),
        })
        .fallback(async |request| HttpResponse::new(format!("a page at {}", request.uri())));
    let server = TestServer::start::<R, _>(app).await;
    let page = ask::<R>(&server, &Request::plain("GET /page?a=b")).await;
    assert_eq!((page.status, page.body.as_str()), (200, "a page at /page?a=b"));
    let private = Request::plain("GET /private");
    assert_refused(&ask::<R>(&server, &private).await, 403, &private);
}

async fn all_that_a_server_sends_gets_the_headers<R: TestRuntime>() {
    let app = App::new()
        .allow_hosts(["localhost"])
        .head_limits(HeadLimits::new().size(1000).request_line(500))
        .on_response(|response| response.append(X_HOOK, value(response.status().as_str())))
        .ws("/chat", |route| route)
        .fallback(async |request| {
            assert_ne!(request.uri().path(), "/panic");
            HttpResponse::new("a page")
        });
    let server = TestServer::start::<R, _>(app).await;
    for (request, status) in [
        (Request::plain("GET /page"), 200),
        (Request::plain("HEAD /page"), 200),
        (Request::plain("GET /panic"), 500),
        (Request::plain("POST /page"), 405),
        (Request::get("/nowhere"), 404),
        (Request::plain("GET /chat"), 426),
        (Request::get("/chat").without("Host"), 400),
        (Request::get("/chat").with("Host", "evil.example"), 421),
        (Request::plain("GET"), 400),
        (Request::get("/chat").and(" folded"), 400),
        (Request::get("/chat").and(format!("X: {}", "x".repeat(1000))), 431),
        (Request::get(&format!("/{}", "x".repeat(500))), 414),
    ] {
        let response = ask::<R>(&server, &request).await;
        assert_eq!(response.status, status, "{request:?}");
        assert_eq!(response.header("x-hook"), Some(&*status.to_string()), "{request:?}");
    }
    let accepted = server.raw::<R>().await.upgrade("/chat").await;
    assert_eq!(accepted.header("x-hook"), Some("101"));
}

async fn who_did_not_ask_in_time_gets_the_headers<R: TestRuntime>() {
    let app = App::new()
        .handshake_timeout(SOON)
        .on_response(|response| response.append(X_HOOK, value(response.status().as_str())));
    let server = TestServer::start::<R, _>(app).await;
    let response = server.raw::<R>().await.response().await;
    assert_eq!((response.status, response.header("x-hook")), (408, Some("408")));
}

async fn who_has_no_place_gets_the_headers<R: TestRuntime>() {
    let app = App::new()
        .max_connections(1)
        .on_response(|response| response.append(X_HOOK, value(response.status().as_str())))
        .ws("/", |route| route);
    let server = TestServer::start::<R, _>(app).await;
    let _inside = server.upgraded::<R>("/").await;
    let response = server.raw::<R>().await.response().await;
    assert_eq!((response.status, response.header("x-hook")), (503, Some("503")));
}

async fn an_embedded_service_has_the_hooks<R: TestRuntime>() {
    let app = failing()
        .map_error(|_| Rejection::bad_request("mapped"))
        .on_response(|response| response.append(X_HOOK, value("1")));
    let service = app.build().unwrap();
    for path in FAILING {
        let request = HttpRequest::get(path)
            .header("host", "localhost")
            .header("upgrade", "websocket")
            .header("connection", "upgrade")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(())
            .unwrap();
        let response = handshake(&service, request, NOWHERE).await.unwrap_err();
        assert_eq!((response.status().as_u16(), &**response.body()), (400, &b"mapped\n"[..]));
        assert_eq!(all(&response, "x-hook"), ["1"]);
    }
}
