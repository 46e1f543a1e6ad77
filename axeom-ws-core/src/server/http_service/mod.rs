//! The service that mounts an app in another HTTP server.

mod io;

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{FutureExt, TryFutureExt, future::BoxFuture};
use http::{Extensions, Request, Response, Version, header};
use http_body_util::{Either, Full};
use hyper::upgrade::Upgraded;

use self::io::HyperIo;
use super::ConnectionSet;
use crate::{
    app::{Answer, IntoService},
    error::AppError,
    handshake,
    runtime::{BoxTransport, Peer, Runtime, Transport},
};

/// A runtime on which hyper serves HTTP. Adapters implement this.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, AppError, HttpService, HyperRuntime};
///
/// fn mount<R: HyperRuntime + Default>(app: App) -> Result<HttpService<R>, AppError> {
///     HttpService::new(app)
/// }
/// ```
pub trait HyperRuntime: Runtime {
    /// The transport that hyper has served, and what was read from it past the request head, so
    /// that nothing of hyper stays between a connection and its socket. The default implementation
    /// does not know any.
    ///
    /// # Errors
    /// Gives `upgraded` back if it is not over a transport of this runtime, but over HTTP/2 or TLS
    /// for example. The connection runs over it all the same.
    fn reclaim(&self, upgraded: Upgraded) -> Result<(Box<dyn Transport>, Bytes), Upgraded> {
        Err(upgraded)
    }

    /// The client, as the HTTP server has noted it in the extensions of a request. By default this
    /// is a [`Peer`] among them.
    fn peer(&self, extensions: &Extensions) -> Option<Peer> {
        extensions.get().copied()
    }
}

/// Mounts an app in another HTTP server that stands on hyper. It is a `tower` service and a `hyper`
/// service, so axum's routers, `tower`'s layers and `hyper-util`'s servers take it.
///
/// It answers handshakes, and takes the connections out of the HTTP server: they run as tasks of
/// the runtime, over the raw socket where hyper gives it back. Other requests have the app's
/// [`fallback`](crate::App::fallback), 404 or 426, or are passed to another service with
/// [`or`](Self::or).
///
/// What middleware has put into the extensions of a request can be seen with
/// [`Context::extension`](crate::Context::extension) and [`Ws::extension`](crate::Ws::extension).
/// The peer is a [`Peer`] among them, or whatever else the runtime knows, such as axum's
/// `ConnectInfo<SocketAddr>`; and else [`Peer::Unknown`], which limits per address do not count.
///
/// Extended CONNECT (RFC 8441) is answered with the feature `http2`, if the HTTP server allows it.
///
/// It is cheap to clone. [`connections`](Self::connections) shuts it down.
pub struct HttpService<R> {
    connections: ConnectionSet<R>,
    peer: Option<Peer>,
}

impl<R: HyperRuntime> HttpService<R> {
    /// Makes a service of an [`App`](crate::App) or [`Service`](crate::Service), on the default
    /// value of the runtime.
    ///
    /// # Errors
    /// The app cannot be built.
    pub fn new(app: impl IntoService) -> Result<Self, AppError>
    where
        R: Default,
    {
        ConnectionSet::new(app).map(Self::from)
    }

    /// The connections that came through this service, and its clones.
    pub fn connections(&self) -> &ConnectionSet<R> {
        &self.connections
    }

    /// The same service for the requests of one client, in a server that does not note the client in
    /// the extensions of its requests.
    pub fn for_peer(&self, peer: impl Into<Peer>) -> Self {
        Self { connections: self.connections.clone(), peer: Some(peer.into()) }
    }

    /// Passes requests that do not ask for an upgrade to WebSocket to `inner`.
    pub fn or<S>(self, inner: S) -> Or<R, S> {
        Or { service: self, inner }
    }

    /// Answers a request, and runs its connection if it was accepted.
    fn answer(
        &self,
        mut request: Request<()>,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send + use<R> {
        let upgraded = hyper::upgrade::on(&mut request);
        let noted = self.connections.runtime().peer(request.extensions());
        let peer = noted.or(self.peer).unwrap_or(Peer::Unknown);
        let version = request.version();
        let (connections, runtime) = (self.connections.clone(), self.connections.runtime().clone());
        async move {
            let mut response = match connections.respond(request, peer).await {
                Answer::Upgrade(accepted) => {
                    let response = accepted.response().clone().map(|()| Bytes::new());
                    connections.run_upgraded(accepted, async move {
                        match upgraded.await {
                            Ok(upgraded) => Some(transport(&runtime, upgraded)),
                            Err(error) => {
                                tracing::debug!(%peer, %error, "the upgrade failed");
                                None
                            }
                        }
                    });
                    response
                }
                Answer::Response(response) => response,
            };
            if version >= Version::HTTP_2 {
                // They concern a connection of HTTP/1.1 (RFC 9113 §8.2.2).
                response.headers_mut().remove(header::CONNECTION);
                response.headers_mut().remove(header::UPGRADE);
            }
            response.map(Full::new)
        }
    }
}

fn transport<R: HyperRuntime>(runtime: &R, upgraded: Upgraded) -> (BoxTransport, Bytes) {
    match runtime.reclaim(upgraded) {
        Ok(reclaimed) => reclaimed,
        Err(upgraded) => (HyperIo(upgraded).boxed(), Bytes::new()),
    }
}

/// Notes that a request is an extended CONNECT for a WebSocket, if it is.
fn mark_extended_connect<B>(request: &mut Request<B>) {
    #[cfg(feature = "http2")]
    {
        let protocol = request.extensions().get::<hyper::ext::Protocol>();
        if protocol.is_some_and(|protocol| protocol.as_str() == "websocket") {
            request.extensions_mut().insert(handshake::ExtendedConnect);
        }
    }
    #[cfg(not(feature = "http2"))]
    let _ = request;
}

impl<R> From<ConnectionSet<R>> for HttpService<R> {
    fn from(connections: ConnectionSet<R>) -> Self {
        Self { connections, peer: None }
    }
}

impl<R> Clone for HttpService<R> {
    fn clone(&self) -> Self {
        Self { connections: self.connections.clone(), peer: self.peer }
    }
}

impl<R> fmt::Debug for HttpService<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpService").field("connections", &self.connections).finish()
    }
}

impl<R: HyperRuntime, B> tower_service::Service<Request<B>> for HttpService<R> {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        hyper::service::Service::call(self, request)
    }
}

impl<R: HyperRuntime, B> hyper::service::Service<Request<B>> for HttpService<R> {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, mut request: Request<B>) -> Self::Future {
        mark_extended_connect(&mut request);
        self.answer(request.map(drop)).map(Ok).boxed()
    }
}

/// An [`HttpService`] that passes requests which do not ask for an upgrade to another service; see
/// [`HttpService::or`].
#[derive(Debug)]
pub struct Or<R, S> {
    service: HttpService<R>,
    inner: S,
}

impl<R, S: Clone> Clone for Or<R, S> {
    fn clone(&self) -> Self {
        Self { service: self.service.clone(), inner: self.inner.clone() }
    }
}

type Answering<B, E> = BoxFuture<'static, Result<Response<Either<Full<Bytes>, B>>, E>>;

impl<R: HyperRuntime, S: Clone> Or<R, S> {
    /// The same service for the requests of one client; see [`HttpService::for_peer`].
    pub fn for_peer(&self, peer: impl Into<Peer>) -> Self {
        Self { service: self.service.for_peer(peer), inner: self.inner.clone() }
    }
}

impl<R: HyperRuntime, S> Or<R, S> {
    fn answer<A, B, F, E>(
        &self,
        mut request: Request<A>,
        inner: impl FnOnce(Request<A>) -> F,
    ) -> Answering<B, E>
    where
        F: Future<Output = Result<Response<B>, E>> + Send + 'static,
    {
        mark_extended_connect(&mut request);
        if handshake::is_upgrade(&request) {
            let answering = self.service.answer(request.map(drop));
            answering.map(|response| Ok(response.map(Either::Left))).boxed()
        } else {
            inner(request).map_ok(|response| response.map(Either::Right)).boxed()
        }
    }
}

impl<R, S, A, B> tower_service::Service<Request<A>> for Or<R, S>
where
    R: HyperRuntime,
    S: tower_service::Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<Either<Full<Bytes>, B>>;
    type Error = S::Error;
    type Future = Answering<B, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let Self { service, inner } = self;
        Or { service: service.clone(), inner: () }.answer(request, |request| inner.call(request))
    }
}

impl<R, S, A, B> hyper::service::Service<Request<A>> for Or<R, S>
where
    R: HyperRuntime,
    S: hyper::service::Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<Either<Full<Bytes>, B>>;
    type Error = S::Error;
    type Future = Answering<B, S::Error>;

    fn call(&self, request: Request<A>) -> Self::Future {
        self.answer(request, |request| self.inner.call(request))
    }
}
