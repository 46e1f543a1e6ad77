//! A server: its accept loop, the opening of its connections, their tasks, and the shutdown.

#[cfg(all(test, loom))]
mod loom_model;
mod open;
mod tasks;

use std::{
    fmt,
    future::{Future, IntoFuture, pending, poll_fn},
    io,
    net::{SocketAddr, ToSocketAddrs},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures::future::{BoxFuture, select};

use self::{open::ServeTransport, tasks::Tasks};
use crate::{
    app::{IntoService, Service},
    error::ServeError,
    runtime::{Clock, Listener, Runtime, Timers, within},
};

/// Binds to an address and serves an app, until it is shut down: what `serve` of each adapter
/// does.
///
/// # Errors
/// The app cannot be built, or the address not bound.
pub async fn serve<R: Runtime + Default>(
    app: impl IntoService,
    addr: impl ToSocketAddrs + fmt::Debug,
) -> Result<(), ServeError> {
    Server::<R>::bind(addr).await?.serve(app).await
}

/// A bound socket that is about to serve an app.
///
/// ```no_run
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, Runtime, ServeError, Server};
///
/// # async fn example<R: Runtime + Default>(app: App) -> Result<(), ServeError> {
/// let server = Server::<R>::bind("127.0.0.1:3000").await?;
/// println!("listening on {}", server.local_addr());
/// server.serve(app).await
/// # }
/// ```
pub struct Server<R: Runtime> {
    runtime: R,
    listener: R::Listener,
    local_addr: SocketAddr,
}

impl<R: Runtime> Server<R> {
    /// Binds to the first address that works, on the runtime this is called in. A host
    /// name is looked up on the calling thread.
    ///
    /// # Errors
    /// What the operating system says, with the address that cannot be bound.
    pub async fn bind(addr: impl ToSocketAddrs + fmt::Debug) -> Result<Self, ServeError>
    where
        R: Default,
    {
        Self::bind_on(R::default(), addr).await
    }

    /// Binds to the first address that works, on a given runtime.
    ///
    /// # Errors
    /// What the operating system says, with the address that cannot be bound.
    pub async fn bind_on(
        runtime: R,
        addr: impl ToSocketAddrs + fmt::Debug,
    ) -> Result<Self, ServeError> {
        let failed = |addr: String, source| ServeError::Bind { addr, source };
        let addrs: Vec<_> = match addr.to_socket_addrs() {
            Ok(addrs) => addrs.collect(),
            Err(source) => return Err(failed(format!("{addr:?}"), source)),
        };
        let none = io::Error::new(io::ErrorKind::InvalidInput, "the host has no address");
        let mut last = failed(format!("{addr:?}"), none);
        for addr in addrs {
            let bound = match runtime.bind(addr).await {
                Ok(listener) => listener.local_addr().map(|local_addr| (listener, local_addr)),
                Err(error) => Err(error),
            };
            match bound {
                Ok((listener, local_addr)) => return Ok(Self { runtime, listener, local_addr }),
                Err(source) => last = failed(addr.to_string(), source),
            }
        }
        Err(last)
    }

    /// The address this listens at, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves an [`App`](crate::App), or a [`Service`] that it was built to; await what this
    /// returns.
    pub fn serve(self, app: impl IntoService) -> Serve<R> {
        Serve {
            server: self,
            service: app.into_service().map_err(ServeError::from),
            signal: Box::pin(pending()),
            grace_period: Duration::from_secs(10),
        }
    }
}

impl<R: Runtime> fmt::Debug for Server<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("local_addr", &self.local_addr).finish_non_exhaustive()
    }
}

/// A server that serves once it is awaited, until it is shut down.
///
/// Dropping the future ends the server at once: every connection is cut, and no task
/// stays behind.
#[must_use = "a server does nothing until it is awaited"]
pub struct Serve<R: Runtime> {
    server: Server<R>,
    service: Result<Service, ServeError>,
    signal: BoxFuture<'static, ()>,
    grace_period: Duration,
}

impl<R: Runtime> Serve<R> {
    /// Shuts down when `signal` completes: accepts no more connections, closes every one
    /// with 1001, waits for them up to the grace period, and cuts what is left.
    /// [`ServerHandle::shutdown`](crate::AppHandle::shutdown) does the same.
    pub fn with_graceful_shutdown(
        mut self,
        signal: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.signal = Box::pin(signal);
        self
    }

    /// How long connections have to close when the server shuts down. Default 10 s.
    pub fn grace_period(mut self, period: Duration) -> Self {
        self.grace_period = period;
        self
    }

    async fn run(self) -> Result<(), ServeError> {
        let Self {
            server: Server { runtime, listener, local_addr },
            service,
            signal,
            grace_period,
        } = self;
        let service = service?;
        let clock = Clock::new(runtime.clone());
        let timers = Arc::new(Timers::new(clock.clone()));
        let tasks = Arc::new(Tasks::new(Arc::clone(&timers)));
        let _abort_on_drop = AbortAll(Arc::clone(&tasks));
        tracing::info!(%local_addr, "listening");

        let serving = async {
            {
                // Owns the listener, which is closed when this ends.
                let accepting = pin!(accept(&runtime, listener, &service, &tasks));
                let stopping = pin!(service.connections().stopping());
                select(accepting, select(signal, stopping)).await;
            }
            tracing::info!(connections = service.connections().count(), "shutting down");
            service.connections().shut_down();
            if within(&clock, grace_period, tasks.finished()).await.is_some() {
                return;
            }
            tracing::warn!(connections = service.connections().count(), "grace period is over");
            service.connections().cut_all();
            within(&clock, LAST_HANDLERS, tasks.finished()).await;
        };
        select(pin!(serving), pin!(timers.keep())).await;
        Ok(())
    }
}

/// How long handlers have to end once their connections were cut.
const LAST_HANDLERS: Duration = Duration::from_secs(1);

/// After this long, a failed accept is tried again: descriptors may be free by then.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

impl<R: Runtime> IntoFuture for Serve<R> {
    type Output = Result<(), ServeError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<R: Runtime> fmt::Debug for Serve<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("server", &self.server).finish_non_exhaustive()
    }
}

async fn accept<R: Runtime>(
    runtime: &R,
    listener: R::Listener,
    service: &Service,
    tasks: &Arc<Tasks>,
) {
    let mut accepted = 0u32;
    loop {
        accepted = accepted.wrapping_add(1);
        // A flood of connections must not keep those that are accepted from their turn.
        if accepted % ACCEPTS_IN_A_ROW == 0 {
            yield_now().await;
        }
        match listener.accept().await {
            Ok((transport, peer)) => {
                let (service, transport) = (service.clone(), Box::new(transport));
                runtime.spawn(ServeTransport::in_server(service, transport, peer, tasks));
            }
            Err(error) if of_the_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept a connection");
                runtime.sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// After this many connections in a row the other tasks of the thread have a turn.
const ACCEPTS_IN_A_ROW: u32 = 32;

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Whether an error of accept concerns only the connection that was to be accepted.
fn of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Ends a server's tasks with the server.
struct AbortAll(Arc<Tasks>);

impl Drop for AbortAll {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}
