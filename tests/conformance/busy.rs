//! How a connection ends while one of its handlers waits for something else.

use std::time::Duration;

use axeom_ws::{App, CloseCode, Compression, ConnectionError, Message, Options, Ws};
use futures::{FutureExt, channel::oneshot, future::pending};

use crate::{
    on_every_runtime,
    support::{
        Events, TestRuntime, TestServer,
        frame::{self, TEXT},
        raw::Raw,
        recorder::kind,
        request::Request,
        until,
    },
};

on_every_runtime!(
    mounted over http1:
    an_old_connection_is_closed,
    an_idle_connection_is_closed,
    a_close_from_elsewhere_is_sent_and_answered,
    a_peer_that_does_not_answer_a_close_is_cut,
    a_subscriber_that_is_full_is_closed,
    a_shutdown_closes_the_connection,
    a_peer_that_leaves_gives_up_its_place,
    a_peer_that_is_reset_gives_up_its_place,
    a_close_of_the_peer_is_answered_after_the_close_timeout,
    a_violation_is_answered_after_the_close_timeout,
    a_peer_that_has_ended_may_still_be_answered,
    what_the_peer_sent_before_its_end_is_handled,
    what_does_not_decompress_counts_before_a_later_close,
    a_peer_that_takes_nothing_is_cut_though_reading_has_stopped,
    a_peer_that_takes_everything_is_not_cut_while_reading_has_stopped,
    a_socket_loop_that_takes_nothing_does_not_hold_the_connection,
    closed_tells_a_handler_of_every_end
);

/// Passes soon.
const SOON: Duration = Duration::from_millis(30);

/// A server whose `message` handler waits until the test opens the gate.
struct Busy {
    server: TestServer,
    events: Events<String>,
    /// The handle to each connection whose handler waits.
    waiting: Events<Ws>,
    gate: oneshot::Sender<()>,
}

impl Busy {
    async fn start<R: TestRuntime>(options: Options) -> Self {
        let (gate, opened) = oneshot::channel::<()>();
        let (events, waiting) = (Events::new(), Events::new());
        let opened = opened.shared();
        let app = App::new().options(options).max_connections(1).ws("/", |route| {
            let (on_message, on_error, on_close) =
                (events.teller(), events.teller(), events.teller());
            let tell_ws = waiting.teller();
            route
                .open(async |ws| {
                    ws.subscribe("news");
                })
                .message(move |ws: Ws, message: Message| {
                    on_message(format!("message {message}"));
                    tell_ws(ws);
                    opened.clone().map(drop)
                })
                .error(move |_, error: ConnectionError| {
                    on_error(format!("error {}", kind(&error)));
                    async {}
                })
                .close(move |_, code: CloseCode, _| {
                    on_close(format!("close {code}"));
                    async {}
                })
        });
        Self { server: TestServer::start::<R, _>(app).await, events, waiting, gate }
    }

    /// A peer whose message is being handled.
    async fn peer<R: TestRuntime>(&mut self) -> (Raw, Ws) {
        let mut peer = self.server.upgraded::<R>("/").await;
        peer.send(frame::masked(TEXT, b"go")).await;
        assert_eq!(self.events.next().await, "message go");
        (peer, self.waiting.next().await)
    }

    /// Waits until the connection has given up its place, and another can have it. Then lets the
    /// handler go on.
    async fn over<R: TestRuntime>(mut self) -> Vec<String> {
        until(|| self.server.handle.connections() == 0).await;
        let mut next = self.server.upgraded::<R>("/").await;
        assert!(self.events.rest().is_empty(), "a handler was called beside another");
        next.send(frame::close(1000)).await;
        assert_eq!(next.close_code().await, 1000);
        assert_eq!(self.events.next().await, "close 1000");
        drop(self.gate);
        let mut ends = Vec::new();
        while ends.last().is_none_or(|end: &String| !end.starts_with("close")) {
            ends.push(self.events.next().await);
        }
        ends
    }
}

async fn an_old_connection_is_closed<R: TestRuntime>() {
    let mut busy = Busy::start::<R>(Options::new().max_lifetime(SOON)).await;
    let (mut peer, _) = busy.peer::<R>().await;
    assert_eq!(peer.close_code().await, 1001);
    peer.send(frame::close(1001)).await;
    assert_eq!(peer.read_to_end().await, b"");
    assert_eq!(busy.over::<R>().await, ["close 1001"]);
}

async fn an_idle_connection_is_closed<R: TestRuntime>() {
    let mut busy = Busy::start::<R>(Options::new().idle_timeout(SOON)).await;
    let (mut peer, _) = busy.peer::<R>().await;
    assert_eq!(peer.close_code().await, 1001);
    peer.send(frame::close(1001)).await;
    assert_eq!(peer.read_to_end().await, b"");
    assert_eq!(busy.over::<R>().await, ["close 1001"]);
}

async fn a_close_from_elsewhere_is_sent_and_answered<R: TestRuntime>() {
    let mut busy = Busy::start::<R>(Options::new()).await;
    let (mut peer, ws) = busy.peer::<R>().await;
    ws.close(4000, "enough");
    assert_eq!(peer.frame().await.close_code(), Some(4000));
    // A whole message, and half of a large one, are in the way of the answer.
    peer.send(frame::masked(TEXT, b"dropped")).await;
    peer.send(frame::fragment(TEXT, &[b'x'; 100_000])).await;
    peer.send(frame::close(4000)).await;
    assert_eq!(peer.read_to_end().await, b"");
    assert_eq!(busy.over::<R>().await, ["close 4000"]);
}

async fn a_peer_that_does_not_answer_a_close_is_cut<R: TestRuntime>() {
    let mut busy = Busy::start::<R>(Options::new().close_timeout(SOON)).await;
    let (mut peer, ws) = busy.peer::<R>().await;
    ws.close(4000, "enough");
    assert_eq!(peer.frame().await.close_code(), Some(4000));
    assert_eq!(peer.read_to_end().await, b"");
    assert_eq!(busy.over::<R>().await, ["error close timeout", "close 1006"]);
}

async fn a_subscriber_that_is_full_is_closed<R: TestRuntime>() {
    let options = Options::new().close_on_full(true).close_timeout(SOON);
    let mut busy = Busy::start::<R>(options).await;
    let (mut peer, ws) = busy.peer::<R>().await;
    while !ws.is_closed() {
        busy.server.handle.publish("news", vec![0; 512 * 1024]);
    }
    while peer.read().await {}
    assert_eq!(busy.over::<R>().await, ["error close timeout", "close 1006"]);
}

async fn a_shutdown_closes_the_connection<R: TestRuntime>() {
    let mut busy = Busy::start::<R>(Options::new()).await;
    let (mut peer, _) = busy.peer::<R>().await;
    busy.server.handle.shutdown();
    assert_eq!(peer.close_code().await, 1001);
    peer.send(frame::close(1001)).await;
    assert_eq!(peer.read_to_end().await, b"");
    drop(busy.gate);
    assert_eq!(busy.events.next().await, "close 1001");
    assert!((&mut busy.server.ended).await.unwrap().is_ok());
}

async fn a_peer_that_leaves_gives_up_its_place<R: TestRuntime>() {
    let mut busy = Busy::start::<R>(Options::new().close_timeout(SOON)).await;
    let (mut peer, _) = busy.peer::<R>().await;
    peer.shutdown().await;
    assert_eq!(peer.read_to_end().await, b"");
    assert_eq!(busy.over::<R>().await, ["error io", "close 1006"]);
}

async fn a_peer_that_is_reset_gives_up_its_place<R: TestRuntime>() {
    let mut busy = Busy::start::<R>(Options::new()).await;
    let (peer, ws) = busy.peer::<R>().await;
    ws.send("not read").await.unwrap();
    until(|| ws.buffered_amount() == 0).await;
    // A socket that is closed with unread input resets the connection.
    drop(peer);
    assert_eq!(busy.over::<R>().await, ["error io", "close 1006"]);
}

async fn a_close_of_the_peer_is_answered_after_the_close_timeout<R: TestRuntime>() {
    let mut busy = Busy::start::<R>(Options::new().close_timeout(SOON)).await;
    let (mut peer, _) = busy.peer::<R>().await;
    peer.send(frame::close(4001)).await;
    assert_eq!(peer.close_code().await, 4001);
    assert_eq!(peer.read_to_end().await, b"");
    assert_eq!(busy.over::<R>().await, ["close 4001"]);
}

async fn a_violation_is_answered_after_the_close_timeout<R: TestRuntime>() {
    let mut busy = Busy::start::<R>(Options::new().close_timeout(SOON)).await;
    let (mut peer, _) = busy.peer::<R>().await;
    peer.send([0x8f, 0x80, 0, 0, 0, 0]).await;
    assert_eq!(peer.close_code().await, 1002);
    peer.shutdown().await;
    assert_eq!(peer.read_to_end().await, b"");
    assert_eq!(busy.over::<R>().await, ["error violation", "close 1002"]);
}

async fn a_peer_that_has_ended_may_still_be_answered<R: TestRuntime>() {
    let mut busy = Busy::start::<R>(Options::new()).await;
    let (mut peer, ws) = busy.peer::<R>().await;
    peer.shutdown().await;
    ws.closed().await;
    assert!(!ws.is_closed());
    ws.send("answer").await.unwrap();
    assert_eq!(peer.frame().await, frame::Frame::text("answer"));
    drop(busy.gate);
    assert_eq!(busy.events.next().await, "error io");
    assert_eq!(busy.events.next().await, "close 1006");
    assert_eq!(peer.read_to_end().await, b"");
}

async fn what_the_peer_sent_before_its_end_is_handled<R: TestRuntime>() {
    let mut busy = Busy::start::<R>(Options::new().close_timeout(SOON)).await;
    let (mut peer, _) = busy.peer::<R>().await;
    peer.send([frame::masked(TEXT, b"two"), frame::masked(TEXT, b"three")].concat()).await;
    peer.send(frame::close(1000)).await;
    assert_eq!(peer.close_code().await, 1000);
    let ends = busy.over::<R>().await;
    assert_eq!(ends, ["message two", "message three", "close 1000"]);
}

async fn what_does_not_decompress_counts_before_a_later_close<R: TestRuntime>() {
    let mut busy = Busy::start::<R>(Options::new().compression(Compression::new())).await;
    let mut peer = busy.server.raw::<R>().await;
    let offer = Request::get("/").and("Sec-WebSocket-Extensions: permessage-deflate");
    peer.send(offer.text()).await;
    assert_eq!(peer.head().await.status, 101);
    let garbage = frame::encode(0xc0 | TEXT, &[0xff; 20], Some([1, 2, 3, 4]));
    let rest = [garbage, frame::masked(TEXT, b"too late"), frame::close(1000)];
    peer.send([frame::masked(TEXT, b"go"), rest.concat()].concat()).await;
    assert_eq!(busy.events.next().await, "message go");
    busy.waiting.next().await.closed().await;
    drop(busy.gate);
    assert_eq!(peer.close_code().await, 1007);
    drop(peer);
    assert_eq!(busy.events.next().await, "error violation");
    assert_eq!(busy.events.next().await, "close 1007");
}

/// A busy handler's peer that has sent more than is read ahead, so that it cannot be heard.
async fn unheard<R: TestRuntime>() -> (Busy, Raw, Ws) {
    let options = Options::new().ping_interval(SOON).pong_timeout(4 * SOON);
    let mut busy = Busy::start::<R>(options).await;
    let (mut peer, ws) = busy.peer::<R>().await;
    peer.send(frame::masked(TEXT, &[b'x'; 64 * 1024])).await;
    (busy, peer, ws)
}

async fn a_peer_that_takes_nothing_is_cut_though_reading_has_stopped<R: TestRuntime>() {
    let (mut busy, _peer, ws) = unheard::<R>().await;
    // More than its receive buffer holds.
    ws.try_send(vec![0; 16 << 20]).unwrap();
    until(|| busy.server.handle.connections() == 0).await;
    drop(busy.gate);
    assert!(busy.events.next().await.starts_with("message x"));
    assert_eq!(busy.events.next().await, "error pong timeout");
    assert_eq!(busy.events.next().await, "close 1006");
}

async fn a_peer_that_takes_everything_is_not_cut_while_reading_has_stopped<R: TestRuntime>() {
    let (mut busy, mut peer, _) = unheard::<R>().await;
    // Each ping follows the time in which the one before could have been answered.
    for _ in 0..3 {
        peer.frame().await;
    }
    drop(busy.gate);
    assert!(busy.events.next().await.starts_with("message x"));
    assert_eq!(busy.server.handle.connections(), 1);
}

async fn a_socket_loop_that_takes_nothing_does_not_hold_the_connection<R: TestRuntime>() {
    let mut events = Events::new();
    let tell = events.teller();
    let options = Options::new().max_lifetime(SOON);
    let app = App::new().options(options).ws("/", |route| {
        route.socket(move |socket| {
            let tell = tell.clone();
            async move {
                socket.closed().await;
                tell(socket.is_closed());
                pending::<()>().await;
            }
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut peer = server.upgraded::<R>("/").await;
    peer.send(frame::masked(TEXT, b"not taken")).await;
    assert_eq!(peer.close_code().await, 1001);
    assert!(events.next().await);
    peer.send(frame::close(1001)).await;
    assert_eq!(peer.read_to_end().await, b"");
    until(|| server.handle.connections() == 0).await;
}

async fn closed_tells_a_handler_of_every_end<R: TestRuntime>() {
    let mut events = Events::new();
    let mut waiting = Events::new();
    let app = App::new().ws("/", |route| {
        let (tell_ws, tell) = (waiting.teller(), events.teller());
        route
            .message(move |ws: Ws, _| {
                tell_ws(ws.clone());
                async move { ws.closed().await }
            })
            .close(move |_, code: CloseCode, _| {
                tell(code.as_u16());
                async {}
            })
    });
    let server = TestServer::start::<R, _>(app).await;
    for code in [4001, 1006, 1002, 4000] {
        let mut peer = server.upgraded::<R>("/").await;
        peer.send(frame::masked(TEXT, b"go")).await;
        let ws = waiting.next().await;
        match code {
            4001 => peer.send(frame::close(4001)).await,
            1006 => peer.shutdown().await,
            1002 => peer.send([0xff; 2]).await,
            _ => ws.close(4000, ""),
        }
        peer.try_send(frame::close(1000)).await;
        drop(peer);
        assert_eq!(events.next().await, code);
    }
    let mut peer = server.upgraded::<R>("/").await;
    peer.send(frame::masked(TEXT, b"go")).await;
    waiting.next().await.terminate();
    assert_eq!(events.next().await, 1006);
}
