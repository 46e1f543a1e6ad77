//! The end of a server: gracefully, at the end of its patience, or at once.

use std::{
    future::{IntoFuture, pending},
    io,
    net::Ipv4Addr,
    sync::{Arc, Weak},
    time::Duration,
};

use axeom_ws::{App, Options, ServeError, Server, Service, Ws};
use futures::{
    channel::oneshot,
    future::{Either, select},
};

use super::{lifecycle::rest, messages::echo};
use crate::{
    on_every_runtime,
    support::{
        Events, TestRuntime, TestServer,
        frame::{self, TEXT},
        raw::Raw,
        recorder::{Seen, recorder, recorder_with},
        until,
    },
};

on_every_runtime!(
    a_shutdown_closes_every_connection_with_1001,
    a_signal_shuts_the_server_down,
    what_was_received_before_a_shutdown_is_handled_to_its_end,
    a_client_that_keeps_its_end_open_delays_nothing,
    a_server_without_connections_ends_at_once,
    connections_that_do_not_close_are_cut_after_the_grace_period,
    a_handler_that_never_ends_does_not_hold_the_server,
    terminate_ends_a_shutdown_that_waits,
    dropping_the_server_cuts_everything,
    two_servers_of_one_process_end_apart,
    a_port_in_use_is_an_error,
    an_app_that_cannot_be_built_is_an_error,
    a_built_app_is_served_too
);

fn going_away() -> Seen {
    Seen::Close(1001.into(), "server shutting down".to_owned())
}

async fn a_shutdown_closes_every_connection_with_1001<R: TestRuntime>() {
    let (app, mut events) = recorder();
    let mut server = TestServer::start::<R, _>(app).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(server.connect::<R>("/").await);
    }
    for _ in 0..10 {
        assert_eq!(events.next().await, Seen::Open);
    }
    assert_eq!(server.handle.connections(), 10);
    server.handle.shutdown();
    for client in &mut clients {
        let close = client.closed().await;
        assert_eq!(close, Some((1001, "server shutting down".to_owned())));
    }
    (&mut server.ended).await.unwrap().unwrap();
    assert_eq!(server.handle.connections(), 0);
    assert_eq!(events.rest(), vec![going_away(); 10], "each close has run");
    assert!(std::net::TcpStream::connect(server.addr).is_err(), "nobody listens");
}

async fn a_signal_shuts_the_server_down<R: TestRuntime>() {
    let (app, mut events) = recorder();
    let server = Server::<R>::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = server.local_addr().socket_addr().unwrap();
    let (signal, signalled) = oneshot::channel::<()>();
    let serving = server.serve(app).with_graceful_shutdown(async { signalled.await.unwrap() });
    let (end, ended) = oneshot::channel();
    let serving = serving.into_future();
    R::default().spawn(async move {
        let _ = end.send(serving.await);
    });
    let mut raw = Raw::new(R::connect_tcp(addr).await);
    raw.upgrade("/").await;
    assert_eq!(events.next().await, Seen::Open);
    signal.send(()).unwrap();
    assert_eq!(raw.close_code().await, 1001);
    ended.await.unwrap().unwrap();
    assert_eq!(events.next().await, going_away());
}

async fn what_was_received_before_a_shutdown_is_handled_to_its_end<R: TestRuntime>() {
    let (release, gate) = oneshot::channel::<()>();
    let gate = futures::FutureExt::shared(gate);
    let mut events = Events::new();
    let tell = events.teller();
    let app = App::new().ws("/", |route| {
        route.message(move |ws: Ws, _| {
            let (tell, gate) = (tell.clone(), gate.clone());
            async move {
                tell("begun");
                gate.await.unwrap();
                ws.send("too late").await.unwrap_err();
                tell("ended");
            }
        })
    });
    let mut server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    raw.send(frame::masked(TEXT, b"slow")).await;
    assert_eq!(events.next().await, "begun");
    server.handle.shutdown();
    assert_eq!(raw.frame().await.close_code(), Some(1001), "before the handler has ended");
    raw.send(frame::close(1001)).await;
    release.send(()).unwrap();
    assert_eq!(events.next().await, "ended");
    assert_eq!(raw.try_frame().await, None);
    (&mut server.ended).await.unwrap().unwrap();
}

async fn terminate_ends_a_shutdown_that_waits<R: TestRuntime>() {
    const NEVER: Duration = Duration::from_secs(3600);
    let (app, mut events) = recorder_with(Options::new().close_timeout(NEVER));
    let mut server = TestServer::start_with_grace::<R, _>(app, NEVER).await;
    let mut raw = server.upgraded::<R>("/").await;
    server.handle.shutdown();
    assert_eq!(raw.frame().await.close_code(), Some(1001));
    server.handle.terminate();
    assert_eq!(raw.try_frame().await, None);
    assert!((&mut server.ended).await.unwrap().is_ok());
    assert_eq!(rest(&server, &mut events).await, [Seen::Open, Seen::close(1006)]);
}

async fn a_client_that_keeps_its_end_open_delays_nothing<R: TestRuntime>() {
    const NEVER: Duration = Duration::from_secs(3600);
    let (app, _events) = recorder_with(Options::new().close_timeout(NEVER));
    let mut server = TestServer::start_with_grace::<R, _>(app, NEVER).await;
    let mut closing = server.upgraded::<R>("/").await;
    let mut closed = server.upgraded::<R>("/").await;
    let mut refused = server.raw::<R>().await;
    let mut wrong = server.upgraded::<R>("/").await;
    closed.send(frame::close(1000)).await;
    assert_eq!(closed.frame().await.close_code(), Some(1000));
    wrong.send([0xff; 2]).await;
    assert_eq!(wrong.frame().await.close_code(), Some(1002));
    refused.send("GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(refused.response().await.status, 426);
    server.handle.shutdown();
    assert_eq!(closing.frame().await.close_code(), Some(1001));
    closing.send(frame::close(1001)).await;
    // All four still have their ends open.
    assert!((&mut server.ended).await.unwrap().is_ok());
    drop((closing, closed, refused, wrong));
}

async fn a_server_without_connections_ends_at_once<R: TestRuntime>() {
    let mut server = TestServer::start::<R, _>(echo()).await;
    server.handle.shutdown();
    server.handle.shutdown();
    (&mut server.ended).await.unwrap().unwrap();
    // Also one that is shut down before it serves.
    let app = echo();
    app.handle().shutdown();
    let mut server = TestServer::start::<R, _>(app).await;
    (&mut server.ended).await.unwrap().unwrap();
}

async fn connections_that_do_not_close_are_cut_after_the_grace_period<R: TestRuntime>() {
    let (app, mut events) = recorder();
    let grace = Duration::from_millis(50);
    let mut server = TestServer::start_with_grace::<R, _>(app, grace).await;
    let mut raw = server.upgraded::<R>("/").await;
    assert_eq!(events.next().await, Seen::Open);
    server.handle.shutdown();
    assert_eq!(raw.frame().await.close_code(), Some(1001));
    // No answer; the server does not wait for ever.
    assert_eq!(raw.read_to_end().await, b"");
    (&mut server.ended).await.unwrap().unwrap();
    assert_eq!(rest(&server, &mut events).await.last(), Some(&Seen::close(1006)));
}

async fn a_handler_that_never_ends_does_not_hold_the_server<R: TestRuntime>() {
    let mut events = Events::new();
    let tell = events.teller();
    let held = Arc::new(());
    let weak = Arc::downgrade(&held);
    let app = App::new().ws("/", |route| {
        route.open(move |_: Ws| {
            let (tell, held) = (tell.clone(), Arc::clone(&held));
            async move {
                tell(());
                let _held = held;
                pending::<()>().await;
            }
        })
    });
    let grace = Duration::from_millis(50);
    let mut server = TestServer::start_with_grace::<R, _>(app, grace).await;
    let mut raw = server.upgraded::<R>("/").await;
    events.next().await;
    server.handle.shutdown();
    assert_eq!(raw.frame().await.close_code(), Some(1001));
    (&mut server.ended).await.unwrap().unwrap();
    assert_eq!(raw.read_to_end().await, b"");
    freed(&weak).await;
    until(|| server.handle.connections() == 0).await;
}

/// Waits until nothing holds on to a value.
async fn freed<T>(value: &Weak<T>) {
    until(|| value.strong_count() == 0).await;
}

async fn dropping_the_server_cuts_everything<R: TestRuntime>() {
    let mut events = Events::new();
    let tell = events.teller();
    let held = Arc::new(());
    let weak = Arc::downgrade(&held);
    let app = App::new().decorate(held).ws("/:how", |route| {
        route.open(move |ws: Ws<_>| {
            tell(());
            async move {
                ws.subscribe("topic");
                if ws.param("how") == "busy" {
                    pending::<()>().await;
                }
            }
        })
    });
    let handle = app.handle();
    let server = Server::<R>::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = server.local_addr().socket_addr().unwrap();
    let serving = server.serve(app).into_future();
    let (cancel, cancelled) = oneshot::channel::<()>();
    R::default().spawn(async move {
        match select(serving, cancelled).await {
            Either::Left(_) => panic!("the server ended by itself"),
            // Dropped, with the server in it.
            Either::Right((_, serving)) => drop(serving),
        }
    });
    let mut raws = Vec::new();
    for path in ["/idle", "/busy", "/idle"] {
        let mut raw = Raw::new(R::connect_tcp(addr).await);
        raw.upgrade(path).await;
        events.next().await;
        raws.push(raw);
    }
    // One that is not upgraded yet.
    let mut raw = Raw::new(R::connect_tcp(addr).await);
    raw.send("GET /").await;
    raws.push(raw);
    assert_eq!(handle.connections(), 3);
    cancel.send(()).unwrap();
    for raw in &mut raws {
        assert_eq!(raw.read_to_end().await, b"", "cut, without a close frame");
    }
    until(|| handle.connections() == 0).await;
    freed(&weak).await;
    assert_eq!(handle.subscriber_count("topic"), 0);
    assert!(std::net::TcpStream::connect(addr).is_err(), "nobody listens");
}

async fn two_servers_of_one_process_end_apart<R: TestRuntime>() {
    let mut first = TestServer::start::<R, _>(echo()).await;
    let second = TestServer::start::<R, _>(echo()).await;
    let mut client = second.connect::<R>("/").await;
    first.handle.shutdown();
    (&mut first.ended).await.unwrap().unwrap();
    client.send("still here").await;
    assert_eq!(client.recv_text().await, "still here");
    second.connect::<R>("/").await;
}

async fn a_port_in_use_is_an_error<R: TestRuntime>() {
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = taken.local_addr().unwrap();
    let error = Server::<R>::bind(taken).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {taken}"));
    let ServeError::Bind { source, .. } = error else { panic!("{error:?}") };
    assert_eq!(source.kind(), io::ErrorKind::AddrInUse);
}

async fn an_app_that_cannot_be_built_is_an_error<R: TestRuntime>() {
    let app = App::new().ws("/", |route| route).ws("/", |route| route);
    let server = Server::<R>::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let error = server.serve(app).await.unwrap_err();
    assert!(matches!(error, ServeError::App(_)), "{error:?}");
    assert!(error.to_string().contains("same path"), "{error}");
}

async fn a_built_app_is_served_too<R: TestRuntime>() {
    /// Whatever its context, this is its type.
    fn app() -> Service {
        let app = App::new().decorate("hello").ws("/", |route| {
            route.open(async |ws| {
                let greeting: &&str = ws.get();
                ws.send(*greeting).await?;
                Ok(())
            })
        });
        app.build().unwrap()
    }
    let service = app();
    let server = Server::<R>::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = server.local_addr().socket_addr().unwrap();
    let (end, ended) = oneshot::channel();
    let serving = server.serve(service.clone()).into_future();
    R::default().spawn(async move {
        let _ = end.send(serving.await);
    });
    let mut raw = Raw::new(R::connect_tcp(addr).await);
    raw.upgrade("/").await;
    assert_eq!(raw.frame().await, frame::Frame::text("hello"));
    assert_eq!(service.handle().connections(), 1);
    drop(raw);
    service.handle().shutdown();
    ended.await.unwrap().unwrap();
}
