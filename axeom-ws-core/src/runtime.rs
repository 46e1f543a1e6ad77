use std::{
    future::Future,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures::{
    future::BoxFuture,
    io::{AsyncRead, AsyncWrite},
};

/// What the core needs of an executor and its network: the whole seam between
/// axeom-ws and a runtime.
///
/// A value of this type is a handle to the runtime; cloning it is cheap. The
/// `custom_runtime` example implements it for an executor of its own.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// A promoted TCP connection.
    type Stream: Stream;
    /// A bound TCP socket.
    type Listener: Listener<Stream = Self::Stream>;

    /// Binds a TCP listener to `addr`.
    ///
    /// # Errors
    /// What the operating system says, such as an address in use.
    fn bind(&self, addr: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Runs `task` in the background until it is done. Dropping what this call may
    /// have created internally must not cancel the task, and neither this call nor waking
    /// the task may run it there and then.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static;

    /// The clock that [`sleep`](Self::sleep) follows.
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// A bound socket that connections come in through.
pub trait Listener: Send + Sync + 'static {
    /// A promoted connection.
    type Stream: Stream;

    /// Waits for the next connection and promotes it: non-blocking, `TCP_NODELAY`
    /// set. Cancelling the wait loses no connection.
    ///
    /// # Errors
    /// What the operating system says. An error does not end the listener.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// The address this listens at, with the real port.
    ///
    /// # Errors
    /// What the operating system says.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A byte stream a connection runs over.
///
/// `poll_write_vectored` should be a real vectored write: the core sends many frames
/// with one. `poll_close` should send what is buffered and end the sending direction
/// (for TCP, a FIN), while reading goes on.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// A stream of any type; what it costs is one indirect call per system call.
pub(crate) type BoxStream = Box<dyn Stream>;

/// The time of a runtime whose type does not matter.
pub(crate) trait Clock: Send + Sync + 'static {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
    fn now(&self) -> Instant;
}

impl<R: Runtime> Clock for R {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(Runtime::sleep(self, duration))
    }

    fn now(&self) -> Instant {
        Runtime::now(self)
    }
}
