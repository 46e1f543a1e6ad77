//! What proxies in front of a server say of its clients.

use axeom_ws::{App, Networks, Peer, Ws};

use crate::{
    on_every_runtime,
    support::{
        TestRuntime, TestServer, frame::Frame, in_memory, pipe::pipe, raw::Raw, request::Request,
        until,
    },
};

on_every_runtime!(
    mounted over http1:
    a_trusted_proxy_says_who_the_client_is,
    strangers_are_not_believed,
    forwarded_is_believed_as_a_whole_or_refused,
    the_origin_is_compared_with_what_the_client_asked_the_proxy_for,
    hosts_are_allowed_by_what_the_client_asked_for,
    clients_are_counted_by_their_own_addresses;
    alone: silent_proxies_are_not_counted_as_one_client,
    a_proxy_on_a_unix_socket_is_believed_if_that_is_said,
);

/// The addresses of the tests' clients, as one that comes from the same machine.
const OWN: [&str; 2] = ["127.0.0.0/8", "10.0.0.0/8"];

/// Tells each client who it is, and what it asked for.
fn app() -> App {
    App::new().ws("/", |route| {
        route.open(async |ws: Ws| {
            let host = ws.header("host").unwrap_or_default();
            let _ = ws.send(format!("{} at {host}", ws.peer())).await;
        })
    })
}

fn trusting() -> App {
    app().trust_x_forwarded(Networks::new(OWN).unwrap())
}

/// The first message of the connection that this request opens.
async fn hello<R: TestRuntime>(server: &TestServer, lines: &[&str]) -> String {
    let mut raw = open::<R>(server, lines).await;
    String::from_utf8(raw.frame().await.payload).unwrap()
}

async fn open<R: TestRuntime>(server: &TestServer, lines: &[&str]) -> Raw {
    let mut raw = server.raw::<R>().await;
    raw.send(request(lines).text()).await;
    assert_eq!(raw.head().await.status, 101, "{lines:?}");
    raw
}

fn request(lines: &[&str]) -> Request {
    lines.iter().fold(Request::get("/"), |request, line| request.and(*line))
}

async fn status<R: TestRuntime>(server: &TestServer, lines: &[&str]) -> u16 {
    let mut raw = server.raw::<R>().await;
    raw.send(request(lines).text()).await;
    raw.head().await.status
}

async fn a_trusted_proxy_says_who_the_client_is<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(trusting()).await;
    for (lines, expected) in [
        (&["X-Forwarded-For: 192.0.2.7"][..], "192.0.2.7:0 at localhost"),
        (
            &["X-Forwarded-For: 6.6.6.6, 192.0.2.7", "X-Forwarded-For: 10.1.1.1"],
            "192.0.2.7:0 at localhost",
        ),
        (&["X-Forwarded-For: [2001:db8::1]:4711"], "[2001:db8::1]:4711 at localhost"),
        (&["X-Forwarded-For: unknown"], "unknown at localhost"),
        (
            &["X-Forwarded-For: 192.0.2.7", "X-Forwarded-Host: chat.example:8443"],
            "192.0.2.7:0 at chat.example:8443",
        ),
    ] {
        assert_eq!(hello::<R>(&server, lines).await, expected, "{lines:?}");
    }
    // The proxy itself asks, for example whether the server is there.
    let own = hello::<R>(&server, &[]).await;
    assert!(own.starts_with("127.0.0.1:") && !own.starts_with("127.0.0.1:0 "), "{own}");
    assert_eq!(status::<R>(&server, &["X-Forwarded-Host: a b"]).await, 400);
}

async fn strangers_are_not_believed<R: TestRuntime>() {
    let lines = ["X-Forwarded-For: 192.0.2.7", "Forwarded: for=192.0.2.7;host=evil.example"];
    let elsewhere = app().trust_x_forwarded(Networks::new(["192.0.2.0/24"]).unwrap());
    for app in [app(), elsewhere] {
        let server = TestServer::start::<R, _>(app).await;
        let hello = hello::<R>(&server, &lines).await;
        assert!(hello.starts_with("127.0.0.1:") && hello.ends_with(" at localhost"), "{hello}");
    }
    // Of a proxy that writes one header, the other is the client's.
    let server = TestServer::start::<R, _>(trusting()).await;
    let hello = hello::<R>(&server, &lines[1..]).await;
    assert!(hello.starts_with("127.0.0.1:") && hello.ends_with(" at localhost"), "{hello}");
}

async fn forwarded_is_believed_as_a_whole_or_refused<R: TestRuntime>() {
    let app = app().trust_forwarded(Networks::new(OWN).unwrap());
    let server = TestServer::start::<R, _>(app).await;
    let line = "Forwarded: for=6.6.6.6, for=\"[2001:db8::1]:4711\";host=chat.example, for=10.0.0.1";
    assert_eq!(hello::<R>(&server, &[line]).await, "[2001:db8::1]:4711 at chat.example");
    assert_eq!(status::<R>(&server, &["Forwarded: for=\", for=192.0.2.7"]).await, 400);
}

async fn the_origin_is_compared_with_what_the_client_asked_the_proxy_for<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(trusting()).await;
    let (secure, host) = ("X-Forwarded-Proto: https", "X-Forwarded-Host: chat.example");
    for (lines, expected) in [
        (&[host, "Origin: https://chat.example"][..], 101),
        (&[host, "Origin: https://localhost"], 403),
        (&[host, secure, "Origin: https://chat.example"], 101),
        (&[host, secure, "Origin: http://chat.example"], 403),
        (&[secure, "Origin: https://localhost"], 101),
    ] {
        assert_eq!(status::<R>(&server, lines).await, expected, "{lines:?}");
    }
}

async fn hosts_are_allowed_by_what_the_client_asked_for<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(trusting().allow_hosts(["chat.example"])).await;
    assert_eq!(status::<R>(&server, &[]).await, 421);
    assert_eq!(status::<R>(&server, &["X-Forwarded-Host: chat.example"]).await, 101);
}

async fn clients_are_counted_by_their_own_addresses<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(trusting().max_connections_per_ip(1)).await;
    let one = ["X-Forwarded-For: 192.0.2.1"];
    let first = open::<R>(&server, &one).await;
    assert_eq!(status::<R>(&server, &one).await, 503);
    let _second = open::<R>(&server, &["X-Forwarded-For: 192.0.2.2"]).await;
    drop(first);
    until(|| server.handle.connections() == 1).await;
    open::<R>(&server, &one).await;
}

async fn silent_proxies_are_not_counted_as_one_client<R: TestRuntime>() {
    let app = trusting().max_connections_per_ip(1).max_connections(4);
    let server = TestServer::start::<R, _>(app).await;
    let _silent = [server.raw::<R>().await, server.raw::<R>().await];
    let mut client = open::<R>(&server, &["X-Forwarded-For: 192.0.2.1"]).await;
    assert_eq!(client.frame().await, Frame::text("192.0.2.1:0 at localhost"));
}

async fn a_proxy_on_a_unix_socket_is_believed_if_that_is_said<R: TestRuntime>() {
    let own = Networks::new(OWN).unwrap();
    for (networks, expected) in [(own.clone().and_unix(), "192.0.2.1:0"), (own, "unix")] {
        let service = app().trust_x_forwarded(networks).build().unwrap();
        let (client, server) = pipe();
        let transport = axeom_ws::Io::new(server);
        R::default().spawn(service.serve_transport(R::default(), transport, Peer::Unix));
        let mut raw = Raw::new(client);
        raw.send(request(&["X-Forwarded-For: 192.0.2.1"]).text()).await;
        assert_eq!(raw.head().await.status, 101);
        assert_eq!(raw.frame().await, Frame::text(&format!("{expected} at localhost")));
    }
    // A stream of another kind is no proxy.
    let mut raw = in_memory::<R>(&app().build().unwrap());
    raw.send(request(&["X-Forwarded-For: 192.0.2.1"]).text()).await;
    assert_eq!(raw.head().await.status, 101);
    assert_eq!(raw.frame().await, Frame::text("127.0.0.1:7 at localhost"));
}
