//! Peers that are faster than the handlers, and peers that do not read: the server holds a
//! bounded number of bytes for each.
//!
//! The stream is one that always has more to read, and the test polls the connection
//! itself: it has settled when it waits and nobody woke it.

use std::{
    future::{Future, pending},
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use axeom_ws::{App, Io, Ws};
use futures::{AsyncRead, AsyncWrite};

use crate::{
    on_every_runtime,
    support::{
        NOWHERE, TestRuntime,
        frame::{self, BINARY, CONTINUATION, Frame, PING, PONG, TEXT},
        request::Request,
    },
};

on_every_runtime!(
    a_slow_handler_stops_the_reading,
    a_slow_socket_loop_stops_the_reading,
    a_peer_that_does_not_read_stops_the_reading,
    unanswered_pings_are_answered_once_with_the_latest
);

/// What may be read for a handler that is busy: a read ahead of 64 KiB, one read that may
/// be as large, and the request head. Messages that are on their way to the handler come
/// on top.
const BOUND: usize = 160 * 1024;

/// A peer that never stops sending.
#[derive(Clone)]
struct Flood(Arc<FloodState>);

struct FloodState {
    /// What is sent once, and what is sent again and again after it.
    head: Vec<u8>,
    frames: Vec<u8>,
    sent: AtomicUsize,
    /// It reads nothing but the answer to the handshake.
    deaf: AtomicBool,
    received: Mutex<Vec<u8>>,
    writer: Mutex<Option<Waker>>,
}

impl Flood {
    fn of(frames: Vec<u8>, deaf: bool) -> Self {
        Self(Arc::new(FloodState {
            head: Request::get("/").text().into_bytes(),
            frames,
            sent: AtomicUsize::new(0),
            deaf: AtomicBool::new(deaf),
            received: Mutex::default(),
            writer: Mutex::default(),
        }))
    }

    fn sent(&self) -> usize {
        self.0.sent.load(Ordering::SeqCst)
    }

    /// Begins to read.
    fn listen(&self) {
        self.0.deaf.store(false, Ordering::SeqCst);
        if let Some(writer) = self.0.writer.lock().unwrap().take() {
            writer.wake();
        }
    }

    /// What came after the answer to the handshake.
    fn received(&self) -> Vec<u8> {
        let received = self.0.received.lock().unwrap();
        let head = received.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        received[head + 4..].to_vec()
    }
}

impl AsyncRead for Flood {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let (state, sent) = (&self.0, self.sent());
        let bytes = match state.head.get(sent..) {
            Some(head) if !head.is_empty() => head.iter().chain(&[]).cycle().take(head.len()),
            _ => {
                let at = (sent - state.head.len()) % state.frames.len();
                let (before, after) = state.frames.split_at(at);
                after.iter().chain(before).cycle().take(usize::MAX)
            }
        };
        // As a socket would, so that a server that reads without end fails within its memory.
        let bytes = bytes.take(64 * 1024);
        let n = buf.iter_mut().zip(bytes).map(|(to, from)| *to = *from).count();
        state.sent.fetch_add(n, Ordering::SeqCst);
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut received = self.0.received.lock().unwrap();
        if self.0.deaf.load(Ordering::SeqCst) && !received.is_empty() {
            *self.0.writer.lock().unwrap() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        received.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Polls a task until it waits for somebody else, or `enough` is.
fn settle(task: &mut Pin<&mut impl Future<Output = ()>>, mut enough: impl FnMut() -> bool) {
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    while woken.0.swap(false, Ordering::SeqCst) && !enough() {
        let polled = task.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending(), "the connection ended");
    }
}

/// Floods a connection until it reads no more.
fn assert_bounded<R: TestRuntime>(app: App, flood: Flood, messages: usize) {
    let bound = BOUND + messages * flood.0.frames.len();
    let service = app.build().unwrap();
    let mut task = pin!(service.serve_transport(R::default(), Io::new(flood.clone()), NOWHERE));
    settle(&mut task, || flood.sent() > 4 * bound);
    assert!(flood.sent() < bound, "{} bytes were read", flood.sent());
    assert!(flood.sent() > 1000, "the flood has not begun");
}

/// Messages of many sizes, whole and in fragments.
fn floods() -> impl Iterator<Item = Vec<u8>> {
    let sizes = [0, 1, 100, 1000, 60_000, 70_000, 1 << 20];
    let whole = sizes.into_iter().map(|size| frame::masked(BINARY, &vec![0; size]));
    let endless = [frame::fragment(BINARY, b""), frame::masked(CONTINUATION, &[0; 1000])];
    whole.chain([frame::masked(PING, b"p"), endless.concat()])
}

async fn a_slow_handler_stops_the_reading<R: TestRuntime>() {
    for frames in floods() {
        let app = App::new().ws("/", |route| route.open(async |_: Ws| pending::<()>().await));
        assert_bounded::<R>(app, Flood::of(frames.clone(), false), 0);
        let app = App::new().ws("/", |route| {
            route
                .message(async |_: Ws, _| pending::<()>().await)
                .ping(async |_: Ws, _| pending::<()>().await)
        });
        assert_bounded::<R>(app, Flood::of([frame::masked(TEXT, b"x"), frames].concat(), false), 0);
    }
}

async fn a_slow_socket_loop_stops_the_reading<R: TestRuntime>() {
    for frames in floods().filter(|frames| frames.len() < 70_000) {
        let app = App::new().ws("/", |route| {
            route.socket(async |mut socket| {
                socket.recv().await.unwrap();
                pending::<()>().await;
            })
        });
        assert_bounded::<R>(app, Flood::of(frames, false), 3);
    }
}

async fn a_peer_that_does_not_read_stops_the_reading<R: TestRuntime>() {
    for size in [0, 1, 1000, 60_000] {
        let app = App::new().ws("/", |route| {
            route.message(async |ws: Ws, _| {
                // An answer larger than the question.
                let _ = ws.send(vec![0; 100_000]).await;
            })
        });
        assert_bounded::<R>(app, Flood::of(frame::masked(BINARY, &vec![0; size]), true), 3);
    }
}

async fn unanswered_pings_are_answered_once_with_the_latest<R: TestRuntime>() {
    let opened = Arc::new(Mutex::new(None));
    let open = Arc::clone(&opened);
    let app = App::new().ws("/", |route| {
        route.open(move |ws: Ws| {
            *open.lock().unwrap() = Some(ws);
            async {}
        })
    });
    let service = app.build().unwrap();
    let pings: Vec<_> = (0..=255).flat_map(|n| frame::masked(PING, &[n])).collect();
    let flood = Flood::of(pings, true);
    let mut task = pin!(service.serve_transport(R::default(), Io::new(flood.clone()), NOWHERE));
    // Pings that nobody reads the answers of cost nothing, however many they are.
    settle(&mut task, || flood.sent() > 1 << 17);
    assert!(flood.sent() > 1 << 17, "a ping is nothing to wait for");
    let buffered = opened.lock().unwrap().as_ref().unwrap().buffered_amount();
    assert!(buffered < 32 * 1024, "{buffered} bytes are queued");
    let answered = flood.received().len();
    assert_eq!(answered, 0);

    let sent = flood.sent();
    flood.listen();
    settle(&mut task, || !flood.received().is_empty());
    let received = flood.received();
    let (mut last, mut at) = (None, 0);
    while let Some((frame, size)) = frame::decode(&received[at..]) {
        assert_eq!(frame.first, Frame::new(PONG, "").first);
        (last, at) = (Some(frame), at + size);
    }
    // Far fewer pongs than pings, and the last of them answers a ping of now.
    assert!(received.len() < 32 * 1024 + (flood.sent() - sent), "{} bytes", received.len());
    assert!(last.is_some());
}
