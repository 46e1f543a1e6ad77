use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};

use super::{
    BuildContext, RequestInfo,
    context::Handshake,
    route::{Connection, Endpoint, Protocols},
    router::Router,
};
use crate::{
    AppError, DeflateParams, Options, Rejection, Runtime, ServerHandle, Ws,
    connection::{Alarm, Driver, Input, Link, ServeStream},
    handshake::{self, HeadLimits, Refusal, is_token_byte},
    options::Settings,
    protocol::Role,
    registry::{Capacity, Hub, Registration},
    runtime::{BoxStream, Stream},
    telemetry,
};

/// A built [`App`](crate::App): it turns handshakes into connections, on any number of
/// runtimes at once. Cheap to clone.
///
/// Servers use it by themselves; it is what to embed in a program that accepts
/// connections on its own. See `serve_connection`, `serve_stream` and `serve_upgraded`
/// of each adapter.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    router: Router<Arc<MountedRoute>>,
    fallback: Option<Fallback>,
    hub: Arc<Hub>,
    gate: Gate,
}

/// What holds for a client before it has a connection.
pub(super) struct Gate {
    pub(super) head_limits: HeadLimits,
    pub(super) handshake_timeout: Duration,
    pub(super) capacity: Capacity,
}

pub(super) type Fallback =
    Arc<dyn Fn(Request<()>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync>;

/// A route as it was declared.
pub(super) struct Mounted {
    pub(super) path: String,
    pub(super) options: Options,
    pub(super) protocols: Protocols,
    pub(super) endpoint: Arc<dyn Prepare>,
}

impl Mounted {
    pub(super) fn with_defaults(mut self, options: &Options) -> Self {
        self.options = self.options.or(options);
        self
    }
}

/// A route as it is served.
struct MountedRoute {
    settings: Arc<Settings>,
    protocols: Protocols,
    endpoint: Arc<dyn Prepare>,
    /// The path as it was declared.
    path: Arc<str>,
}

impl Service {
    pub(super) fn new(
        routes: impl Iterator<Item = Mounted>,
        fallback: Option<Fallback>,
        hub: Arc<Hub>,
        gate: Gate,
    ) -> Result<Self, AppError> {
        let routes = routes.map(|route| {
            let Mounted { path, options, protocols, endpoint } = route;
            let settings = options
                .resolve()
                .map_err(|source| AppError::Option { path: path.clone(), source })?;
            let unusable = |own: &&String| own.is_empty() || !own.bytes().all(is_token_byte);
            if let Some(protocol) = protocols.listed.iter().find(unusable) {
                return Err(AppError::Protocol { path, protocol: protocol.clone() });
            }
            let route = MountedRoute { settings, protocols, endpoint, path: path.as_str().into() };
            Ok((path, Arc::new(route)))
        });
        let router = Router::new(routes.collect::<Result<Vec<_>, _>>()?)?;
        Ok(Self(Arc::new(Inner { router, fallback, hub, gate })))
    }

    /// A handle to the app.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle(Arc::clone(&self.0.hub))
    }

    /// Answers a request that was parsed elsewhere: accepts the handshake, or says what
    /// to send instead.
    ///
    /// Send [`Accepted::response`], or the error, and after the former hand the
    /// connection to [`Accepted::run`].
    ///
    /// # Errors
    /// A refusal, a [`Rejection`], or the response of the app's fallback: to be sent
    /// whole, with `Connection: close`.
    pub async fn handshake<B>(
        &self,
        request: Request<B>,
        remote_addr: SocketAddr,
    ) -> Result<Accepted, Response<Bytes>> {
        let request = request.map(drop);
        let path = request.uri().path().to_owned();
        let answer = self.answer(request, remote_addr).await;
        match &answer {
            Ok(accepted) => {
                telemetry::handshake(accepted.response.status());
                tracing::debug!(%remote_addr, path, "handshake accepted");
            }
            Err(response) => {
                telemetry::handshake(response.status());
                tracing::debug!(%remote_addr, path, status = %response.status(), "handshake refused");
            }
        }
        answer
    }

    /// Serves one connection whose request is not read yet, to its end.
    ///
    /// Dropping the future cuts the connection; `close` does not run then.
    pub fn serve_stream<R: Runtime>(
        &self,
        runtime: R,
        stream: impl Stream,
        remote_addr: SocketAddr,
    ) -> impl Future<Output = ()> + Send + 'static {
        ServeStream::new(self.clone(), Arc::new(runtime), Box::new(stream), remote_addr)
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.0.hub
    }

    pub(crate) fn head_limits(&self) -> HeadLimits {
        self.0.gate.head_limits
    }

    pub(crate) fn handshake_timeout(&self) -> Duration {
        self.0.gate.handshake_timeout
    }

    async fn answer(
        &self,
        request: Request<()>,
        remote_addr: SocketAddr,
    ) -> Result<Accepted, Response<Bytes>> {
        handshake::check_head(&request).map_err(Refusal::into_response)?;
        let Some((route, params)) = self.0.router.find(request.uri().path()) else {
            return Err(self.fall_back(request).await);
        };
        let upgrade = handshake::check_upgrade(&request, &route.settings.origins)
            .map_err(Refusal::into_response)?;

        let handshake = Arc::new(Handshake::new(request, params, remote_addr));
        let prepared = AssertUnwindSafe(route.endpoint.prepare(&handshake)).catch_unwind().await;
        let start = match prepared {
            Ok(prepared) => prepared.map_err(Rejection::into_response)?,
            Err(_) => {
                tracing::error!(path = handshake.request.uri().path(), "a derive panicked");
                return Err(Refusal::Failed.into_response());
            }
        };
        let admit = || self.admit(route, &handshake.request, remote_addr);
        let admitted = panic::catch_unwind(AssertUnwindSafe(admit)).unwrap_or_else(|_| {
            tracing::error!(path = handshake.request.uri().path(), "select_protocol panicked");
            Err(Refusal::Failed)
        });
        let Admitted { registration, protocol, extensions, deflate } =
            admitted.map_err(Refusal::into_response)?;

        let mut response = upgrade.response(protocol.as_ref());
        if let Some(extensions) = extensions {
            response.headers_mut().insert(header::SEC_WEBSOCKET_EXTENSIONS, extensions);
        }
        extend(response.headers_mut(), handshake.take_response_headers());
        let (request, params) = (&handshake.request, handshake.params.clone());
        let info = RequestInfo::new(request, params, protocol.as_ref(), remote_addr);
        let route = Arc::clone(&route.path);
        Ok(Accepted { response, registration, deflate, route, info, start })
    }

    /// The last checks, once the app has nothing against the handshake.
    fn admit(
        &self,
        route: &MountedRoute,
        request: &Request<()>,
        remote_addr: SocketAddr,
    ) -> Result<Admitted, Refusal> {
        let offered = handshake::offered_protocols(request)?;
        let protocol = route.protocols.choose(&offered).map_err(|()| Refusal::ProtocolRequired)?;
        let offered = handshake::offered_extensions(request)?;
        let compression = route.settings.compression.as_ref();
        let (deflate, extensions) =
            compression.and_then(|own| handshake::negotiate(&offered, own)).unzip();
        let link = Link::new(Role::Server, Arc::clone(&route.settings), deflate);
        let registration = self.0.hub.register(link, remote_addr.ip(), self.0.gate.capacity)?;
        Ok(Admitted { registration, protocol, extensions, deflate })
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

/// An accepted handshake: the response to send, and the connection to run after it.
///
/// It counts as a connection of the app until it is dropped.
pub struct Accepted {
    response: Response<()>,
    registration: Registration,
    deflate: Option<DeflateParams>,
    route: Arc<str>,
    info: RequestInfo,
    start: Start,
}

/// What the last checks of a handshake settle.
struct Admitted {
    registration: Registration,
    protocol: Option<HeaderValue>,
    extensions: Option<HeaderValue>,
    deflate: Option<DeflateParams>,
}

impl Accepted {
    /// The 101 response, with the headers that derives added.
    pub fn response(&self) -> &Response<()> {
        &self.response
    }

    /// Runs the connection over a stream on which the response was sent, to its end.
    /// `read_ahead` are bytes that were read past the request head; they are the first
    /// of the connection.
    ///
    /// Dropping the future cuts the connection; `close` does not run then.
    pub async fn run<R: Runtime>(self, runtime: R, stream: impl Stream, read_ahead: &[u8]) {
        let read_ahead = Input::new(read_ahead);
        self.start(Alarm::own(Arc::new(runtime)), Box::new(stream), read_ahead).await;
    }

    pub(crate) fn start(
        self,
        alarm: Alarm,
        stream: BoxStream,
        read_ahead: Input,
    ) -> BoxFuture<'static, ()> {
        if let Alarm::Server(member) = &alarm {
            member.connected(Arc::clone(&self.registration));
        }
        let span = tracing::debug_span!(
            "connection",
            id = %self.registration.id(),
            route = &*self.route,
            peer = %self.info.remote_addr(),
        );
        let driver = Driver::new(stream, read_ahead, self.registration, self.deflate, alarm);
        let connection = Connection { driver, span };
        (self.start)(connection, self.info)
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("response", &self.response).finish_non_exhaustive()
    }
}

/// Runs a connection whose context is built. The one box per connection: behind it,
/// the types of context and handlers are known again.
type Start = Box<dyn FnOnce(Connection, RequestInfo) -> BoxFuture<'static, ()> + Send + Sync>;

/// A route's endpoint with its context, their types erased.
#[async_trait]
pub(super) trait Prepare: Send + Sync {
    /// Runs the derives.
    async fn prepare(&self, handshake: &Arc<Handshake>) -> Result<Start, Rejection>;
}

pub(super) struct ErasedEndpoint<D, E> {
    context: Arc<dyn BuildContext<D>>,
    endpoint: Arc<E>,
}

impl<D, E> ErasedEndpoint<D, E> {
    pub(super) fn new(context: Arc<dyn BuildContext<D>>, endpoint: E) -> Self {
        Self { context, endpoint: Arc::new(endpoint) }
    }
}

#[async_trait]
impl<D: Send + Sync + 'static, E: Endpoint<D>> Prepare for ErasedEndpoint<D, E> {
    async fn prepare(&self, handshake: &Arc<Handshake>) -> Result<Start, Rejection> {
        let data = self.context.build(handshake).await?;
        let endpoint = Arc::clone(&self.endpoint);
        Ok(Box::new(move |connection, info| {
            let registration = connection.driver.registration();
            let (link, hub) = (Arc::clone(registration), Arc::clone(registration.hub()));
            endpoint.run(connection, Ws::new(link, hub, info, data))
        }))
    }
}
