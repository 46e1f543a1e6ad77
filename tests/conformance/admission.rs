//! Who is let in, once a request is a valid handshake: origins, derives, subprotocols,
//! extensions, and a server that is about to end.

use std::{io, time::Duration};

use async_tungstenite::tungstenite::{
    self,
    http::{HeaderName, HeaderValue, Response as HttpResponse, StatusCode, header},
};
use axeom_ws::{App, AppError, Options, Rejection};
use futures::{FutureExt, channel::oneshot, future::Shared};

use super::handshake::assert_refused;
use crate::{
    on_every_runtime,
    support::{Events, TestRuntime, TestServer, raw::Response, request::Request},
};

on_every_runtime!(
    only_pages_of_the_same_host_connect,
    listed_origins_connect_too,
    every_origin_connects_when_all_are_allowed,
    a_foreign_origin_is_told_which_option_lets_it_in,
    a_known_scheme_is_compared,
    the_host_of_an_absolute_target_counts,
    a_host_that_is_not_listed_is_refused_before_anything_runs,
    a_rejection_reaches_the_client_whole,
    a_rejection_reaches_a_real_client,
    a_failed_derive_tells_no_detail,
    headers_of_a_derive_go_out_with_the_101,
    no_subprotocol_is_spoken_by_default,
    the_first_own_subprotocol_that_is_offered_is_chosen,
    a_callback_chooses_among_the_offered,
    a_callback_sees_the_context,
    a_required_subprotocol_must_be_offered,
    broken_lists_of_subprotocols_are_refused,
    unknown_extensions_are_ignored_and_broken_ones_refused,
    a_server_that_shuts_down_refuses_with_503
);

async fn respond<R: TestRuntime>(server: &TestServer, request: &Request) -> Response {
    let mut raw = server.raw::<R>().await;
    raw.send(request.text()).await;
    raw.head().await
}

/// Connects from pages of these origins, each with the host asked for and whether it may.
async fn origins<R: TestRuntime>(options: Options, cases: &[(&str, &str, bool)]) {
    let app = App::new().options(options).ws("/", |route| route);
    let server = TestServer::start::<R, _>(app).await;
    for (host, origin, allowed) in cases {
        let request = Request::get("/").with("Host", host).and(format!("Origin: {origin}"));
        let mut raw = server.raw::<R>().await;
        if *allowed {
            raw.send(request.text()).await;
            assert_eq!(raw.head().await.status, 101, "{request:?}");
        } else {
            assert_refused(&raw.ask(&request).await, 403, &request);
        }
    }
}

async fn only_pages_of_the_same_host_connect<R: TestRuntime>() {
    let cases = [
        ("example.com", "http://example.com", true),
        ("example.com", "https://example.com", true),
        ("example.com", "https://EXAMPLE.com", true),
        ("example.com:8080", "http://example.com:8080", true),
        ("[::1]:8080", "http://[::1]:8080", true),
        ("example.com", "http://evil.example", false),
        ("example.com", "http://example.com.evil.example", false),
        ("example.com", "http://evil.example/example.com", false),
        ("example.com", "http://evil.example#example.com", false),
        ("example.com", "http://evil.example\\@example.com", false),
        ("example.com", "http://evil.example@example.com", false),
        ("example.com", "http://example.com:443", false),
        ("example.com", "app://example.com", false),
        ("example.com", "http://sub.example.com", false),
        ("example.com:8080", "http://example.com:8081", false),
        ("example.com:8080", "http://example.com", false),
        ("example.com", "null", false),
        ("example.com", "example.com", false),
        ("example.com", "", false),
        ("null", "null", false),
        ("example.com", "http://example.com, http://evil.example", false),
    ];
    origins::<R>(Options::new(), &cases).await;
}

async fn listed_origins_connect_too<R: TestRuntime>() {
    let options = Options::new().allow_origins(["https://app.example", "null"]);
    let cases = [
        ("example.com", "https://app.example", true),
        ("example.com", "https://APP.example", true),
        ("example.com", "null", true),
        ("example.com", "https://example.com", true),
        ("example.com", "http://app.example", false),
        ("example.com", "https://app.example:8443", false),
        ("example.com", "https://app.example.evil.example", false),
    ];
    origins::<R>(options, &cases).await;
}

async fn every_origin_connects_when_all_are_allowed<R: TestRuntime>() {
    let cases = [("example.com", "http://evil.example", true), ("example.com", "null", true)];
    origins::<R>(Options::new().allow_any_origin(), &cases).await;
}

async fn a_foreign_origin_is_told_which_option_lets_it_in<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(App::new().ws("/", |route| route)).await;
    let ask = async |origin: &str| {
        let mut raw = server.raw::<R>().await;
        let request = Request::get("/").and(format!("Origin: {origin}"));
        let response = raw.ask(&request).await;
        assert_refused(&response, 403, &request);
        assert!(response.body.contains("allow_origins"), "{response:?}");
        response.body
    };
    assert!(ask("http://evil.example").await.contains("\"http://evil.example\""));
    // What is sent back is short, and text that nobody mistakes for markup or a control character.
    let body = ask("a\tb\u{e9}\"").await;
    assert!(body.contains(r#""a\tb\xc3\xa9\"""#), "{body}");
    assert!(ask(&"x".repeat(4000)).await.len() < 200);
}

async fn a_known_scheme_is_compared<R: TestRuntime>() {
    let listed = Options::new().allow_origins(["http://listed.example"]);
    for (secure, https, http) in [(true, 101, 403), (false, 403, 101)] {
        let app = App::new().secure(secure).options(listed.clone()).ws("/", |route| route);
        let server = TestServer::start::<R, _>(app).await;
        for (origin, status) in [
            ("https://example.com", https),
            ("http://example.com", http),
            ("http://example.com:443", 403),
            ("http://listed.example", 101),
        ] {
            let request =
                Request::get("/").with("Host", "example.com").and(format!("Origin: {origin}"));
            let response = respond::<R>(&server, &request).await;
            assert_eq!(response.status, status, "secure({secure}): {request:?}");
        }
    }
}

async fn the_host_of_an_absolute_target_counts<R: TestRuntime>() {
    let mut events = Events::new();
    let (derived, opened) = (events.teller(), events.teller());
    let app = App::new()
        .guard(move |ctx| {
            derived(ctx.header("host").map(str::to_owned));
            async { Ok(()) }
        })
        .ws("/", move |route| {
            route.open(move |ws| {
                opened(ws.header("host").map(str::to_owned));
                async {}
            })
        });
    let server = TestServer::start::<R, _>(app).await;
    let request = Request::get("http://target.example:81/").with("Host", "header.example");
    let from = |origin: &str| request.clone().and(format!("Origin: {origin}"));
    let foreign = from("http://header.example");
    assert_refused(&server.raw::<R>().await.ask(&foreign).await, 403, &foreign);
    let response = respond::<R>(&server, &from("http://target.example:81")).await;
    assert_eq!(response.status, 101);
    for who in ["the guard", "the handler"] {
        assert_eq!(events.next().await.as_deref(), Some("target.example:81"), "{who}");
    }
}

async fn a_host_that_is_not_listed_is_refused_before_anything_runs<R: TestRuntime>() {
    let mut events = Events::new();
    let (derived, fell_back) = (events.teller(), events.teller());
    let app = App::new()
        .allow_hosts(["chat.example", "localhost:3000", "[::1]"])
        .guard(move |_| {
            derived("the guard ran");
            async { Ok(()) }
        })
        .ws("/", |route| route)
        .fallback(move |_| {
            fell_back("the fallback ran");
            async { HttpResponse::new("") }
        });
    let server = TestServer::start::<R, _>(app).await;
    for request in [
        Request::get("/").with("Host", "evil.example"),
        Request::get("/").with("Host", "chat.example.evil.example"),
        Request::get("/").with("Host", "sub.chat.example"),
        Request::get("/").with("Host", "localhost"),
        Request::get("/").with("Host", "localhost:3001"),
        Request::get("http://evil.example/").with("Host", "chat.example"),
        // What a page with a name of its own for the server sends.
        Request::get("/").with("Host", "evil.example").and("Origin: http://evil.example"),
        Request::get("/nowhere").with("Host", "evil.example"),
        Request::plain("GET /page").with("Host", "evil.example"),
        Request::plain("GET /page").line("HTTP/1.1", "HTTP/1.0").without("Host"),
    ] {
        let response = server.raw::<R>().await.ask(&request).await;
        assert_refused(&response, 421, &request);
        assert!(response.body.contains("allow_hosts"), "{response:?}");
    }
    assert_eq!(events.rest(), [] as [&str; 0]);
    for host in ["chat.example", "CHAT.example:8080", "localhost:3000", "[::1]:80"] {
        let response = respond::<R>(&server, &Request::get("/").with("Host", host)).await;
        assert_eq!(response.status, 101, "{host}");
    }
    let request = Request::get("http://chat.example/").with("Host", "evil.example");
    assert_eq!(respond::<R>(&server, &request).await.status, 101, "the target counts");
}

#[test]
fn an_app_cannot_be_built_with_a_host_that_is_none() {
    for host in ["", "http://a", "a/", "a:b", "*.example.com:x", "::1"] {
        let error = App::new().allow_hosts(["localhost", host]).build().unwrap_err();
        assert!(matches!(&error, AppError::Host { host: bad } if bad == host), "{error:?}");
    }
}

fn teapot() -> Rejection {
    let response = HttpResponse::builder()
        .status(StatusCode::IM_A_TEAPOT)
        .header("x-brew", "tea")
        .header("set-cookie", "a=1")
        .header("set-cookie", "b=2")
        .header("content-type", "application/json")
        .body(r#"{"short":"stout"}"#)
        .unwrap();
    Rejection::from_response(response)
}

async fn a_rejection_reaches_the_client_whole<R: TestRuntime>() {
    let app = App::new()
        .guard(async |ctx| match ctx.query("as").as_deref() {
            Some("teapot") => Err(teapot()),
            Some("stranger") => Err(Rejection::unauthorized("Bearer realm=\"chat\"")),
            Some("banned") => Err(Rejection::forbidden("you are banned")),
            Some("eager") => Err(Rejection::too_many_requests(Duration::from_millis(1500))),
            Some("lost") => Err(Rejection::not_found("no such room")),
            Some("odd") => Err(Rejection::bad_request("that is odd")),
            _ => Ok(()),
        })
        .ws("/", |route| route);
    let server = TestServer::start::<R, _>(app).await;
    let ask = async |who: &str| {
        let mut raw = server.raw::<R>().await;
        raw.ask(&Request::get(&format!("/?as={who}"))).await
    };
    let tea = ask("teapot").await;
    assert_eq!((tea.status, tea.body.as_str()), (418, r#"{"short":"stout"}"#));
    assert_eq!(tea.header("x-brew"), Some("tea"));
    assert_eq!(tea.header("content-type"), Some("application/json"));
    assert_eq!(tea.header("content-length"), Some("17"));
    assert_eq!(tea.header("connection"), Some("close"));
    let cookies = tea.headers.iter().filter(|(name, _)| name == "set-cookie");
    assert_eq!(cookies.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["a=1", "b=2"]);

    let stranger = ask("stranger").await;
    assert_refused(&stranger, 401, &"stranger");
    assert_eq!(stranger.header("www-authenticate"), Some("Bearer realm=\"chat\""));
    let eager = ask("eager").await;
    assert_refused(&eager, 429, &"eager");
    assert_eq!(eager.header("retry-after"), Some("2"), "1.5 s, rounded up");
    for (who, status, body) in [
        ("banned", 403, "you are banned\n"),
        ("lost", 404, "no such room\n"),
        ("odd", 400, "that is odd\n"),
    ] {
        let response = ask(who).await;
        assert_refused(&response, status, &who);
        assert_eq!(response.body, body);
    }
    assert_eq!(respond::<R>(&server, &Request::get("/?as=friend")).await.status, 101);
}

async fn a_rejection_reaches_a_real_client<R: TestRuntime>() {
    let app = App::new().guard(async |_| Err(teapot())).ws("/", |route| route);
    let server = TestServer::start::<R, _>(app).await;
    match server.request::<R>("/", &[]).await.map(drop) {
        Err(tungstenite::Error::Http(response)) => {
            assert_eq!(response.status(), 418);
            assert_eq!(response.headers()["x-brew"], "tea");
        }
        other => panic!("{other:?}"),
    }
}

async fn a_failed_derive_tells_no_detail<R: TestRuntime>() {
    let app = App::new()
        .derive(async |ctx| {
            if ctx.query("panic").is_some() {
                panic!("secret");
            }
            if ctx.query("reject").is_none() {
                Err(io::Error::other("secret"))?;
            }
            Ok(())
        })
        .ws("/", |route| route);
    let server = TestServer::start::<R, _>(app).await;
    for path in ["/?panic=1", "/"] {
        let response = server.raw::<R>().await.ask(&Request::get(path)).await;
        assert_refused(&response, 500, &path);
        assert!(!format!("{response:?}").contains("secret"), "{response:?}");
    }
    // The server goes on.
    assert_eq!(respond::<R>(&server, &Request::get("/?reject=no")).await.status, 101);
}

async fn headers_of_a_derive_go_out_with_the_101<R: TestRuntime>() {
    let app = App::new()
        .derive(async |ctx| {
            for cookie in ["session=1; HttpOnly", "theme=dark"] {
                ctx.append_response_header(header::SET_COOKIE, HeaderValue::from_static(cookie));
            }
            // What belongs to the handshake is not to be had.
            for name in ["connection", "upgrade", "content-length", "transfer-encoding"]
                .into_iter()
                .chain(["sec-websocket-accept", "sec-websocket-protocol"])
            {
                let name = HeaderName::from_static(name);
                ctx.append_response_header(name, HeaderValue::from_static("7"));
            }
            Ok(())
        })
        .ws("/", |route| route);
    let server = TestServer::start::<R, _>(app).await;
    let (_, response) = server.request::<R>("/", &[]).await.unwrap();
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["session=1; HttpOnly", "theme=dark"]);
    let response = respond::<R>(&server, &Request::get("/")).await;
    assert!(!response.headers.iter().any(|(_, value)| value == "7"), "{response:?}");
}

/// The subprotocol that is answered to an offer, if there was a connection.
async fn spoken<R: TestRuntime>(server: &TestServer, offer: &str) -> Result<Option<String>, u16> {
    let request = if offer.is_empty() {
        Request::get("/")
    } else {
        Request::get("/").and(format!("Sec-WebSocket-Protocol: {offer}"))
    };
    let response = respond::<R>(server, &request).await;
    match response.status {
        101 => Ok(response.header("sec-websocket-protocol").map(str::to_owned)),
        status => Err(status),
    }
}

async fn no_subprotocol_is_spoken_by_default<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(App::new().ws("/", |route| route)).await;
    assert_eq!(spoken::<R>(&server, "chat, superchat").await, Ok(None));
    assert_eq!(spoken::<R>(&server, "").await, Ok(None));
}

async fn the_first_own_subprotocol_that_is_offered_is_chosen<R: TestRuntime>() {
    let app = App::new().ws("/", |route| {
        route.protocols(["v3", "v2", "v1"]).open(async |ws| {
            let _ = ws.send(ws.protocol().unwrap_or("none")).await;
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    for (offer, chosen) in [
        ("v1, v2", Some("v2")),
        ("v0,v1", Some("v1")),
        ("v1\r\nSec-WebSocket-Protocol: v3", Some("v3")),
        ("v0", None),
        ("V1", None),
        ("", None),
        (", ,v1,", Some("v1")),
    ] {
        assert_eq!(spoken::<R>(&server, offer).await, Ok(chosen.map(str::to_owned)), "{offer}");
    }
    let headers = [("sec-websocket-protocol", "v9, v1")];
    let (mut client, response) = server.request::<R>("/", &headers).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "v1");
    assert_eq!(client.recv_text().await, "v1");
}

async fn a_callback_chooses_among_the_offered<R: TestRuntime>() {
    let app = App::new().ws("/", |route| {
        route.select_protocol(|_, offered| {
            // The client's order is kept; what is not offered counts as none.
            if offered.contains(&"unoffered") {
                Some("other".to_owned())
            } else {
                offered.last().map(|last| (*last).to_owned())
            }
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    assert_eq!(spoken::<R>(&server, "a, b, c").await, Ok(Some("c".to_owned())));
    assert_eq!(spoken::<R>(&server, "c, b, a").await, Ok(Some("a".to_owned())));
    assert_eq!(spoken::<R>(&server, "unoffered").await, Ok(None));
    assert_eq!(spoken::<R>(&server, "").await, Ok(None));
}

async fn a_callback_sees_the_context<R: TestRuntime>() {
    struct Version(String);
    let app = App::new()
        .derive(async |ctx| Ok(Version(ctx.query("v").unwrap_or_default().into_owned())))
        .ws("/*", |route| {
            route.select_protocol(|ctx, offered| {
                let Version(version) = ctx.get();
                let wanted = format!("{}.{version}", ctx.param("*"));
                offered.contains(&&*wanted).then_some(wanted)
            })
        });
    let server = TestServer::start::<R, _>(app).await;
    for (path, spoken) in [("/chat?v=2", Some("chat.2")), ("/chat?v=3", None), ("/", None)] {
        let headers = Request::get(path).and("Sec-WebSocket-Protocol: chat.1, chat.2");
        let mut raw = server.raw::<R>().await;
        raw.send(headers.text()).await;
        assert_eq!(raw.head().await.header("sec-websocket-protocol"), spoken, "{path}");
    }
}

async fn a_required_subprotocol_must_be_offered<R: TestRuntime>() {
    let app = App::new().ws("/", |route| route.protocols(["v1", "v2"]).require_protocol());
    let server = TestServer::start::<R, _>(app).await;
    assert_eq!(spoken::<R>(&server, "v2").await, Ok(Some("v2".to_owned())));
    for request in [Request::get("/"), Request::get("/").and("Sec-WebSocket-Protocol: v3")] {
        let response = server.raw::<R>().await.ask(&request).await;
        assert_refused(&response, 400, &request);
        assert!(response.body.contains("Sec-WebSocket-Protocol"), "{response:?}");
    }
}

async fn broken_lists_of_subprotocols_are_refused<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(App::new().ws("/", |route| route)).await;
    for offer in ["a b", "a/b", "a, (b)", "\u{e9}"] {
        assert_eq!(spoken::<R>(&server, offer).await, Err(400), "{offer}");
    }
}

async fn unknown_extensions_are_ignored_and_broken_ones_refused<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(App::new().ws("/", |route| route)).await;
    for good in [
        "x-webkit-deflate-frame",
        "foo; a; b=1; c=\"two\", bar",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_max_window_bits=99",
    ] {
        let request = Request::get("/").and(format!("Sec-WebSocket-Extensions: {good}"));
        let response = respond::<R>(&server, &request).await;
        assert_eq!(response.status, 101, "{good}");
        assert_eq!(response.header("sec-websocket-extensions"), None, "{good}");
    }
    for broken in ["a b", "a;", "a; =1", "a; b=", "a; b=\"", "a; b=\"x y\"", "(a)", "a=1", ";"] {
        let request = Request::get("/").and(format!("Sec-WebSocket-Extensions: {broken}"));
        let response = server.raw::<R>().await.ask(&request).await;
        assert_refused(&response, 400, &request);
        assert!(response.body.contains("Sec-WebSocket-Extensions"), "{response:?}");
    }
}

async fn a_server_that_shuts_down_refuses_with_503<R: TestRuntime>() {
    let (release, gate) = oneshot::channel::<()>();
    let gate: Shared<_> = gate.map(drop).shared();
    let mut events = Events::new();
    let tell = events.teller();
    let app = App::new()
        .guard(move |_| {
            tell(());
            let gate = gate.clone();
            async move {
                gate.await;
                Ok(())
            }
        })
        .ws("/", |route| route);
    let server = TestServer::start::<R, _>(app).await;
    // One is held up by a guard, one has not sent its whole head.
    let mut guarded = server.raw::<R>().await;
    guarded.send(Request::get("/").text()).await;
    let mut broken = server.raw::<R>().await;
    broken.send(Request::get("/").and("Sec-WebSocket-Extensions: ;").text()).await;
    let mut partial = server.raw::<R>().await;
    partial.send("GET / HTTP/1.1\r\n").await;
    events.next().await;
    events.next().await;
    // Connections are accepted in order: once this one is served, the one before is.
    let mut last = server.raw::<R>().await;
    last.send(Request::get("/").text()).await;
    events.next().await;
    server.handle.shutdown();
    release.send(()).unwrap();
    for raw in [&mut guarded, &mut partial, &mut last] {
        let response = raw.response().await;
        assert_refused(&response, 503, &"a good request");
        assert!(response.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    }
    assert_refused(&broken.response().await, 400, &"a broken one");
    assert_eq!(server.handle.connections(), 0);
}
