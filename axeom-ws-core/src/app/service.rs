use std::{fmt, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};

use super::{
    App,
    accepted::{Accepted, Answer, StartConnection},
    context::{Context, Handshake},
    derive::BuildContext,
    rejection::Rejection,
    request::RequestInfo,
    route::{Endpoint, Subprotocols},
    router::{NotFound, Router},
    ws::Ws,
};
use crate::{
    error::AppError,
    handshake::{self, HeadLimits, Refusal, Upgrade, is_token_byte},
    hub::{AppHandle, Capacity, Connections},
    link::Link,
    options::{Options, Settings},
    protocol::Role,
    runtime::Peer,
    telemetry,
};

/// A built [`App`]: it turns handshakes into connections, on any number of runtimes at once.
/// Cheap to clone.
///
/// Servers use it by themselves; it is what to embed in a program that accepts
/// connections on its own. See `serve_connection`, `serve_stream` and `serve_upgraded`
/// of each adapter.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, Service};
///
/// /// Whatever its handlers need, a built app has one type.
/// fn app() -> Result<Service, axeom_ws::AppError> {
///     App::new().decorate("a value").ws("/", |route| route).build()
/// }
/// # assert!(app().is_ok());
/// ```
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    router: Router<Arc<ServedRoute>>,
    fallback: Option<Fallback>,
    connections: Arc<Connections>,
    limits: AdmissionLimits,
}

/// What becomes a [`Service`]: an [`App`], or one that is built already.
pub trait IntoService: sealed::IntoService {
    /// The service.
    ///
    /// # Errors
    /// A path, option or subprotocol of the app cannot be used.
    fn into_service(self) -> Result<Service, AppError>;
}

#[allow(unnameable_types, reason = "nobody else is to implement these")]
mod sealed {
    pub trait IntoService {}

    impl<D> IntoService for super::App<D> {}

    impl IntoService for super::Service {}
}

impl<D: Clone + Send + Sync + 'static> IntoService for App<D> {
    fn into_service(self) -> Result<Service, AppError> {
        self.build()
    }
}

impl IntoService for Service {
    fn into_service(self) -> Result<Service, AppError> {
        Ok(self)
    }
}

/// What holds for a client until it has a connection.
pub(super) struct AdmissionLimits {
    pub(super) head: HeadLimits,
    pub(super) handshake_timeout: Duration,
    pub(super) capacity: Capacity,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            head: HeadLimits::default(),
            handshake_timeout: Duration::from_secs(10),
            capacity: Capacity::default(),
        }
    }
}

pub(super) type Fallback =
    Arc<dyn Fn(Request<()>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync>;

/// A route as the app has it.
pub(super) struct DeclaredRoute {
    pub(super) path: String,
    pub(super) options: Options,
    /// The subprotocols it lists.
    pub(super) protocols: Vec<String>,
    pub(super) endpoint: Arc<dyn RouteEndpoint>,
}

impl DeclaredRoute {
    pub(super) fn with_defaults(mut self, options: &Options) -> Self {
        self.options = self.options.or(options);
        self
    }
}

/// A route that was found to be usable.
struct ServedRoute {
    settings: Arc<Settings>,
    endpoint: Arc<dyn RouteEndpoint>,
    path: Arc<str>,
}

impl ServedRoute {
    fn new(route: DeclaredRoute) -> Result<Self, AppError> {
        let DeclaredRoute { path, options, protocols, endpoint } = route;
        let settings =
            options.resolve().map_err(|source| AppError::Option { path: path.clone(), source })?;
        let is_token = |own: &String| !own.is_empty() && own.bytes().all(is_token_byte);
        if let Some(protocol) = protocols.into_iter().find(|own| !is_token(own)) {
            return Err(AppError::Protocol { path, protocol });
        }
        Ok(Self { settings, endpoint, path: path.into() })
    }
}

impl Service {
    pub(super) fn new(
        routes: impl Iterator<Item = DeclaredRoute>,
        fallback: Option<Fallback>,
        connections: Arc<Connections>,
        limits: AdmissionLimits,
    ) -> Result<Self, AppError> {
        let routes = routes.map(|route| {
            let route = ServedRoute::new(route)?;
            Ok((route.path.to_string(), Arc::new(route)))
        });
        let router = Router::new(routes.collect::<Result<Vec<_>, _>>()?)?;
        Ok(Self(Arc::new(Inner { router, fallback, connections, limits })))
    }

    /// A handle to the app.
    pub fn handle(&self) -> AppHandle {
        AppHandle::new(Arc::clone(&self.0.connections))
    }

    /// Answers a request that was parsed elsewhere: accepts the handshake, or says what
    /// to send instead.
    ///
    /// Cancel safe: a connection that was not accepted leaves nothing behind.
    pub fn respond<B, P: Into<Peer>>(
        &self,
        request: Request<B>,
        peer: P,
    ) -> impl Future<Output = Answer> + Send + use<'_, B, P> {
        let peer = peer.into();
        // What needs no waiting is done before, so that the future is small: it is part of
        // every connection that opens.
        let checked = self.check(request.map(drop), peer);
        async move {
            match checked {
                Checked::Handshake { route, upgrade, handshake } => {
                    let accepted = self.accept(route, upgrade, &handshake).await;
                    let answer = accepted.map_or_else(Answer::Response, Answer::Upgrade);
                    note(answer, peer, handshake.request.uri().path())
                }
                Checked::NoRoute(request) => {
                    let path = request.uri().path().to_owned();
                    let response = Box::pin(self.fall_back(*request)).await;
                    note(Answer::Response(response), peer, &path)
                }
                Checked::Refused(path, refusal) => {
                    note(Answer::Response(refusal.into_response()), peer, &path)
                }
            }
        }
    }

    pub(crate) fn connections(&self) -> &Arc<Connections> {
        &self.0.connections
    }

    pub(crate) fn head_limits(&self) -> HeadLimits {
        self.0.limits.head
    }

    pub(crate) fn handshake_timeout(&self) -> Duration {
        self.0.limits.handshake_timeout
    }

    /// Checks what needs no user code.
    fn check(&self, request: Request<()>, peer: Peer) -> Checked<'_> {
        let refused = |request: Request<()>, refusal| {
            Checked::Refused(request.uri().path().to_owned(), refusal)
        };
        if let Err(refusal) = handshake::check_head(&request) {
            return refused(request, refusal);
        }
        let (route, params) = match self.0.router.find(request.uri().path()) {
            Ok(found) => found,
            Err(NotFound::NoRoute) => return Checked::NoRoute(Box::new(request)),
            Err(NotFound::NotText) => return refused(request, Refusal::PathNotText),
        };
        match handshake::check_upgrade(&request, &route.settings.origins) {
            Ok(upgrade) => {
                let handshake = Arc::new(Handshake::new(request, params, peer));
                Checked::Handshake { route, upgrade, handshake }
            }
            Err(refusal) => refused(request, refusal),
        }
    }

    /// Accepts a handshake that nothing is wrong with, if the app has nothing against it.
    async fn accept(
        &self,
        route: &ServedRoute,
        upgrade: Upgrade,
        handshake: &Arc<Handshake>,
    ) -> Result<Accepted, Response<Bytes>> {
        let prepared = AssertUnwindSafe(route.endpoint.prepare(handshake)).catch_unwind().await;
        let prepared = match prepared {
            Ok(prepared) => prepared.map_err(|refused| refused.into_response(handshake))?,
            Err(_) => {
                let path = handshake.request.uri().path();
                tracing::error!(path, "a derive, or the choice of a subprotocol, panicked");
                return Err(Refusal::Failed.into_response());
            }
        };
        self.register(route, &upgrade, handshake, prepared).map_err(Refusal::into_response)
    }

    /// Makes a connection of a handshake, if there is room for one.
    fn register(
        &self,
        route: &ServedRoute,
        upgrade: &Upgrade,
        handshake: &Arc<Handshake>,
        prepared: Prepared,
    ) -> Result<Accepted, Refusal> {
        let Prepared { protocol, start } = prepared;
        let (request, peer) = (&handshake.request, handshake.peer);
        let offered = handshake::offered_extensions(request)?;
        let compression = route.settings.compression.as_ref();
        let (deflate, extensions) =
            compression.and_then(|own| handshake::negotiate(&offered, own)).unzip();
        let link = Link::new(Role::Server, Arc::clone(&route.settings), deflate);
        let registration = self.0.connections.register(link, peer.ip(), self.0.limits.capacity)?;

        let mut response = upgrade.response(protocol.as_ref());
        if let Some(extensions) = extensions {
            response.headers_mut().insert(header::SEC_WEBSOCKET_EXTENSIONS, extensions);
        }
        extend(response.headers_mut(), handshake.take_response_headers());
        let params = handshake.params.clone();
        let info = RequestInfo::new(request, params, protocol.as_ref(), peer);
        let route = Arc::clone(&route.path);
        Ok(Accepted::new(response, registration, deflate, route, info, start))
    }

    async fn fall_back(&self, request: Request<()>) -> Response<Bytes> {
        let plain = matches!(*request.method(), Method::GET | Method::HEAD)
            && !handshake::is_upgrade(&request);
        let Some(fallback) = self.0.fallback.as_ref().filter(|_| plain) else {
            return Refusal::NotFound.into_response();
        };
        if let Err(refusal) = handshake::check_no_body(request.headers()) {
            return refusal.into_response();
        }
        let answered = AssertUnwindSafe(async { fallback(request).await }).catch_unwind().await;
        answered.unwrap_or_else(|_| {
            tracing::error!("the fallback panicked");
            Refusal::Failed.into_response()
        })
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("handle", &self.handle()).finish_non_exhaustive()
    }
}

/// Counts and logs an answer.
fn note(answer: Answer, peer: Peer, path: &str) -> Answer {
    let status = answer.status();
    telemetry::handshake(status);
    tracing::debug!(%peer, path, %status, "handshake answered");
    answer
}

fn extend(headers: &mut HeaderMap, more: HeaderMap) {
    let mut last = None;
    for (name, value) in more {
        last = name.or(last);
        if let Some(name) = &last {
            headers.append(name, value);
        }
    }
}

/// What is known of a request before any user code runs.
enum Checked<'a> {
    Handshake { route: &'a ServedRoute, upgrade: Upgrade, handshake: Arc<Handshake> },
    NoRoute(Box<Request<()>>),
    Refused(String, Refusal),
}

/// What a route makes of a handshake that may be accepted.
pub(super) struct Prepared {
    protocol: Option<HeaderValue>,
    start: StartConnection,
}

/// Why a route does not want a handshake.
pub(super) enum Unwanted {
    Rejected(Rejection),
    Refused(Refusal),
}

impl Unwanted {
    fn into_response(self, handshake: &Handshake) -> Response<Bytes> {
        match self {
            Self::Refused(refusal) => refusal.into_response(),
            Self::Rejected(rejection) => {
                if let Some(error) = rejection.source() {
                    let path = handshake.request.uri().path();
                    tracing::error!(error, path, "a derive or guard failed");
                }
                rejection.into_response()
            }
        }
    }
}

/// A route's endpoint with its context, their types erased.
#[async_trait]
pub(super) trait RouteEndpoint: Send + Sync {
    /// Runs the derives, and chooses a subprotocol.
    async fn prepare(&self, handshake: &Arc<Handshake>) -> Result<Prepared, Unwanted>;
}

pub(super) struct ContextAndEndpoint<D, E> {
    context: Arc<dyn BuildContext<D>>,
    protocols: Subprotocols<D>,
    endpoint: Arc<E>,
}

impl<D, E> ContextAndEndpoint<D, E> {
    pub(super) fn new(
        context: Arc<dyn BuildContext<D>>,
        protocols: Subprotocols<D>,
        endpoint: E,
    ) -> Self {
        Self { context, protocols, endpoint: Arc::new(endpoint) }
    }
}

#[async_trait]
impl<D, E> RouteEndpoint for ContextAndEndpoint<D, E>
where
    D: Clone + Send + Sync + 'static,
    E: Endpoint<D>,
{
    async fn prepare(&self, handshake: &Arc<Handshake>) -> Result<Prepared, Unwanted> {
        match self.context.build(handshake).await {
            Ok(data) => self.settle(handshake, data),
            Err(rejection) => Err(Unwanted::Rejected(rejection)),
        }
    }
}

impl<D, E> ContextAndEndpoint<D, E>
where
    D: Clone + Send + Sync + 'static,
    E: Endpoint<D>,
{
    /// What is left to do once there is a context.
    fn settle(&self, handshake: &Arc<Handshake>, data: D) -> Result<Prepared, Unwanted> {
        let offered =
            handshake::offered_protocols(&handshake.request).map_err(Unwanted::Refused)?;
        let context = Context::new(Arc::clone(handshake), data.clone());
        let chosen = self.protocols.choose(&context, &offered);
        let chosen = chosen.map_err(|()| Unwanted::Refused(Refusal::ProtocolRequired))?;
        // It is one of the offered, which are tokens.
        let protocol = chosen.and_then(|chosen| HeaderValue::try_from(chosen).ok());
        let endpoint = Arc::clone(&self.endpoint);
        let start: StartConnection = Box::new(move |connection, info| {
            let member = Arc::clone(connection.driver.member());
            endpoint.run(connection, Ws::new(member, info, data))
        });
        Ok(Prepared { protocol, start })
    }
}
