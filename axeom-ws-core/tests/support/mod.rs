//! A runtime without threads, sockets or a real clock: tests move the time and the bytes.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]

use std::{
    collections::VecDeque,
    future::{Future, pending},
    io::{self, Read},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use axeom_ws_core::{
    App, Event, Incoming, Io, Listener, LocalAddr, Message, Peer as From, Runtime, Service,
    protocol,
};
use futures::{
    executor::{LocalPool, LocalSpawner},
    io::{AsyncRead, AsyncWrite},
    task::LocalSpawnExt,
};

/// One thread, on which nothing happens but what a test lets happen.
pub struct World {
    pool: LocalPool,
    pub clock: Clock,
}

impl World {
    pub fn new() -> Self {
        Self { pool: LocalPool::new(), clock: Clock::default() }
    }

    /// Lets every task go on until none can.
    pub fn settle(&mut self) {
        self.pool.run_until_stalled();
    }

    /// Moves the time, and lets every task go on at least once a second.
    pub fn advance(&mut self, mut by: Duration) {
        while !by.is_zero() {
            let step = by.min(Duration::from_secs(1));
            self.clock.advance(step);
            self.settle();
            by -= step;
        }
    }

    pub fn spawner(&self) -> LocalSpawner {
        self.pool.spawner()
    }

    /// A connection to the service, from its first byte.
    pub fn connect(&mut self, service: &Service) -> Peer {
        self.connect_through(service, |stream| stream)
    }

    /// The same, with a stream of another kind around the one in memory.
    pub fn connect_through<S>(&mut self, service: &Service, wrap: impl FnOnce(Stream) -> S) -> Peer
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (stream, peer) = pipe();
        let transport = Io::new(wrap(stream));
        let (service, clock) = (service.clone(), self.clock.clone());
        let serving = async move {
            service.serve_transport(clock, transport, From::Memory).await;
        };
        self.pool.spawner().spawn_local(serving).unwrap();
        self.settle();
        peer
    }

    /// A connection to the first route of an app, after its handshake.
    pub fn open<D: Clone + Send + Sync + 'static>(&mut self, app: App<D>) -> Peer {
        let service = app.build().unwrap();
        let mut peer = self.connect(&service);
        peer.send(HANDSHAKE);
        self.settle();
        let response = peer.take();
        assert!(response.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&response));
        peer
    }
}

pub const HANDSHAKE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A clock that stands still until it is moved.
#[derive(Clone)]
pub struct Clock(Arc<Mutex<Time>>);

struct Time {
    now: Instant,
    sleepers: Vec<Sleeper>,
    next: u64,
}

struct Sleeper {
    id: u64,
    at: Instant,
    waker: Waker,
}

/// One sleep; nobody waits for it any more once it is dropped.
struct Sleep {
    time: Arc<Mutex<Time>>,
    id: u64,
    at: Instant,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut time = self.time.lock().unwrap();
        time.sleepers.retain(|sleeper| sleeper.id != self.id);
        if time.now >= self.at {
            return Poll::Ready(());
        }
        time.sleepers.push(Sleeper { id: self.id, at: self.at, waker: cx.waker().clone() });
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.time.lock().unwrap().sleepers.retain(|sleeper| sleeper.id != self.id);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Time { now: Instant::now(), sleepers: Vec::new(), next: 0 })))
    }
}

impl Clock {
    pub fn advance(&self, by: Duration) {
        let mut time = self.0.lock().unwrap();
        time.now += by;
        let now = time.now;
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut time.sleepers).into_iter().partition(|sleeper| sleeper.at <= now);
        time.sleepers = later;
        drop(time);
        due.into_iter().for_each(|sleeper: Sleeper| sleeper.waker.wake());
    }

    /// How many sleeps are waited for.
    pub fn sleepers(&self) -> usize {
        self.0.lock().unwrap().sleepers.len()
    }
}

impl Runtime for Clock {
    type Listener = NoListener;

    async fn bind(&self, _: SocketAddr) -> io::Result<NoListener> {
        Ok(NoListener)
    }

    fn spawn(&self, _: impl Future<Output = ()> + Send + 'static) {
        unreachable!("tests spawn by themselves");
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        let mut time = self.0.lock().unwrap();
        time.next += 1;
        Sleep { time: Arc::clone(&self.0), id: time.next, at: time.now + duration }
    }

    fn now(&self) -> Instant {
        self.0.lock().unwrap().now
    }
}

pub struct NoListener;

impl Listener for NoListener {
    async fn accept(&self) -> io::Result<Incoming> {
        pending().await
    }

    fn local_addr(&self) -> io::Result<LocalAddr> {
        Ok(LocalAddr::Memory)
    }
}

/// A stream in memory, and its other end for the test.
pub fn pipe() -> (Stream, Peer) {
    let pipe = Arc::new(Mutex::new(Pipe { room: usize::MAX, ..Pipe::default() }));
    (Stream(Arc::clone(&pipe)), Peer { pipe })
}

#[derive(Default)]
struct Pipe {
    to_server: VecDeque<u8>,
    from_server: Vec<u8>,
    /// How much more the server may write.
    room: usize,
    writes: usize,
    /// How often a flush has to be asked for before it is done.
    flush_after: usize,
    peer_ended: bool,
    reset: bool,
    write_error: Option<io::ErrorKind>,
    close_error: Option<io::ErrorKind>,
    server_ended: bool,
    dropped: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

pub struct Stream(Arc<Mutex<Pipe>>);

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.lock().unwrap();
        if pipe.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if pipe.to_server.is_empty() && !pipe.peer_ended {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(pipe.to_server.read(buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.lock().unwrap();
        if pipe.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if let Some(kind) = pipe.write_error {
            return Poll::Ready(Err(kind.into()));
        }
        if pipe.room == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.writes += 1;
        let before = pipe.room;
        for buf in bufs {
            let n = buf.len().min(pipe.room);
            pipe.from_server.extend_from_slice(&buf[..n]);
            pipe.room -= n;
        }
        Poll::Ready(Ok(before - pipe.room))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.0.lock().unwrap();
        if pipe.flush_after > 0 {
            pipe.flush_after -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.0.lock().unwrap();
        pipe.server_ended = true;
        Poll::Ready(pipe.close_error.map_or(Ok(()), |kind| Err(kind.into())))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.lock().unwrap().dropped = true;
    }
}

/// The test's end of a connection.
pub struct Peer {
    pipe: Arc<Mutex<Pipe>>,
}

impl Peer {
    fn pipe(&self) -> MutexGuard<'_, Pipe> {
        self.pipe.lock().unwrap()
    }

    /// Sends bytes, all at once.
    pub fn send(&mut self, bytes: &[u8]) {
        let mut pipe = self.pipe();
        pipe.to_server.extend(bytes);
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
    }

    pub fn send_message(&mut self, message: impl Into<Message>) {
        self.send(&client_frames(&[message.into()]));
    }

    /// Ends the sending direction.
    pub fn end(&mut self) {
        self.pipe().peer_ended = true;
        self.send(&[]);
    }

    /// Breaks the connection: from now on every read and write fails.
    pub fn reset(&mut self) {
        self.pipe().reset = true;
        self.send(&[]);
        self.accept(0);
    }

    /// Lets the server's writes fail from now on, and nothing else.
    pub fn fail_writes(&mut self, kind: io::ErrorKind) {
        self.pipe().write_error = Some(kind);
    }

    /// Lets the server's ending of its direction fail.
    pub fn fail_close(&mut self, kind: io::ErrorKind) {
        self.pipe().close_error = Some(kind);
    }

    /// Lets the server write `bytes` more, and then no more until the next call.
    pub fn accept(&mut self, bytes: usize) {
        let mut pipe = self.pipe();
        pipe.room = bytes;
        if let Some(writer) = pipe.writer.take() {
            writer.wake();
        }
    }

    /// What the server wrote since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pipe().from_server)
    }

    /// Makes the next flush complete when it is asked for once more than `times`.
    pub fn delay_flush(&mut self, times: usize) {
        self.pipe().flush_after = times;
    }

    /// Whether a delayed flush was asked for often enough.
    pub fn is_flushed(&self) -> bool {
        self.pipe().flush_after == 0
    }

    /// How often the server wrote since the last call.
    pub fn take_writes(&mut self) -> usize {
        std::mem::take(&mut self.pipe().writes)
    }

    /// Whether the server ended its sending direction, or dropped the stream.
    pub fn has_ended(&self) -> bool {
        let pipe = self.pipe();
        pipe.server_ended || pipe.dropped
    }

    /// Whether the server dropped the stream.
    pub fn is_dropped(&self) -> bool {
        self.pipe().dropped
    }

    /// The events in what the server wrote since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        let mut bytes = self.take();
        let mut inbound =
            protocol::Inbound::new(protocol::Role::Client, protocol::Limits::default());
        let (mut events, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let received = inbound.receive(&mut bytes[at..]).unwrap();
            at += received.consumed;
            events.extend(received.event);
            assert!(received.consumed > 0, "half a frame");
        }
        events
    }
}

/// Messages as a client sends them, in one piece.
pub fn client_frames(messages: &[Message]) -> Vec<u8> {
    let mut client = protocol::Outbound::new(protocol::Role::Client);
    for message in messages {
        client.message(message.clone());
    }
    client.take().to_vec()
}
