//! The interface between axeom-ws and a runtime, and the timer that is built on it.

mod acceptor;
mod clock;
mod local_addr;
mod peer;
mod stream;
mod tcp;
mod tcp_options;
mod timer;
mod transport;
#[cfg(unix)]
mod unix;
mod workers;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    task::Context,
    time::{Duration, Instant},
};

#[cfg(test)]
pub(crate) use self::clock::Time;
#[cfg(unix)]
pub use self::unix::{PeerCredentials, SocketFile, bind_unix};
pub(crate) use self::{
    acceptor::AnyAcceptor,
    clock::{Clock, within},
    tcp::{limit_unsent, on_its_way},
    tcp_options::addresses,
    timer::{Alarmed, Now, Tick, Timer, Timers},
    transport::{BoxTransport, uninterrupted},
};
pub use self::{
    acceptor::{Acceptor, Incoming},
    local_addr::LocalAddr,
    peer::Peer,
    stream::TransportStream,
    tcp_options::TcpOptions,
    transport::{CloseWhole, EndSending, Io, Transport},
    workers::start_workers,
};

/// The whole interface between axeom-ws and a runtime: what the core needs from an executor and
/// its network.
///
/// A value of this type is a handle to the runtime and must be cheap to clone. There are adapters
/// for tokio, smol and async-std; the `custom_runtime` example of this repository implements the
/// trait for another executor.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// A TCP socket that listens.
    type Listener: Listener;

    /// Binds a TCP listener to `addr`.
    ///
    /// # Errors
    /// The error of the operating system, for example because the address is in use.
    fn bind(&self, addr: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Runs `task` in the background until it completes. Nothing may cancel it, such as dropping
    /// the join handle of the executor. Neither this call nor a wake-up may poll the task on the
    /// spot, because the caller may hold locks that the task needs.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static;

    /// Arranges for the task of `cx`, which is about to return [`Poll::Pending`], to be polled again
    /// after other tasks, I/O and timers had their turn.
    ///
    /// By default this wakes the task. That is not enough for an executor that polls a task it has
    /// just woken before it looks for I/O.
    ///
    /// [`Poll::Pending`]: std::task::Poll::Pending
    fn yield_now(&self, cx: &mut Context<'_>) {
        cx.waker().wake_by_ref();
    }

    /// The current time of the clock that [`sleep`](Self::sleep) follows. By default this is
    /// [`Instant::now`].
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// Something that accepts connections, such as a TCP socket. A
/// [`Server`](crate::Server) takes any: the ones of the adapters, and those that a program writes.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use std::io;
///
/// use axeom_ws::{
///     Incoming, Listener, LocalAddr, Peer, Transport,
///     futures::{StreamExt, channel::mpsc, lock::Mutex},
/// };
///
/// /// Serves the connections that another part of the program sends.
/// struct Sent<T>(Mutex<mpsc::Receiver<T>>);
///
/// impl<T: Transport> Listener for Sent<T> {
///     async fn accept(&self) -> io::Result<Incoming> {
///         match self.0.lock().await.next().await {
///             Some(transport) => Ok(Incoming::new(transport, Peer::Memory)),
///             None => std::future::pending().await,
///         }
///     }
///
///     fn local_addr(&self) -> io::Result<LocalAddr> {
///         Ok(LocalAddr::Memory)
///     }
/// }
/// ```
pub trait Listener: Send + Sync + 'static {
    /// Accepts the next connection, makes it non-blocking and sets `TCP_NODELAY`. This must be
    /// cancel safe: dropping the future loses no connection.
    ///
    /// # Errors
    /// The error of the operating system. The listener can still be used afterwards.
    fn accept(&self) -> impl Future<Output = io::Result<Incoming>> + Send;

    /// Where this listens, for TCP with the actual port if it was bound to port 0.
    ///
    /// # Errors
    /// The error of the operating system.
    fn local_addr(&self) -> io::Result<LocalAddr>;
}
