use std::{fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

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
    handshake::{self, HeadLimits, Refusal, is_token_byte},
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
    pub async fn respond<B>(&self, request: Request<B>, peer: impl Into<Peer>) -> Answer {
        let (request, peer) = (request.map(drop), peer.into());
        let path = request.uri().path().to_owned();
        let answer = match self.answer(request, peer).await {
            Ok(accepted) => Answer::Upgrade(accepted),
            Err(response) => Answer::Response(response),
        };
        let status = answer.status();
        telemetry::handshake(status);
        tracing::debug!(%peer, path, %status, "handshake answered");
        answer
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

    async fn answer(&self, request: Request<()>, peer: Peer) -> Result<Accepted, Response<Bytes>> {
        handshake::check_head(&request).map_err(Refusal::into_response)?;
        let (route, params) = match self.0.router.find(request.uri().path()) {
            Ok(found) => found,
            Err(NotFound::NoRoute) => return Err(self.fall_back(request).await),
            Err(NotFound::NotText) => return Err(Refusal::PathNotText.into_response()),
        };
        let upgrade = handshake::check_upgrade(&request, &route.settings.origins)
            .map_err(Refusal::into_response)?;

        let handshake = Arc::new(Handshake::new(request, params, peer));
        let prepared = AssertUnwindSafe(route.endpoint.prepare(&handshake)).catch_unwind().await;
        let Prepared { protocol, start } = match prepared {
            Ok(prepared) => prepared.map_err(|refused| refused.into_response(&handshake))?,
            Err(_) => {
                let path = handshake.request.uri().path();
                tracing::error!(path, "a derive, or the choice of a subprotocol, panicked");
                return Err(Refusal::Failed.into_response());
            }
        };
        let offered =
            handshake::offered_extensions(&handshake.request).map_err(Refusal::into_response)?;
        let compression = route.settings.compression.as_ref();
        let (deflate, extensions) =
            compression.and_then(|own| handshake::negotiate(&offered, own)).unzip();
        let link = Link::new(Role::Server, Arc::clone(&route.settings), deflate);
        let registration = (self.0.connections)
            .register(link, peer.ip(), self.0.limits.capacity)
            .map_err(Refusal::into_response)?;

        let mut response = upgrade.response(protocol.as_ref());
        if let Some(extensions) = extensions {
            response.headers_mut().insert(header::SEC_WEBSOCKET_EXTENSIONS, extensions);
        }
        extend(response.headers_mut(), handshake.take_response_headers());
        let (request, params) = (&handshake.request, handshake.params.clone());
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

fn extend(headers: &mut HeaderMap, more: HeaderMap) {
    let mut last = None;
    for (name, value) in more {
        last = name.or(last);
        if let Some(name) = &last {
            headers.append(name, value);
        }
    }
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
        let data = self.context.build(handshake).await.map_err(Unwanted::Rejected)?;
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
