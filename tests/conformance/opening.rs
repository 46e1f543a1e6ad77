//! Connections that are still opening: how many there may be, how long they may take, and what
//! becomes of one whose client leaves.

use std::{
    future::pending,
    io::Write,
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

use axeom_ws::{App, http::Response as HttpResponse};
use futures::channel::oneshot;

use super::limits::assert_at_capacity;
use crate::{
    on_every_runtime,
    support::{
        Events, NOWHERE, TestRuntime, TestServer, blocking,
        frame::{self, Frame, TEXT},
        pipe::pipe_of,
        raw::Raw,
        request::Request,
        until,
    },
};

on_every_runtime!(
    a_silent_connection_has_a_place,
    a_crowd_without_a_place_is_sent_away,
    the_place_is_taken_before_derives_run,
    a_derive_ends_when_its_client_leaves,
    a_derive_that_takes_too_long_is_answered_with_503,
    what_comes_during_a_derive_is_kept,
    what_is_read_during_a_derive_is_kept,
    a_client_that_ended_its_direction_gets_its_response,
    a_client_that_reads_slowly_gets_its_whole_response,
    a_client_that_reads_nothing_is_given_up
);

/// Passes soon.
const SOON: Duration = Duration::from_millis(30);
/// Does not pass in a test.
const NEVER: Duration = Duration::from_secs(3600);

async fn a_silent_connection_has_a_place<R: TestRuntime>() {
    for app in [App::new().max_connections(3), App::new().max_connections_per_ip(3)] {
        let server = TestServer::start::<R, _>(app.ws("/", |route| route)).await;
        let silent = [server.raw::<R>().await, server.raw::<R>().await];
        let _inside = server.upgraded::<R>("/").await;
        // It need not ask for anything.
        assert_at_capacity(&server.raw::<R>().await.response().await);
        assert_eq!(server.handle.connections(), 1);
        drop(silent);
        // The server may notice after the next connection.
        while server.raw::<R>().await.ask(&Request::get("/nowhere")).await.status == 503 {}
        let _next = server.upgraded::<R>("/").await;
    }
}

async fn a_crowd_without_a_place_is_sent_away<R: TestRuntime>() {
    let app = App::new().max_connections_per_ip(1).ws("/", |route| {
        route.message(async |ws, msg| {
            let _ = ws.send(msg).await;
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut inside = server.upgraded::<R>("/").await;
    let mut crowd = Vec::new();
    for _ in 0..400 {
        crowd.push(server.raw::<R>().await);
    }
    // Each is told, as long as not too many are being told; all are let go.
    for mut stranger in crowd {
        let told = stranger.read_to_end().await;
        assert!(told.is_empty() || told.starts_with(b"HTTP/1.1 503 "));
    }
    // Once they are gone, the next is told again. The server may notice after the next connection.
    let told = loop {
        let told = server.raw::<R>().await.read_to_end().await;
        if !told.is_empty() {
            break told;
        }
    };
    assert!(told.starts_with(b"HTTP/1.1 503 "), "{}", told.escape_ascii());
    inside.send(frame::masked(TEXT, b"still here")).await;
    assert_eq!(inside.frame().await, Frame::text("still here"));
}

async fn the_place_is_taken_before_derives_run<R: TestRuntime>() {
    let mut derived = Events::new();
    let tell = derived.teller();
    let app = App::new()
        .max_connections(1)
        .guard(move |_| {
            tell(());
            async { Ok(()) }
        })
        .ws("/", |route| route);
    let server = TestServer::start::<R, _>(app).await;
    let _inside = server.upgraded::<R>("/").await;
    assert_at_capacity(&server.raw::<R>().await.ask(&Request::get("/")).await);
    derived.next().await;
    assert_eq!(derived.rest(), []);
}

/// Tells the test when it is dropped.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

async fn a_derive_ends_when_its_client_leaves<R: TestRuntime>() {
    let mut told = Events::new();
    let tell = told.teller();
    let never = move |_| {
        let tell = tell.clone();
        async move {
            tell("begun");
            let _ended = OnDrop(|| tell("ended"));
            pending().await
        }
    };
    for app in [App::new().guard(never.clone()), App::new().before(never)] {
        // The derive would end with its time too.
        let app = app.max_connections(1).handshake_timeout(NEVER).ws("/", |route| route);
        let server = TestServer::start::<R, _>(app).await;
        let mut raw = server.raw::<R>().await;
        raw.send(Request::get("/").text()).await;
        assert_eq!(told.next().await, "begun");
        drop(raw);
        assert_eq!(told.next().await, "ended");
        until(|| server.handle.connections() == 0).await;
    }
}

async fn a_derive_that_takes_too_long_is_answered_with_503<R: TestRuntime>() {
    let app =
        App::new().handshake_timeout(SOON).guard(async |_| pending().await).ws("/", |route| route);
    let server = TestServer::start::<R, _>(app).await;
    let response = server.raw::<R>().await.ask(&Request::get("/")).await;
    assert_eq!(response.status, 503);
    assert!(response.body.contains("too long"), "{response:?}");
    assert!(response.header("retry-after").is_some());
}

/// An app that echoes, with a guard that waits until it is let go.
fn guarded_echo() -> (App, Events<oneshot::Sender<()>>) {
    let derives = Events::new();
    let tell = derives.teller();
    let app = App::new()
        .guard(move |_| {
            let (go, on) = oneshot::channel::<()>();
            tell(go);
            async move { on.await.map_err(Into::into) }
        })
        .ws("/", |route| {
            route.message(async |ws, msg| {
                let _ = ws.send(msg).await;
            })
        });
    (app, derives)
}

async fn what_comes_during_a_derive_is_kept<R: TestRuntime>() {
    let (app, mut derives) = guarded_echo();
    let server = TestServer::start::<R, _>(app).await;
    // More than the server reads before it has decided.
    let message = vec![b'x'; 100_000];
    let mut raw = server.raw::<R>().await;
    raw.send([Request::get("/").text().as_bytes(), &frame::masked(TEXT, b"glued")].concat()).await;
    let go = derives.next().await;
    raw.send(frame::masked(TEXT, b"early")).await;
    raw.send(frame::masked(TEXT, &message)).await;
    go.send(()).unwrap();
    assert_eq!(raw.head().await.status, 101);
    assert_eq!(raw.frame().await, Frame::text("glued"));
    assert_eq!(raw.frame().await, Frame::text("early"));
    assert_eq!(raw.frame().await.payload, message);
}

async fn what_is_read_during_a_derive_is_kept<R: TestRuntime>() {
    let (app, mut derives) = guarded_echo();
    // What was sent is read, but for its last bytes.
    let (client, server) = pipe_of(16, usize::MAX);
    R::default().spawn(R::serve_stream(app.build().unwrap(), server, NOWHERE));
    let mut raw = Raw::new(client);
    raw.send([Request::get("/").text().as_bytes(), &frame::masked(TEXT, b"glued")].concat()).await;
    let go = derives.next().await;
    for text in [b"early", b"later"] {
        raw.send(frame::masked(TEXT, &text.repeat(100))).await;
    }
    go.send(()).unwrap();
    assert_eq!(raw.head().await.status, 101);
    assert_eq!(raw.frame().await, Frame::text("glued"));
    assert_eq!(raw.frame().await, Frame::text(&"early".repeat(100)));
    assert_eq!(raw.frame().await, Frame::text(&"later".repeat(100)));
}

async fn a_client_that_ended_its_direction_gets_its_response<R: TestRuntime>() {
    let (go, on) = oneshot::channel::<()>();
    let on = std::sync::Mutex::new(Some(on));
    let (asked, was_asked) = oneshot::channel();
    let asked = std::sync::Mutex::new(Some(asked));
    let app = App::new().fallback(move |_| {
        let _ = asked.lock().unwrap().take().unwrap().send(());
        let on = on.lock().unwrap().take().unwrap();
        async move {
            let _ = on.await;
            HttpResponse::new("the page")
        }
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.raw::<R>().await;
    raw.send(Request::plain("GET /").text()).await;
    raw.shutdown().await;
    was_asked.await.unwrap();
    go.send(()).unwrap();
    assert_eq!(raw.response().await.body, "the page");
}

const LARGE: usize = 16 << 20;

/// A server with a page that no kernel takes whole, which looks at the progress of its clients this
/// often, and a client that has asked for it.
async fn large_page<R: TestRuntime>(window: Duration) -> (TestServer, TcpStream) {
    let page = axeom_ws::Bytes::from(vec![b'x'; LARGE]);
    let app = App::new()
        .max_connections(1)
        .handshake_timeout(window)
        .fallback(move |_| futures::future::ready(HttpResponse::new(page.clone())));
    let server = TestServer::start::<R, _>(app).await;
    let mut client = TcpStream::connect(server.addr).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    (server, client)
}

async fn a_client_that_reads_slowly_gets_its_whole_response<R: TestRuntime>() {
    // On a busy machine the client may be kept from reading for a while, but not for this long.
    const WINDOW: Duration = Duration::from_secs(2);
    let (_server, mut client) = large_page::<R>(WINDOW).await;
    let (tell, told) = oneshot::channel();
    thread::spawn(move || {
        let _ = tell.send(blocking::read_slowly(&mut client, WINDOW * 3 / 2, usize::MAX));
    });
    let response = told.await.unwrap();
    assert!(response.starts_with(b"HTTP/1.1 200 "));
    assert!(response.len() > LARGE, "{} bytes", response.len());
}

async fn a_client_that_reads_nothing_is_given_up<R: TestRuntime>() {
    let (server, client) = large_page::<R>(3 * SOON).await;
    // Its place is free again, though it is still there.
    while server.raw::<R>().await.ask(&Request::plain("HEAD /")).await.status != 200 {}
    let _ = client.shutdown(Shutdown::Both);
}
