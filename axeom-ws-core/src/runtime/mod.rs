//! The seam between axeom-ws and a runtime, and the one timer that stands on it.

mod clock;
mod peer;
mod timer;
mod transport;
mod workers;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

#[cfg(all(test, loom))]
pub(crate) use self::clock::Time;
pub(crate) use self::{
    clock::{Clock, within},
    timer::{Alarmed, Now, Tick, Timer, Timers},
    transport::BoxTransport,
};
pub use self::{
    peer::Peer,
    transport::{CloseWhole, EndSending, Io, Transport},
    workers::start_workers,
};

/// What the core needs of an executor and its network: the whole seam between
/// axeom-ws and a runtime.
///
/// A value of this type is a handle to the runtime; cloning it is cheap. The
/// `custom_runtime` example implements it for an executor of its own.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// A promoted TCP connection.
    type Transport: Transport;
    /// A bound TCP socket.
    type Listener: Listener<Transport = Self::Transport>;

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
    type Transport: Transport;

    /// Waits for the next connection and promotes it: non-blocking, `TCP_NODELAY`
    /// set. Cancelling the wait loses no connection.
    ///
    /// # Errors
    /// What the operating system says. An error does not end the listener.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Transport, Peer)>> + Send;

    /// The address this listens at, with the real port.
    ///
    /// # Errors
    /// What the operating system says.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}
