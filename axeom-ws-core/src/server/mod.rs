//! The server: its accept loop, opening connections, their tasks, and the shutdown.

#[cfg(feature = "hyper")]
mod http_service;
#[cfg(all(test, loom))]
mod loom_model;
mod open;
mod respond;
mod set;
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

#[cfg(feature = "hyper")]
pub use self::http_service::{HttpService, HyperRuntime, Or};
pub use self::set::ConnectionSet;
use self::{open::ServeTransport, tasks::Tasks};
use crate::{
    app::{IntoService, Service},
    error::ServeError,
    runtime::{Clock, Listener, Runtime, Timers, within},
};

/// Binds to an address, and serves an app there until [`AppHandle::shutdown`] is called. The
/// `serve` function of each adapter calls this.
///
/// Dropping the future ends the server at once, as with [`Serve`].
///
/// ```no_run
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, Runtime, ServeError};
///
/// # async fn example<R: Runtime + Default>() -> Result<(), ServeError> {
/// let app = App::new().ws("/", |route| route);
/// axeom_ws::serve::<R>(app, "127.0.0.1:3000").await
/// # }
/// ```
///
/// # Errors
/// [`ServeError::Bind`] if the address cannot be bound, and [`ServeError::App`] if the app cannot
/// be built.
///
/// [`AppHandle::shutdown`]: crate::AppHandle::shutdown
pub async fn serve<R: Runtime + Default>(
    app: impl IntoService,
    addr: impl ToSocketAddrs + fmt::Debug,
) -> Result<(), ServeError> {
    Server::<R>::bind(addr).await?.serve(app).await
}

/// A listening socket that is ready to serve an app.
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
    /// Binds to an address, on the default value of the runtime. See [`bind_on`](Self::bind_on).
    ///
    /// # Errors
    /// [`ServeError::Bind`] if no address can be bound.
    pub async fn bind(addr: impl ToSocketAddrs + fmt::Debug) -> Result<Self, ServeError>
    where
        R: Default,
    {
        Self::bind_on(R::default(), addr).await
    }

    /// Binds to an address, on a given runtime. If `addr` resolves to several addresses, the first
    /// that can be bound is used. A host name is resolved on the calling thread, which blocks it.
    ///
    /// Cancel safe: dropping the future leaves no socket bound.
    ///
    /// # Errors
    /// [`ServeError::Bind`] if no address can be bound. It has the error for the last one.
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

    /// The address that the server listens on, with the actual port if it was bound to port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves an [`App`](crate::App), or the [`Service`] built from one, once the returned
    /// [`Serve`] is awaited.
    ///
    /// # Errors
    /// Awaiting it fails with [`ServeError::App`] if the app cannot be built.
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

/// A server that runs when it is awaited, and completes after a shutdown.
///
/// Dropping the future ends the server at once: every connection is cut without its `close`
/// handler, and no task remains.
///
/// ```no_run
/// # use axeom_ws_core as axeom_ws;
/// use std::time::Duration;
///
/// use axeom_ws::{App, Runtime, ServeError, Server};
///
/// # async fn example<R: Runtime + Default>(
/// #     app: App,
/// #     ctrl_c: impl Future<Output = ()> + Send + 'static,
/// # ) -> Result<(), ServeError> {
/// Server::<R>::bind("127.0.0.1:3000")
///     .await?
///     .serve(app)
///     .with_graceful_shutdown(ctrl_c)
///     .grace_period(Duration::from_secs(30))
///     .await
/// # }
/// ```
#[must_use = "a server does nothing until it is awaited"]
pub struct Serve<R: Runtime> {
    server: Server<R>,
    service: Result<Service, ServeError>,
    signal: BoxFuture<'static, ()>,
    grace_period: Duration,
}

impl<R: Runtime> Serve<R> {
    /// Shuts the app down when `signal` completes. Default: never.
    ///
    /// The server stops accepting and closes every connection with 1001. It cuts those that remain
    /// after the grace period, and gives their handlers one more second to return.
    /// [`AppHandle::shutdown`](crate::AppHandle::shutdown) does the same, for all servers of the
    /// app at once.
    pub fn with_graceful_shutdown(
        mut self,
        signal: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.signal = Box::pin(signal);
        self
    }

    /// Sets how long connections may take to close during a shutdown. Default: 10 s.
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
        let timers = Arc::new(Timers::new(Clock::new(runtime.clone())));
        let tasks = Arc::new(Tasks::new(Arc::clone(&timers)));
        let _abort_on_drop = AbortAll(Arc::clone(&tasks));
        tracing::info!(%local_addr, "listening");

        let serving = async {
            {
                // `accepting` owns the listener, which is closed at the end of this block.
                let accepting = pin!(accept(&runtime, listener, &service, &tasks));
                let stopping = pin!(service.connections().stopping());
                select(accepting, select(signal, stopping)).await;
            }
            shut_down(&service, &tasks, grace_period).await;
        };
        select(pin!(serving), pin!(timers.keep())).await;
        Ok(())
    }
}

/// Closes all connections of an app with 1001, and waits for these tasks. Cuts the connections that
/// are left when the grace period is over.
async fn shut_down(service: &Service, tasks: &Tasks, grace_period: Duration) {
    let (clock, connections) = (tasks.timers().clock(), service.connections());
    tracing::info!(connections = connections.count(), "shutting down");
    connections.shut_down();
    if within(clock, grace_period, tasks.finished()).await.is_some() {
        return;
    }
    tracing::warn!(connections = connections.count(), "grace period is over");
    connections.cut_all();
    within(clock, LAST_HANDLERS, tasks.finished()).await;
}

/// How long handlers may take to return once their connections were cut.
const LAST_HANDLERS: Duration = Duration::from_secs(1);

/// How long to wait after a failed accept: file descriptors may be available again by then.
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
        // A flood of new connections must not starve those that were accepted.
        if accepted % ACCEPTS_IN_A_ROW == 0 {
            yield_now(runtime).await;
        }
        match listener.accept().await {
            Ok((transport, peer)) => {
                let (service, transport) = (service.clone(), Box::new(transport));
                if let Some(serving) = ServeTransport::in_server(service, transport, peer, tasks) {
                    runtime.spawn(serving);
                }
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept a connection");
                runtime.sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// How many connections to accept before yielding to the other tasks of the thread.
const ACCEPTS_IN_A_ROW: u32 = 32;

/// Lets the other tasks of the thread run.
async fn yield_now(runtime: &impl Runtime) {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        runtime.yield_now(cx);
        Poll::Pending
    })
    .await;
}

/// Whether an accept error concerns only that connection, and not the listener.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Aborts a server's tasks when the server is dropped.
struct AbortAll(Arc<Tasks>);

impl Drop for AbortAll {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}
