//! Connections that the program, or another HTTP server, accepted itself.

use std::net::{Ipv4Addr, TcpListener};

use async_tungstenite::tungstenite::{
    client::IntoClientRequest,
    http::{Method, Request as HttpRequest, Version},
};
use axeom_ws::{Accepted, App, Rejection, Service, Ws};
use futures::{AsyncWriteExt, FutureExt, channel::oneshot};

use crate::{
    on_every_runtime,
    support::{
        Client, Events, NOWHERE, TestRuntime,
        frame::{self, Frame, TEXT},
        handshake, in_memory,
        pipe::pipe,
        raw::{ACCEPT, KEY, Raw},
        request::Request,
        until,
    },
};

on_every_runtime!(
    a_connection_that_the_program_accepted_is_served,
    a_stream_of_any_kind_is_served,
    a_handshake_parsed_elsewhere_is_answered,
    what_others_put_into_a_request_is_seen_by_derives_and_handlers,
    an_upgraded_connection_begins_with_what_was_read_ahead,
    an_accepted_handshake_counts_until_it_is_dropped,
    a_service_that_shuts_down_ends_what_it_serves,
    dropping_the_future_cuts_the_connection
);

fn service() -> Service {
    let app = App::new()
        .derive(async |ctx| match ctx.query("user") {
            Some(user) if user == "eve" => Err(Rejection::forbidden("not you")),
            user => Ok(user.unwrap_or_default().into_owned()),
        })
        .ws("/echo", |route| {
            route
                .protocols(["v1"])
                .open(async |ws: Ws<_>| {
                    let user: &String = ws.get();
                    let _ = ws.send(format!("hello {user} from {}", ws.peer())).await;
                })
                .message(async |ws, msg| {
                    let _ = ws.send(msg).await;
                })
        });
    app.build().unwrap()
}

async fn a_connection_that_the_program_accepted_is_served<R: TestRuntime>() {
    let service = service();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    let (end, ended) = oneshot::channel();
    let serving = R::serve_accepted(service.clone(), listener);
    R::default().spawn(async move {
        serving.await;
        let _ = end.send(());
    });
    let request = format!("ws://{addr}/echo?user=ada").into_client_request().unwrap();
    let mut client = Client::<R>(R::connect(request).await.unwrap().0);
    assert!(client.recv_text().await.starts_with("hello ada from 127.0.0.1:"));
    client.send("hi").await;
    assert_eq!(client.recv_text().await, "hi");
    assert_eq!(service.handle().connections(), 1);
    assert_eq!(client.close(1000, "").await, Some((1000, String::new())));
    // The future lasts as long as the connection.
    ended.await.unwrap();
    assert_eq!(service.handle().connections(), 0);
}

async fn a_stream_of_any_kind_is_served<R: TestRuntime>() {
    let service = service();
    let mut peer = in_memory::<R>(&service);
    peer.upgrade("/echo?user=ada").await;
    assert_eq!(peer.frame().await, Frame::text("hello ada from 127.0.0.1:7"));
    for size in [0, 1, 1000, 100_000] {
        let text = "x".repeat(size);
        peer.send(frame::masked(TEXT, text.as_bytes())).await;
        assert_eq!(peer.frame().await, Frame::text(&text));
    }
    peer.send(frame::close(1000)).await;
    assert_eq!(peer.close_code().await, 1000);
    let response = in_memory::<R>(&service).ask(&Request::get("/echo?user=eve")).await;
    assert_eq!((response.status, response.body.as_str()), (403, "not you\n"));
}

/// What another HTTP server would have parsed.
fn request(path: &str) -> HttpRequest<&'static str> {
    HttpRequest::builder()
        .uri(path)
        .header("host", "localhost")
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", KEY)
        .header("sec-websocket-protocol", "v1")
        .body("whatever stands for the body")
        .unwrap()
}

async fn a_handshake_parsed_elsewhere_is_answered<R: TestRuntime>() {
    let service = service();
    let accepted = handshake(&service, request("/echo?user=ada"), NOWHERE).await.unwrap();
    assert_eq!(accepted.response().status(), 101);
    assert_eq!(accepted.response().headers()["sec-websocket-accept"], ACCEPT);
    assert_eq!(accepted.response().headers()["sec-websocket-protocol"], "v1");
    assert_eq!(accepted.response().headers()["upgrade"], "websocket");

    let refused = async |request: HttpRequest<&'static str>| {
        handshake(&service, request, NOWHERE).await.map(drop).unwrap_err()
    };
    let rejected = refused(request("/echo?user=eve")).await;
    assert_eq!((rejected.status().as_u16(), &rejected.body()[..]), (403, &b"not you\n"[..]));
    assert_eq!(refused(request("/nowhere")).await.status(), 404);
    let mut post = request("/echo");
    *post.method_mut() = Method::POST;
    assert_eq!(refused(post).await.headers()["allow"], "GET");
    let mut old = request("/echo");
    *old.version_mut() = Version::HTTP_10;
    assert_eq!(refused(old).await.status(), 426);
    let mut keyless = request("/echo");
    keyless.headers_mut().remove("sec-websocket-key");
    assert_eq!(refused(keyless).await.status(), 400);
    let mut homeless = request("/echo");
    homeless.headers_mut().remove("host");
    assert_eq!(refused(homeless).await.status(), 400);
}

async fn what_others_put_into_a_request_is_seen_by_derives_and_handlers<R: TestRuntime>() {
    #[derive(Clone, PartialEq, Debug)]
    struct User(&'static str);

    let app = App::new()
        .derive(async |ctx| ctx.extension().cloned().ok_or(Rejection::unauthorized("Bearer")))
        .ws("/echo", |route| {
            route.open(async |ws| {
                let derived: &User = ws.get();
                assert_eq!(ws.extension::<User>(), Some(derived));
                assert_eq!(ws.extension::<u8>(), None);
                let _ = ws.send(derived.0).await;
            })
        });
    let service = app.build().unwrap();
    let refused = handshake(&service, request("/echo"), NOWHERE).await.map(drop).unwrap_err();
    assert_eq!(refused.status(), 401);
    let mut request = request("/echo");
    request.extensions_mut().insert(User("ada"));
    let accepted = handshake(&service, request, NOWHERE).await.unwrap();
    assert_eq!(upgraded::<R>(accepted, b"").frame().await, Frame::text("ada"));
}

/// Runs an accepted handshake over memory.
fn upgraded<R: TestRuntime>(accepted: Accepted, read_ahead: &[u8]) -> Raw {
    let (client, server) = pipe();
    R::default().spawn(R::serve_upgraded(accepted, server, read_ahead.to_vec()));
    Raw::new(client)
}

async fn an_upgraded_connection_begins_with_what_was_read_ahead<R: TestRuntime>() {
    let service = service();
    let bytes = [frame::masked(TEXT, b"one"), frame::masked(TEXT, &[b'2'; 70_000])].concat();
    for cut in [0, 1, 5, bytes.len() - 70_000, bytes.len() - 1, bytes.len()] {
        let accepted = handshake(&service, request("/echo"), NOWHERE).await.unwrap();
        let mut raw = upgraded::<R>(accepted, &bytes[..cut]);
        assert_eq!(raw.frame().await, Frame::text("hello  from 127.0.0.1:7"));
        raw.send(&bytes[cut..]).await;
        assert_eq!(raw.frame().await, Frame::text("one"), "cut at {cut}");
        assert_eq!(raw.frame().await, Frame::new(TEXT, [b'2'; 70_000]), "cut at {cut}");
        raw.send(frame::close(1000)).await;
        assert_eq!(raw.close_code().await, 1000);
    }
}

async fn an_accepted_handshake_counts_until_it_is_dropped<R: TestRuntime>() {
    let service = service();
    let accepted = handshake(&service, request("/echo"), NOWHERE).await.unwrap();
    assert_eq!(service.handle().connections(), 1);
    drop(accepted);
    assert_eq!(service.handle().connections(), 0);
    // Shut down between the handshake and the connection: it is closed at once.
    let accepted = handshake(&service, request("/echo"), NOWHERE).await.unwrap();
    service.handle().shutdown();
    let mut raw = upgraded::<R>(accepted, b"");
    while raw.frame().await.close_code() != Some(1001) {}
    raw.send(frame::close(1001)).await;
    assert_eq!(raw.try_frame().await, None);
    let refused = handshake(&service, request("/echo"), NOWHERE).await.map(drop).unwrap_err();
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
}

async fn a_service_that_shuts_down_ends_what_it_serves<R: TestRuntime>() {
    let service = service();
    let mut peer = in_memory::<R>(&service);
    peer.upgrade("/echo").await;
    peer.frame().await;
    let mut silent = in_memory::<R>(&service);
    service.handle().shutdown();
    assert_eq!(peer.close_code().await, 1001);
    assert_eq!(silent.response().await.status, 503);
    until(|| service.handle().connections() == 0).await;
}

async fn dropping_the_future_cuts_the_connection<R: TestRuntime>() {
    let mut events = Events::new();
    let (open, close) = (events.teller(), events.teller());
    let app = App::new().ws("/", |route| {
        route
            .open(move |ws: Ws| {
                ws.subscribe("topic");
                open("open");
                async {}
            })
            .close(move |_, _, _| {
                close("close");
                async {}
            })
    });
    let service = app.build().unwrap();
    let (mut client, server) = pipe();
    let serving = R::serve_stream(service.clone(), server, NOWHERE);
    client.write_all(Request::get("/").text().as_bytes()).await.unwrap();
    let mut serving = Box::pin(serving);
    // Polled by hand, so that it can be dropped at a known point.
    while events.rest().is_empty() {
        assert!((&mut serving).now_or_never().is_none());
    }
    assert_eq!(service.handle().connections(), 1);
    drop(serving);
    assert_eq!(service.handle().connections(), 0);
    assert_eq!(service.handle().subscriber_count("topic"), 0);
    let mut raw = Raw::new(client);
    assert_eq!(raw.head().await.status, 101);
    assert_eq!(raw.read_to_end().await, b"");
    assert!(events.rest().is_empty(), "close does not run then");
}
