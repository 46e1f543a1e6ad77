//! Values of the program that panic when they are dropped. On some runtimes, and on all while
//! another panic unwinds, that would abort the process.

use std::{
    future::{Future, IntoFuture, pending, ready},
    net::Ipv4Addr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axeom_ws::{
    App, Bytes, CloseCode, ConnectionError, Handler, HandlerResult, Message, Options, Rejection,
    Server, Utf8Bytes, Ws,
};
use futures::{
    channel::oneshot,
    future::{Either, select},
};

use crate::{
    on_every_runtime,
    support::{
        Events, NOWHERE, TestRuntime, TestServer,
        frame::{self, BINARY, Frame, TEXT},
        in_memory_from,
        raw::Raw,
        request::Request,
        until,
    },
};

on_every_runtime!(
    a_server_that_is_dropped_survives_all_values_that_panic,
    a_connection_that_ends_survives_all_values_that_panic,
    a_handlers_future_that_panics_when_it_is_done_closes_with_1011,
    payloads_that_panic_end_no_connection
);

/// Counts that it is dropped, and panics then.
struct Bomb(Arc<AtomicUsize>);

impl Bomb {
    fn new(dropped: &Arc<AtomicUsize>) -> Self {
        Self(Arc::clone(dropped))
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("a value panics when it is dropped");
    }
}

/// Values of the context, which have a type each.
struct First(#[expect(dead_code, reason = "it is there to be dropped")] Bomb);
struct Second(#[expect(dead_code, reason = "it is there to be dropped")] Bomb);

struct Bombs(Arc<AtomicUsize>);

impl Handler<axeom_ws::context![Second, First]> for Bombs {
    type Session = Bomb;

    fn session(&self, _: &Ws<axeom_ws::context![Second, First]>) -> Bomb {
        Bomb::new(&self.0)
    }

    async fn message(
        &self,
        _: &mut Bomb,
        ws: Ws<axeom_ws::context![Second, First]>,
        message: Message,
    ) -> HandlerResult {
        if message == "wait" {
            let bomb = Bomb::new(&self.0);
            ws.send("waiting").await?;
            pending::<()>().await;
            drop(bomb);
        }
        Ok(ws.send(message).await?)
    }
}

/// Each connection has two values of the context and a session, and one more if it is told to
/// `wait`. What derives `/opening` has one, and does not end.
fn app(
    dropped: &Arc<AtomicUsize>,
    is_opening: impl Fn(()) + Clone + Send + Sync + 'static,
) -> App<axeom_ws::context![Second, First]> {
    let (first, second, opening) = (Arc::clone(dropped), Arc::clone(dropped), Arc::clone(dropped));
    App::new()
        .derive(move |_| ready(Ok::<_, Rejection>(First(Bomb::new(&first)))))
        .derive(move |_| ready(Ok::<_, Rejection>(Second(Bomb::new(&second)))))
        .ws("/", |route| route.handler(Bombs(Arc::clone(dropped))))
        .group("/opening", move |group| {
            group
                .guard(move |_| {
                    let bomb = Bomb::new(&opening);
                    is_opening(());
                    async move {
                        pending::<()>().await;
                        drop(bomb);
                        Ok(())
                    }
                })
                .ws("/", |route| route.open(async |_: Ws<_>| {}))
        })
}

async fn a_server_that_is_dropped_survives_all_values_that_panic<R: TestRuntime>() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let mut is_opening = Events::new();
    let app = app(&dropped, is_opening.teller());
    let handle = app.handle();
    let server = Server::<R>::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = server.local_addr().socket_addr().unwrap();
    let (cancel, cancelled) = oneshot::channel::<()>();
    let serving = server.serve(app).into_future();
    R::default().spawn(async move {
        if let Either::Right((_, serving)) = select(serving, cancelled).await {
            drop(serving);
        }
    });
    let mut idle = Raw::new(R::connect_tcp(addr).await);
    idle.upgrade("/").await;
    let mut busy = Raw::new(R::connect_tcp(addr).await);
    busy.upgrade("/").await;
    busy.send(frame::masked(TEXT, b"wait")).await;
    assert_eq!(busy.frame().await, Frame::text("waiting"));
    let mut opening = Raw::new(R::connect_tcp(addr).await);
    opening.send(Request::get("/opening").text()).await;
    is_opening.next().await;
    cancel.send(()).unwrap();
    for raw in [&mut idle, &mut busy, &mut opening] {
        assert_eq!(raw.read_to_end().await, b"");
    }
    until(|| dropped.load(Ordering::SeqCst) == 3 + 4 + 3).await;
    until(|| handle.connections() == 0).await;
}

async fn a_connection_that_ends_survives_all_values_that_panic<R: TestRuntime>() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let server = TestServer::start::<R, _>(app(&dropped, |()| {})).await;
    let mut staying = server.connect::<R>("/").await;
    let mut leaving = server.connect::<R>("/").await;
    assert_eq!(leaving.close(1000, "").await, Some((1000, String::new())));
    until(|| dropped.load(Ordering::SeqCst) == 3).await;
    // Without a closing handshake, and with a handler that is busy.
    let mut lost = server.upgraded::<R>("/").await;
    lost.send(frame::masked(TEXT, b"wait")).await;
    assert_eq!(lost.frame().await, Frame::text("waiting"));
    staying.send("still here").await;
    assert_eq!(staying.recv_text().await, "still here");
    assert_eq!(server.handle.connections(), 2);
}

/// Is done at once, and panics when it is dropped then.
struct Done(#[expect(dead_code, reason = "it is there to be dropped")] Bomb);

impl Future for Done {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

async fn a_handlers_future_that_panics_when_it_is_done_closes_with_1011<R: TestRuntime>() {
    let mut events = Events::new();
    let (error, close) = (events.teller(), events.teller());
    let dropped = Arc::new(AtomicUsize::new(0));
    let (message, ping) = (Arc::clone(&dropped), Arc::clone(&dropped));
    let app = App::new().ws("/", |route| {
        route
            .message(move |_: Ws, _| Done(Bomb::new(&message)))
            .ping(move |_: Ws, _| Done(Bomb::new(&ping)))
            .error(move |_, failed: ConnectionError| {
                error(failed.to_string());
                async {}
            })
            .close(move |_, code: CloseCode, _: Utf8Bytes| {
                close(code.to_string());
                async {}
            })
    });
    let server = TestServer::start::<R, _>(app).await;
    for (n, opcode) in [TEXT, frame::PING].into_iter().enumerate() {
        let mut raw = server.upgraded::<R>("/").await;
        raw.send(frame::masked(opcode, b"x")).await;
        loop {
            let frame = raw.frame().await;
            if frame.first != Frame::new(frame::PONG, "").first {
                assert_eq!(frame.payload[..2], 1011_u16.to_be_bytes());
                break;
            }
        }
        raw.send(frame::close(1011)).await;
        let told = events.next().await;
        assert!(told.contains("panicked"), "{told}");
        assert_eq!(events.next().await, "1011");
        assert_eq!(dropped.load(Ordering::SeqCst), n + 1);
    }
}

/// The owner of a payload that is shared, for it is large.
struct Payload(Vec<u8>, #[expect(dead_code, reason = "it is there to be dropped")] Bomb);

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

async fn payloads_that_panic_end_no_connection<R: TestRuntime>() {
    let mut opened = Events::new();
    let tell = opened.teller();
    let app = App::new().options(Options::new().high_water_mark(100_000)).ws("/", |route| {
        route.open(move |ws: Ws| {
            tell(ws);
            async {}
        })
    });
    let service = app.build().unwrap();
    let dropped = Arc::new(AtomicUsize::new(0));
    let payload = || Bytes::from_owner(Payload(vec![7; 5000], Bomb::new(&dropped)));

    // When they were sent.
    let mut raw = in_memory_from::<R>(&service, NOWHERE, 64);
    raw.upgrade("/").await;
    let ws = opened.next().await;
    for _ in 0..3 {
        ws.try_send(payload()).unwrap();
    }
    for _ in 0..3 {
        assert_eq!(raw.frame().await, Frame::new(BINARY, vec![7; 5000]));
    }
    until(|| dropped.load(Ordering::SeqCst) == 3).await;
    ws.send("and on it goes").await.unwrap();
    assert_eq!(raw.frame().await, Frame::text("and on it goes"));

    // When they were not, whoever drops them.
    for _ in 0..3 {
        ws.try_send(payload()).unwrap();
    }
    ws.terminate();
    until(|| dropped.load(Ordering::SeqCst) == 6).await;
    until(|| service.handle().connections() == 0).await;
}
