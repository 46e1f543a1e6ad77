//! What runs between accepting a connection and reading its request.

use std::{future::pending, io, net::SocketAddr, time::Duration};

use axeom_ws::{Acceptor, App, Incoming, Io, Peer, Service, http::uri::Scheme};
use futures::{AsyncReadExt, AsyncWriteExt};

use super::limits::assert_at_capacity;
use crate::{
    on_every_runtime,
    support::{
        Events, NOWHERE, TestRuntime, TestServer, bind,
        frame::{self, Frame},
        pipe::pipe,
        raw::Raw,
        request::Request,
        until,
    },
};

on_every_runtime!(
    acceptors_run_in_order_and_tell_derives_and_handlers,
    a_scheme_that_an_acceptor_knows_is_compared,
    a_connection_that_is_not_accepted_is_cut_alone,
    an_acceptor_may_panic_wherever_it_likes,
    a_connection_has_its_place_while_it_is_accepted,
    a_stalled_acceptor_is_cut_at_the_handshake_timeout,
    a_stalled_acceptor_ends_with_its_server,
    a_client_behind_a_proxy_is_counted_under_its_own_address,
    a_connection_may_be_accepted_by_hand
);

const GRACE: Duration = Duration::from_secs(10);

/// Reads one byte.
async fn byte(incoming: &mut Incoming) -> io::Result<u8> {
    let mut byte = [0];
    incoming.stream_mut().read_exact(&mut byte).await?;
    Ok(byte[0])
}

/// Accepts who says `y`, fails at `n`, and panics at `p`.
async fn asks(mut incoming: Incoming) -> io::Result<Incoming> {
    match byte(&mut incoming).await? {
        b'y' => Ok(incoming),
        b'n' => Err(io::Error::other("the peer says no")),
        other => panic!("{other}"),
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Letters(String);

/// Reads a letter, says it back, and appends it to what others have read.
async fn spells(mut incoming: Incoming) -> io::Result<Incoming> {
    let letter = byte(&mut incoming).await?;
    incoming.stream_mut().write_all(&[letter]).await?;
    let before = incoming.extensions().get::<Letters>().cloned();
    let letters = before.map_or(String::new(), |before| before.0);
    incoming.extensions_mut().insert(Letters(format!("{letters}{}", char::from(letter))));
    Ok(incoming)
}

fn spelled() -> App<impl Clone + Send + Sync + 'static> {
    let app = App::new().derive(async |ctx| Ok(ctx.extension::<Letters>().cloned()));
    app.ws("/", |route| {
        route.open(async |ws| {
            let derived: &Option<Letters> = ws.get();
            assert_eq!(ws.extension(), derived.as_ref());
            let letters = derived.as_ref().map_or("nothing", |letters| &*letters.0);
            let _ = ws.send(format!("{letters} from {}", ws.peer())).await;
        })
    })
}

async fn acceptors_run_in_order_and_tell_derives_and_handlers<R: TestRuntime>() {
    let named = async |mut incoming: Incoming| {
        assert_eq!(incoming.extensions().get(), Some(&Letters("hi".to_owned())));
        incoming.set_peer(SocketAddr::from(([192, 0, 2, 7], 4711)));
        Ok(incoming)
    };
    let server = bind::<R>().await.acceptor(spells).acceptor(spells).acceptor(named);
    let server = TestServer::start_on(server, spelled(), GRACE);
    let mut raw = server.raw::<R>().await;
    raw.send("hi").await;
    while raw.received != b"hi" {
        assert!(raw.read().await);
    }
    raw.received.clear();
    raw.upgrade("/").await;
    assert_eq!(raw.frame().await, Frame::text("hi from 192.0.2.7:4711"));
    raw.send(frame::close(1000)).await;
    assert_eq!(raw.close_code().await, 1000);
}

async fn a_scheme_that_an_acceptor_knows_is_compared<R: TestRuntime>() {
    let by_letter = async |mut incoming: Incoming| {
        match byte(&mut incoming).await? {
            b's' => incoming.set_scheme(Scheme::HTTPS),
            b'h' => incoming.set_scheme(Scheme::HTTP),
            _ => {}
        }
        Ok(incoming)
    };
    let plain = App::new().ws("/", |route| route);
    let secure = App::new().secure(true).ws("/", |route| route);
    let cases = [
        (plain, [("s", 101, 403), ("h", 403, 101), ("-", 101, 101)]),
        (secure, [("s", 101, 403), ("h", 403, 101), ("-", 101, 403)]),
    ];
    for (app, letters) in cases {
        let server = TestServer::start_on(bind::<R>().await.acceptor(by_letter), app, GRACE);
        for (letter, https, http) in letters {
            for (origin, status) in [("https://localhost", https), ("http://localhost", http)] {
                let mut raw = server.raw::<R>().await;
                raw.send(letter).await;
                raw.send(Request::get("/").with("Origin", origin).text()).await;
                assert_eq!(raw.head().await.status, status, "{letter}: {origin}");
            }
        }
    }
}

async fn a_connection_that_is_not_accepted_is_cut_alone<R: TestRuntime>() {
    let app = App::new().max_connections(2).ws("/", |route| route);
    let server = TestServer::start_on(bind::<R>().await.acceptor(asks), app, GRACE);
    let mut inside = server.raw::<R>().await;
    inside.send("y").await;
    inside.upgrade("/").await;
    for answer in ["n", "p", "n", "p"] {
        let mut raw = server.raw::<R>().await;
        raw.send(answer).await;
        assert_eq!(raw.read_to_end().await, b"");
    }
    // Each gave up its place, which the server may notice after the next connection.
    let mut status = 503;
    while status == 503 {
        let mut next = server.raw::<R>().await;
        next.send("y").await;
        next.send(Request::get("/").text()).await;
        status = next.head().await.status;
    }
    assert_eq!(status, 101);
    inside.send(frame::masked(frame::PING, b"still here")).await;
    assert_eq!(inside.frame().await, Frame::new(frame::PONG, "still here"));
}

/// Panics when it is asked for proxies, and when it is dropped.
struct Panics;

impl Acceptor for Panics {
    async fn accept(&self, incoming: Incoming) -> io::Result<Incoming> {
        Ok(incoming)
    }

    fn is_proxy(&self, _: Peer) -> bool {
        panic!("do not ask")
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        panic!("do not drop")
    }
}

async fn an_acceptor_may_panic_wherever_it_likes<R: TestRuntime>() {
    let app = App::new().ws("/", |route| route);
    let mut server = TestServer::start_on(bind::<R>().await.acceptor(Panics), app, GRACE);
    for _ in 0..2 {
        let _ = server.upgraded::<R>("/").await;
    }
    server.handle.shutdown();
    (&mut server.ended).await.unwrap().unwrap();
}

async fn a_connection_has_its_place_while_it_is_accepted<R: TestRuntime>() {
    let mut events = Events::new();
    let tell = events.teller();
    let waits = move |incoming| {
        tell(());
        asks(incoming)
    };
    let app = App::new().max_connections(1).ws("/", |route| route);
    let server = TestServer::start_on(bind::<R>().await.acceptor(waits), app, GRACE);
    let mut first = server.raw::<R>().await;
    events.next().await;
    // Who has no place is told so behind the acceptors, as everyone is.
    let mut second = server.raw::<R>().await;
    events.next().await;
    second.send("y").await;
    assert_at_capacity(&second.response().await);
    first.send("y").await;
    first.upgrade("/").await;
}

async fn a_stalled_acceptor_is_cut_at_the_handshake_timeout<R: TestRuntime>() {
    let app = App::new().handshake_timeout(Duration::from_millis(30)).ws("/", |route| route);
    let server = TestServer::start_on(bind::<R>().await.acceptor(asks), app, GRACE);
    let mut stalled = server.raw::<R>().await;
    assert_eq!(stalled.read_to_end().await, b"");
    // Behind the acceptor there is HTTP, which has an answer.
    let mut slow = server.raw::<R>().await;
    slow.send("y").await;
    assert_eq!(slow.response().await.status, 408);
}

async fn a_stalled_acceptor_ends_with_its_server<R: TestRuntime>() {
    let mut events = Events::new();
    let tell = events.teller();
    let stalls = move |_| {
        tell(());
        pending()
    };
    // Nothing else is to end it while the test is watched.
    let long = Duration::from_secs(600);
    let app = App::new().handshake_timeout(long).ws("/", |route| route);
    let mut server = TestServer::start_on(bind::<R>().await.acceptor(stalls), app, long);
    let mut raw = server.raw::<R>().await;
    events.next().await;
    server.handle.shutdown();
    assert_eq!(raw.read_to_end().await, b"");
    (&mut server.ended).await.unwrap().unwrap();
}

/// Reads the last byte of the client's address, as a proxy sends it.
struct OneByte;

impl Acceptor for OneByte {
    async fn accept(&self, mut incoming: Incoming) -> io::Result<Incoming> {
        let last = byte(&mut incoming).await?;
        incoming.set_peer(SocketAddr::from(([192, 0, 2, last], 4711)));
        Ok(incoming)
    }

    fn is_proxy(&self, peer: Peer) -> bool {
        peer.ip().is_some_and(|ip| ip.is_loopback())
    }
}

async fn a_client_behind_a_proxy_is_counted_under_its_own_address<R: TestRuntime>() {
    let app = App::new().max_connections_per_ip(1).ws("/", |route| route);
    let server = TestServer::start_on(bind::<R>().await.acceptor(OneByte), app, GRACE);
    let from = async |last: u8| {
        let mut raw = server.raw::<R>().await;
        raw.send([last]).await;
        raw.send(Request::get("/").text()).await;
        raw
    };
    // Not even several that have not said yet whom they are for count together.
    let silent = [server.raw::<R>().await, server.raw::<R>().await];
    let (mut first, mut other) = (from(1).await, from(2).await);
    assert_eq!((first.head().await.status, other.head().await.status), (101, 101));
    assert_at_capacity(&from(1).await.response().await);
    drop((first, silent));
    // The server may notice after the next connection.
    while from(1).await.head().await.status == 503 {}
    assert_at_capacity(&from(2).await.response().await);
}

async fn a_connection_may_be_accepted_by_hand<R: TestRuntime>() {
    let service: Service = spelled().build().unwrap();
    let (mut client, server) = pipe();
    client.write_all(b"x").await.unwrap();
    let incoming = spells.accept(Incoming::new(Io::new(server), NOWHERE)).await.unwrap();
    R::default().spawn(service.serve_incoming(R::default(), incoming));
    let mut raw = Raw::new(client);
    raw.read().await;
    assert_eq!(std::mem::take(&mut raw.received), b"x");
    raw.upgrade("/").await;
    assert_eq!(raw.frame().await, Frame::text("x from 127.0.0.1:7"));
    drop(raw);
    until(|| service.handle().connections() == 0).await;
}
