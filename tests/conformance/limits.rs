//! How many connections there may be, and options that cannot be.

use std::{
    future::IntoFuture,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use axeom_ws::{
    App, AppError, Compression, Options, Rejection, ServeError, Server, Service, Ws,
    http::Request as HttpRequest,
};
use futures::future::join_all;

use super::{handshake::assert_refused, messages::echo};
use crate::{
    on_every_runtime,
    support::{
        NOWHERE, TestRuntime, TestServer, chain,
        frame::{self, BINARY, Frame, TEXT},
        handshake, in_memory_from,
        raw::{Raw, Response},
        request::Request,
        until,
    },
};

on_every_runtime!(
    a_server_at_capacity_refuses_with_503,
    a_place_is_free_again_however_a_connection_ended,
    of_many_at_once_no_more_than_the_most_come_in,
    a_refused_handshake_takes_no_place,
    an_accepted_handshake_takes_a_place_until_it_is_dropped,
    each_address_has_its_own_places,
    one_address_is_one_however_it_is_written,
    an_ipv6_network_has_its_places_together,
    a_plugin_may_set_the_limit,
    the_innermost_limit_of_a_message_holds,
    a_server_does_not_start_with_an_option_that_cannot_be
);

pub(crate) fn assert_at_capacity(response: &Response) {
    assert_refused(response, 503, &Request::get("/"));
    let after = response.header("retry-after").unwrap();
    assert!(after.parse::<u32>().unwrap() > 0, "{after}");
}

/// Whether a peer was let in; it stays.
async fn enters(raw: &mut Raw) -> bool {
    raw.send(Request::get("/").text()).await;
    let head = raw.head().await;
    if head.status == 101 {
        return true;
    }
    assert_eq!(head.status, 503, "{head:?}");
    assert!(head.header("retry-after").is_some());
    false
}

async fn a_server_at_capacity_refuses_with_503<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(echo().max_connections(2)).await;
    let mut inside = [server.upgraded::<R>("/").await, server.upgraded::<R>("/").await];
    for _ in 0..3 {
        let mut raw = server.raw::<R>().await;
        assert_at_capacity(&raw.ask(&Request::get("/")).await);
    }
    assert_eq!(server.handle.connections(), 2);
    // Who is inside does not notice.
    for raw in &mut inside {
        raw.send(frame::masked(TEXT, b"hello")).await;
        assert_eq!(raw.frame().await, Frame::text("hello"));
    }
    let none = TestServer::start::<R, _>(echo().max_connections(0)).await;
    let mut raw = none.raw::<R>().await;
    assert_at_capacity(&raw.ask(&Request::get("/")).await);
}

async fn a_place_is_free_again_however_a_connection_ended<R: TestRuntime>() {
    let app = App::new()
        .max_connections(1)
        .max_connections_per_ip(1)
        .options(Options::new().close_timeout(Duration::from_millis(20)))
        .ws("/*", |route| {
            route.message(async |ws: Ws, msg| match msg.as_text() {
                Some("close") => ws.close(4000, ""),
                Some("terminate") => ws.terminate(),
                Some("panic") => panic!("as told"),
                _ => {}
            })
        });
    let server = TestServer::start::<R, _>(app).await;
    let last = [
        frame::close(1000),
        frame::masked(TEXT, b"close"),
        frame::masked(TEXT, b"terminate"),
        frame::masked(TEXT, b"panic"),
        frame::masked(3, b"a violation"),
        frame::masked(TEXT, b"half a frame")[..5].to_vec(),
        Vec::new(),
    ];
    for last in last {
        let mut raw = server.upgraded::<R>("/").await;
        let mut second = server.raw::<R>().await;
        assert_at_capacity(&second.ask(&Request::get("/")).await);
        raw.send(&last).await;
        raw.shutdown().await;
        raw.read_to_end().await;
        until(|| server.handle.connections() == 0).await;
    }
    // And a client that just goes.
    drop(server.upgraded::<R>("/").await);
    until(|| server.handle.connections() == 0).await;
    server.upgraded::<R>("/").await;
}

async fn of_many_at_once_no_more_than_the_most_come_in<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(echo().max_connections(3)).await;
    let mut raws = Vec::new();
    for _ in 0..20 {
        raws.push(server.raw::<R>().await);
    }
    let entered = join_all(raws.iter_mut().map(enters)).await;
    assert_eq!(entered.iter().filter(|entered| **entered).count(), 3);
    assert_eq!(server.handle.connections(), 3);
}

async fn a_refused_handshake_takes_no_place<R: TestRuntime>() {
    let app = App::new()
        .max_connections(1)
        .max_connections_per_ip(1)
        .guard(async |ctx| match ctx.query("let") {
            Some(_) => Ok(()),
            None => Err(Rejection::forbidden("no")),
        })
        .ws("/", |route| route);
    let server = TestServer::start::<R, _>(app).await;
    for _ in 0..3 {
        let request = Request::get("/");
        assert_eq!(server.raw::<R>().await.ask(&request).await.status, 403);
        let request = Request::get("/nowhere");
        assert_eq!(server.raw::<R>().await.ask(&request).await.status, 404);
        let request = Request::get("/?let").with("Sec-WebSocket-Key", "x");
        assert_eq!(server.raw::<R>().await.ask(&request).await.status, 400);
    }
    server.upgraded::<R>("/?let").await;
}

async fn an_accepted_handshake_takes_a_place_until_it_is_dropped<R: TestRuntime>() {
    let service = echo().max_connections(1).build().unwrap();
    let request = || {
        HttpRequest::get("/")
            .header("host", "localhost")
            .header("upgrade", "websocket")
            .header("connection", "upgrade")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", crate::support::raw::KEY)
            .body(())
            .unwrap()
    };
    let accepted = handshake(&service, request(), NOWHERE).await.unwrap();
    assert_eq!(service.handle().connections(), 1);
    let refused = handshake(&service, request(), NOWHERE).await.unwrap_err();
    assert_eq!(refused.status(), 503);
    drop(accepted);
    assert_eq!(service.handle().connections(), 0);
    handshake(&service, request(), NOWHERE).await.unwrap();
}

fn from(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

async fn peer<R: TestRuntime>(service: &Service, ip: &str, port: u16) -> (Raw, bool) {
    let mut raw = in_memory_from::<R>(service, from(ip, port), usize::MAX);
    let entered = enters(&mut raw).await;
    (raw, entered)
}

async fn each_address_has_its_own_places<R: TestRuntime>() {
    let app = echo().max_connections_per_ip(2).max_connections(5);
    let service = app.build().unwrap();
    let mut inside = Vec::new();
    for ip in ["10.0.0.1", "10.0.0.2"] {
        for (port, enters) in [(1, true), (2, true), (3, false)] {
            let (raw, entered) = peer::<R>(&service, ip, port).await;
            assert_eq!(entered, enters, "{ip}:{port}");
            inside.extend(Some(raw).filter(|_| entered));
        }
    }
    let (_raw, entered) = peer::<R>(&service, "10.0.0.3", 1).await;
    assert!(entered);
    assert!(!peer::<R>(&service, "10.0.0.3", 2).await.1, "the limit of all holds too");
    // One of the first address leaves; nobody else may take its place.
    inside.remove(0);
    until(|| service.handle().connections() == 4).await;
    assert!(!peer::<R>(&service, "10.0.0.2", 4).await.1);
    let (_raw, entered) = peer::<R>(&service, "10.0.0.1", 4).await;
    assert!(entered);
}

async fn one_address_is_one_however_it_is_written<R: TestRuntime>() {
    let service = echo().max_connections_per_ip(1).build().unwrap();
    let (raw, entered) = peer::<R>(&service, "::ffff:10.0.0.1", 1).await;
    assert!(entered);
    assert!(!peer::<R>(&service, "10.0.0.1", 1).await.1);
    let (_other, entered) = peer::<R>(&service, "::10.0.0.1", 1).await;
    assert!(entered, "this is another address");
    drop(raw);
    until(|| service.handle().connections() == 1).await;
    assert!(peer::<R>(&service, "10.0.0.1", 1).await.1);
}

async fn an_ipv6_network_has_its_places_together<R: TestRuntime>() {
    let app = || echo().max_connections_per_ip(1);
    // With the first address inside: whether the second comes in too.
    for (app, second, enters) in [
        (app(), "2001:db8:0:1:ffff::2", false),
        (app(), "2001:db8:0:2::1", true),
        (app().ipv6_prefix_len(48), "2001:db8:0:ffff::1", false),
        (app().ipv6_prefix_len(48), "2001:db8:1::1", true),
        (app().ipv6_prefix_len(128), "2001:db8:0:1::2", true),
        (app().ipv6_prefix_len(128), "2001:db8:0:1::1", false),
        (app().ipv6_prefix_len(255), "2001:db8:0:1::2", true),
        (app().ipv6_prefix_len(0), "fe80::1", false),
        (app().ipv6_prefix_len(0), "10.0.0.1", true),
        (app().ipv6_prefix_len(0), "::ffff:10.0.0.1", true),
    ] {
        let service = app.build().unwrap();
        let (raw, entered) = peer::<R>(&service, "2001:db8:0:1::1", 1).await;
        assert!(entered);
        let (_second, entered) = peer::<R>(&service, second, 2).await;
        assert_eq!(entered, enters, "{second}");
        // Its place is free again under the same name.
        drop(raw);
        until(|| service.handle().connections() == usize::from(enters)).await;
        assert!(peer::<R>(&service, "2001:db8:0:1::1", 3).await.1);
    }
    // The prefix is that of IPv6 alone.
    let service = app().ipv6_prefix_len(8).build().unwrap();
    let (_first, entered) = peer::<R>(&service, "::ffff:10.0.0.1", 1).await;
    assert!(entered);
    assert!(!peer::<R>(&service, "10.0.0.1", 1).await.1);
    assert!(peer::<R>(&service, "10.0.0.2", 1).await.1);
}

async fn a_plugin_may_set_the_limit<R: TestRuntime>() {
    let app = App::new()
        .plugin(|app| app.max_connections(1))
        .decorate("more")
        .group("/group", |group| group.ws("/", |route| route))
        .ws("/", |route| route);
    let server = TestServer::start::<R, _>(app).await;
    // All routes share it.
    let _inside = server.upgraded::<R>("/group").await;
    assert_at_capacity(&server.raw::<R>().await.ask(&Request::get("/")).await);
}

async fn the_innermost_limit_of_a_message_holds<R: TestRuntime>() {
    let limit = |bytes| Options::new().max_message_size(bytes);
    let app = App::new()
        .options(limit(100))
        .ws("/app", |route| route)
        .ws("/route", |route| route.options(limit(200)))
        .group("/group", |group| {
            group
                .options(limit(50))
                .ws("/app", |route| route)
                .ws("/route", |route| route.options(limit(300)))
        });
    let server = TestServer::start::<R, _>(app).await;
    for (path, limit) in [("/app", 100), ("/route", 200), ("/group/app", 50), ("/group/route", 300)]
    {
        let mut raw = server.upgraded::<R>(path).await;
        raw.send(frame::masked(BINARY, &vec![0; limit])).await;
        raw.send(frame::masked(frame::PING, b"alive")).await;
        assert_eq!(raw.frame().await, Frame::new(frame::PONG, "alive"), "{path}");
        raw.send(frame::masked(BINARY, &vec![0; limit + 1])).await;
        assert_eq!(raw.close_code().await, 1009, "{path}");
    }
}

/// Options that cannot be, and the names of what is wrong with them.
fn invalid() -> Vec<(Options, &'static str)> {
    let new = Options::new;
    let zero = Duration::ZERO;
    vec![
        (new().max_message_size(0), "max_message_size"),
        (new().max_fragments(0), "max_fragments"),
        (new().high_water_mark(100).low_water_mark(101), "low_water_mark"),
        (new().low_water_mark(1 << 20), "low_water_mark"),
        (new().high_water_mark(100).send_limit(99), "send_limit"),
        (new().send_limit(1000), "send_limit"),
        (new().ping_interval(zero), "ping_interval"),
        (new().pong_timeout(zero), "pong_timeout"),
        (new().idle_timeout(zero), "idle_timeout"),
        (new().write_timeout(zero), "write_timeout"),
        (new().close_timeout(zero), "close_timeout"),
        (new().max_lifetime(zero), "max_lifetime"),
        (
            new().compression(Compression::new().server_max_window_bits(8)),
            "compression.server_max_window_bits",
        ),
        (new().allow_origins(["example.com"]), "allow_origins"),
    ]
}

async fn a_server_does_not_start_with_an_option_that_cannot_be<R: TestRuntime>() {
    for (options, name) in invalid() {
        let app = App::new().options(options).ws("/chat", |route| route);
        let server = Server::<R>::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        match server.serve(app).into_future().await.unwrap_err() {
            ServeError::App(AppError::Option { path, source }) => {
                assert_eq!((path.as_str(), source.name), ("/chat", name));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn an_option_that_cannot_be_is_refused_wherever_it_is_set() {
    for (options, name) in invalid() {
        let on_route =
            App::new().ws("/ok", |route| route).ws("/bad", |route| route.options(options.clone()));
        let in_group = App::new()
            .group("/group", |group| group.options(options.clone()).ws("/bad", |route| route));
        for (app, path) in [(on_route, "/bad"), (in_group, "/group/bad")] {
            let error = chain(&app.build().unwrap_err());
            let says = format!("route {path} cannot be used: option {name}");
            assert!(error.contains(&says), "{error}");
        }
    }
    // A route may set right what its app has wrong.
    let app = App::new()
        .options(Options::new().max_message_size(0))
        .ws("/", |route| route.options(Options::new().max_message_size(1)));
    app.build().unwrap();
}

#[test]
fn extreme_options_are_options_too() {
    let least = Options::new()
        .max_message_size(1)
        .max_fragments(1)
        .high_water_mark(0)
        .low_water_mark(0)
        .send_limit(0)
        .ping_interval(Duration::from_nanos(1))
        .close_timeout(Duration::from_nanos(1));
    let most = Options::new()
        .max_message_size(usize::MAX)
        .max_fragments(u32::MAX)
        .high_water_mark(usize::MAX)
        .low_water_mark(usize::MAX)
        .send_limit(usize::MAX)
        .ping_interval(Duration::MAX)
        .pong_timeout(Duration::MAX)
        .idle_timeout(Duration::MAX)
        .write_timeout(Duration::MAX)
        .close_timeout(Duration::MAX)
        .max_lifetime(Duration::MAX);
    for options in [least, most] {
        App::new().options(options).ws("/", |route| route).build().unwrap();
    }
}
