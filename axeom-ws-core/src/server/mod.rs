//! The server: its accept loop, opening connections, their tasks, and the shutdown.

mod entrance;
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
    future::{Future, IntoFuture, pending},
    io,
    net::ToSocketAddrs,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::future::{BoxFuture, select};

#[cfg(feature = "hyper")]
pub use self::http_service::{HttpService, HyperRuntime, Or};
pub use self::set::ConnectionSet;
use self::{
    entrance::{Entrance, accept_at},
    tasks::Tasks,
};
#[cfg(feature = "rustls")]
use crate::tls::Tls;
use crate::{
    app::{IntoService, Service},
    contained::Contained,
    error::ServeError,
    runtime::{Acceptor, Clock, Listener, LocalAddr, Runtime, Timers, addresses, within},
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

/// One or more listeners that are ready to serve an app.
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
    first: Entrance<R>,
    others: Vec<Entrance<R>>,
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
        let (addrs, mut last) = addresses(addr)?;
        for addr in addrs {
            match runtime.bind(addr).await.and_then(Entrance::new) {
                Ok(first) => return Ok(Self { runtime, first, others: Vec::new() }),
                Err(source) => last = ServeError::Bind { addr: addr.to_string(), source },
            }
        }
        Err(last)
    }

    /// Serves on a listener that the program has, on the default value of the runtime. See
    /// [`new`](Self::new).
    ///
    /// # Errors
    /// The listener does not know its address.
    pub fn on(listener: impl Listener) -> io::Result<Self>
    where
        R: Default,
    {
        Self::new(R::default(), listener)
    }

    /// Serves on a listener that the program has, on a given runtime.
    ///
    /// ```no_run
    /// # use axeom_ws_core as axeom_ws;
    /// use axeom_ws::{App, BoxError, Listener, Runtime, Server};
    ///
    /// # async fn example<R: Runtime + Default>(
    /// #     app: App,
    /// #     local: impl Listener,
    /// # ) -> Result<(), BoxError> {
    /// let public = Server::<R>::bind("0.0.0.0:3000").await?;
    /// public.and(Server::on(local)?).serve(app).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The listener does not know its address.
    pub fn new(runtime: R, listener: impl Listener) -> io::Result<Self> {
        Ok(Self { runtime, first: Entrance::new(listener)?, others: Vec::new() })
    }

    /// Serves on the listeners of another server, too, with its acceptors. Both then serve the same
    /// app, on the runtime of this one, and end together. An error of one listener does not stop
    /// another.
    pub fn and(mut self, other: Self) -> Self {
        self.others.push(other.first);
        self.others.extend(other.others);
        self
    }

    /// Has every connection prepared by `acceptor` before its request is read, after the acceptors
    /// that were added before. If this server was joined with others by [`and`](Self::and), it is
    /// for all of their listeners.
    pub fn acceptor(mut self, acceptor: impl Acceptor) -> Self {
        let acceptor = Arc::new(Contained::new(acceptor));
        for entrance in std::iter::once(&mut self.first).chain(&mut self.others) {
            entrance.push(Arc::clone(&acceptor) as _);
        }
        self
    }

    /// Has every connection begin with a TLS handshake: [`acceptor`](Self::acceptor) with a [`Tls`].
    #[cfg(feature = "rustls")]
    pub fn tls(self, tls: Tls) -> Self {
        self.acceptor(tls)
    }

    /// Where the server listens, for TCP with the actual port if it was bound to port 0. If it was
    /// joined with others, this is where the first of them does.
    pub fn local_addr(&self) -> &LocalAddr {
        self.first.local_addr()
    }

    /// Where all listeners of the server listen.
    pub fn local_addrs(&self) -> impl Iterator<Item = &LocalAddr> {
        std::iter::once(&self.first).chain(&self.others).map(Entrance::local_addr)
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
        let local_addrs: Vec<_> = self.local_addrs().collect();
        f.debug_struct("Server").field("local_addrs", &local_addrs).finish_non_exhaustive()
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
        let Self { server, service, signal, grace_period } = self;
        let service = service?;
        for local_addr in server.local_addrs() {
            tracing::info!(%local_addr, "listening");
        }
        let Server { runtime, first, others } = server;
        let entrances = std::iter::once(first).chain(others);
        let timers = Arc::new(Timers::new(Clock::new(runtime.clone())));
        let tasks = Arc::new(Tasks::new(Arc::clone(&timers)));
        let _abort_on_drop = AbortAll(Arc::clone(&tasks));

        let serving = async {
            {
                // `accepting` owns the listeners, which are closed at the end of this block.
                let accepting = pin!(accept_at(entrances, &runtime, &service, &tasks));
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

/// Aborts a server's tasks when the server is dropped.
struct AbortAll(Arc<Tasks>);

impl Drop for AbortAll {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}
