use std::{
    future::{Future, pending},
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use axeom_ws::{App, Bytes, Incoming, Io, Listener, LocalAddr, Peer, Runtime, Service};
use futures::{
    future::BoxFuture,
    io::{AsyncRead, AsyncWrite},
};

pub(crate) const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A server's connection. Nothing happens on it but while it is told something.
pub(crate) struct Connection {
    task: Option<BoxFuture<'static, ()>>,
    ends: Arc<Mutex<Ends>>,
    alarm: Arc<Alarm>,
    waker: Waker,
}

impl Connection {
    /// One whose request is still to come.
    pub(crate) fn new(service: &Service) -> Self {
        let ends = Arc::new(Mutex::new(Ends::default()));
        let transport = Io::new(Stream(Arc::clone(&ends)));
        let task = service.serve_transport(Standstill, transport, Peer::Memory);
        let alarm = Arc::new(Alarm::default());
        let waker = Arc::clone(&alarm).into();
        Self { task: Some(Box::pin(task)), ends, alarm, waker }
    }

    /// One to the first route of an app, after its handshake.
    pub(crate) fn open(service: &Service) -> Self {
        Self::open_with(service, &Bytes::from_static(HEAD))
    }

    pub(crate) fn open_with(service: &Service, head: &Bytes) -> Self {
        let mut connection = Self::new(service);
        connection.receive(head);
        assert!(connection.written() > 0 && connection.is_open());
        connection
    }

    /// Receives bytes, all at once, and does all there is to do then.
    pub(crate) fn receive(&mut self, bytes: &Bytes) {
        self.ends().to_read = bytes.clone();
        self.go_on();
    }

    /// The peer ends its direction.
    pub(crate) fn end(&mut self) {
        self.ends().ended = true;
        self.go_on();
    }

    /// Does all there is to do.
    pub(crate) fn go_on(&mut self) {
        loop {
            self.alarm.0.store(false, Ordering::Relaxed);
            let Some(task) = &mut self.task else { return };
            if task.as_mut().poll(&mut Context::from_waker(&self.waker)).is_ready() {
                self.task = None;
            }
            if !self.alarm.0.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// How many bytes were written since the last call.
    pub(crate) fn written(&self) -> usize {
        std::mem::take(&mut self.ends().written)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.task.is_some()
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap()
    }
}

/// An app whose one route sends back what it receives.
pub(crate) fn echo() -> App {
    App::new().ws("/", |route| {
        route.message(async |ws, message| {
            let _ = ws.send(message).await;
        })
    })
}

#[derive(Default)]
struct Alarm(AtomicBool);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Ends {
    to_read: Bytes,
    ended: bool,
    written: usize,
}

struct Stream(Arc<Mutex<Ends>>);

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut ends = self.0.lock().unwrap();
        if ends.to_read.is_empty() && !ends.ended {
            return Poll::Pending;
        }
        let n = into.len().min(ends.to_read.len());
        let piece = ends.to_read.split_to(n);
        into[..n].copy_from_slice(&piece);
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap().written += bytes.len();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = slices.iter().map(|slice| slice.len()).sum();
        self.0.lock().unwrap().written += n;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A runtime that does nothing, on a clock that stands still.
#[derive(Clone)]
struct Standstill;

impl Runtime for Standstill {
    type Listener = NoListener;

    async fn bind(&self, _: SocketAddr) -> io::Result<NoListener> {
        Ok(NoListener)
    }

    fn spawn(&self, _: impl Future<Output = ()> + Send + 'static) {
        unreachable!("connections are polled by hand");
    }

    fn sleep(&self, _: Duration) -> impl Future<Output = ()> + Send + 'static {
        pending()
    }

    fn now(&self) -> Instant {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *START.get_or_init(Instant::now)
    }
}

struct NoListener;

impl Listener for NoListener {
    async fn accept(&self) -> io::Result<Incoming> {
        pending().await
    }

    fn local_addr(&self) -> io::Result<LocalAddr> {
        Ok(LocalAddr::Memory)
    }
}
