//! Connections that the program accepts itself, and ends together.

use std::{fmt, future::Future, mem, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::select;
use http::Request;

use super::{
    entrance::Acceptors,
    open::{ServeTransport, respond_in_time},
    shut_down,
    tasks::Tasks,
};
use crate::{
    app::{Accepted, Answer, IntoService, Service},
    error::AppError,
    runtime::{BoxTransport, Clock, Incoming, Peer, Runtime, Timers, Transport},
    sync::{Mutex, lock},
};

/// The connections of a program that has its own accept loop, or another HTTP server. They run as
/// tasks of the runtime, share one sleep for their deadlines, and are shut down with one call.
///
/// It is cheap to clone. The connections go on when it is dropped.
///
/// ```no_run
/// # use axeom_ws_core as axeom_ws;
/// use std::time::Duration;
///
/// use axeom_ws::{App, ConnectionSet, Listener, Runtime};
///
/// async fn serve<R: Runtime + Default>(app: App, listener: R::Listener) -> std::io::Result<()> {
///     let connections = ConnectionSet::<R>::new(app).map_err(std::io::Error::other)?;
///     for _ in 0..10 {
///         connections.serve_incoming(listener.accept().await?);
///     }
///     connections.shutdown(Duration::from_secs(10)).await;
///     Ok(())
/// }
/// ```
pub struct ConnectionSet<R>(Arc<Shared<R>>);

struct Shared<R> {
    runtime: R,
    service: Service,
    tasks: Arc<Tasks>,
    /// Whether a task tells the connections when their deadlines have passed.
    keeps_time: Mutex<bool>,
}

impl<R: Runtime> ConnectionSet<R> {
    /// Makes a set for an [`App`](crate::App) or [`Service`], on the default value of the runtime.
    ///
    /// # Errors
    /// The app cannot be built.
    pub fn new(app: impl IntoService) -> Result<Self, AppError>
    where
        R: Default,
    {
        Self::new_on(R::default(), app)
    }

    /// Makes a set for an [`App`](crate::App) or [`Service`], on a given runtime.
    ///
    /// # Errors
    /// The app cannot be built.
    pub fn new_on(runtime: R, app: impl IntoService) -> Result<Self, AppError> {
        let timers = Timers::new(Clock::new(runtime.clone()));
        Ok(Self(Arc::new(Shared {
            runtime,
            service: app.into_service()?,
            tasks: Arc::new(Tasks::new(Arc::new(timers))),
            keeps_time: Mutex::new(false),
        })))
    }

    /// The service that answers the handshakes of these connections.
    pub fn service(&self) -> &Service {
        &self.0.service
    }

    /// Serves a connection that the program accepted, from its handshake request on, in a task of
    /// its own. Nothing must have been read from `transport` before.
    pub fn serve(&self, transport: impl Transport, peer: impl Into<Peer>) {
        self.serve_incoming(Incoming::new(transport, peer));
    }

    /// Does what [`serve`](Self::serve) does, for a connection that a [`Listener`](crate::Listener)
    /// has accepted, or an [`Acceptor`](crate::Acceptor) has prepared.
    pub fn serve_incoming(&self, incoming: Incoming) {
        let Shared { service, tasks, .. } = &*self.0;
        let serving = ServeTransport::in_server(service, incoming, &Acceptors::default(), tasks);
        if let Some(serving) = serving {
            self.spawn(serving);
        }
    }

    /// Answers a request that another HTTP server has parsed, as [`Service::respond`] does, within
    /// the [`handshake_timeout`](crate::App::handshake_timeout): if derives take longer, the answer
    /// is 503.
    ///
    /// Cancel safe: dropping the future abandons the handshake, and no connection is counted.
    pub fn respond<B>(
        &self,
        request: Request<B>,
        peer: impl Into<Peer>,
    ) -> impl Future<Output = Answer> + Send {
        respond_in_time(&self.0.service, self.clock(), request.map(drop), peer.into())
    }

    /// Runs a connection that was [accepted](Self::respond), in a task of its own. `upgraded` gives
    /// its transport, and the bytes that were read past the request head, once the response was
    /// sent; or `None` if that failed. It has the `handshake_timeout` to do so.
    pub fn upgrade<T: Transport>(
        &self,
        accepted: Accepted,
        upgraded: impl Future<Output = Option<(T, Bytes)>> + Send + 'static,
    ) {
        self.run_upgraded(accepted, async {
            let (transport, read_ahead) = upgraded.await?;
            Some((transport.boxed(), read_ahead))
        });
    }

    pub(super) fn run_upgraded(
        &self,
        accepted: Accepted,
        upgraded: impl Future<Output = Option<(BoxTransport, Bytes)>> + Send + 'static,
    ) {
        let limit = self.0.service.handshake_timeout();
        self.spawn(ServeTransport::upgraded(accepted, upgraded, limit, &self.0.tasks));
    }

    /// Waits for `signal`, or until the app is shut down in another way, such as by its
    /// [`AppHandle`](crate::AppHandle). Then it begins to shut the app down: all connections are
    /// closed with 1001, and no more are accepted. It does not wait for them, which
    /// [`shutdown`](Self::shutdown) does.
    ///
    /// This is what to give to another server as the signal for its own graceful shutdown.
    pub fn closing_on<S>(&self, signal: S) -> impl Future<Output = ()> + Send + use<R, S>
    where
        S: Future<Output = ()> + Send,
    {
        let connections = Arc::clone(self.0.service.connections());
        async move {
            select(pin!(signal), pin!(connections.stopping())).await;
            connections.shut_down();
        }
    }

    /// Shuts the app down: closes all its connections with 1001, waits for those of this set, and
    /// cuts the connections that are left when the grace period is over. Their handlers have one
    /// more second to return.
    ///
    /// Dropping the future stops the waiting. What has begun to close goes on.
    pub async fn shutdown(&self, grace_period: Duration) {
        shut_down(&self.0.service, &self.0.tasks, grace_period).await;
    }

    #[cfg(feature = "hyper")]
    pub(super) fn runtime(&self) -> &R {
        &self.0.runtime
    }

    fn clock(&self) -> &Clock {
        self.0.tasks.timers().clock()
    }

    /// Spawns a task that has entered the tasks of this set.
    fn spawn(&self, serving: ServeTransport) {
        self.0.runtime.spawn(serving);
        if !mem::replace(&mut *lock(&self.0.keeps_time), true) {
            let shared = Arc::clone(&self.0);
            self.0.runtime.spawn(async move { shared.keep_time().await });
        }
    }
}

impl<R> Shared<R> {
    /// Keeps the deadlines until no connection is left.
    async fn keep_time(&self) {
        loop {
            select(pin!(self.tasks.timers().keep()), pin!(self.tasks.finished())).await;
            let mut keeps_time = lock(&self.keeps_time);
            // A task enters before it looks whether the time is kept.
            if self.tasks.is_empty() {
                *keeps_time = false;
                return;
            }
        }
    }
}

impl<R> Clone for ConnectionSet<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R> fmt::Debug for ConnectionSet<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSet").field("service", &self.0.service).finish_non_exhaustive()
    }
}
