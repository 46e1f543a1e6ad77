use std::{fmt, future::Future, net::IpAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, Request, Response, header, uri::Scheme};

use super::{
    App,
    accepted::{Accepted, Answer},
    context::Handshake,
    fallback::{Fallback, fall_back},
    hooks::Hooks,
    prepare::{Prepared, RouteEndpoint, TurnedDown},
    request::RequestInfo,
    router::{NotFound, Router},
};
use crate::{
    authority::Authority,
    contained::{Contained, caught},
    error::AppError,
    handshake::{self, Forwarded, ForwardingHeaders, HeadLimits, Refusal, Upgrade, is_token_byte},
    hub::{AppHandle, Capacity, Connections, Place},
    link::Link,
    networks::Networks,
    options::{Options, Settings},
    protocol::Role,
    runtime::Peer,
    telemetry,
};

/// A built [`App`], which turns handshakes into connections, on any number of runtimes at once.
/// It is cheap to clone.
///
/// A [`Server`](crate::Server) builds it by itself. A program that accepts connections itself
/// embeds the service with `serve_connection`, `serve_stream` or `serve_upgraded` of an adapter.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, Service};
///
/// /// The type of a service does not depend on the context of its handlers.
/// fn app() -> Result<Service, axeom_ws::AppError> {
///     App::new().decorate("a value").ws("/", |route| route).build()
/// }
/// # assert!(app().is_ok());
/// ```
#[derive(Clone)]
pub struct Service(Arc<Contained<Inner>>);

struct Inner {
    router: Router<Arc<ServedRoute>>,
    fallback: Option<Fallback>,
    hooks: Hooks,
    connections: Arc<Connections>,
    limits: AdmissionLimits,
}

/// What a [`Server`](crate::Server) can serve: an [`App`], or a [`Service`] that was built from
/// one. Only these two implement it.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, AppError, IntoService};
///
/// fn check(app: impl IntoService) -> Result<(), AppError> {
///     app.into_service().map(drop)
/// }
///
/// assert!(check(App::new().ws("/chat", |route| route)).is_ok());
/// assert!(check(App::new().ws("no slash", |route| route)).is_err());
/// ```
pub trait IntoService: sealed::IntoService {
    /// Builds the service, or returns the one that is built already.
    ///
    /// # Errors
    /// A path, option, subprotocol or host of the app is invalid, or two routes have the same path.
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

/// The limits on clients until their handshake is accepted.
pub(super) struct AdmissionLimits {
    /// The hosts that the app answers for, if not for all.
    pub(super) hosts: Option<Vec<String>>,
    /// The scheme by which pages reach the app, if it is known.
    pub(super) scheme: Option<Scheme>,
    /// The proxies that are believed, and in which headers.
    pub(super) proxies: Option<(ForwardingHeaders, Networks)>,
    pub(super) head: HeadLimits,
    pub(super) handshake_timeout: Duration,
    pub(super) capacity: Capacity,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            hosts: None,
            scheme: None,
            proxies: None,
            head: HeadLimits::default(),
            handshake_timeout: Duration::from_secs(10),
            capacity: Capacity::default(),
        }
    }
}

/// A route as the app declares it, not yet checked.
pub(super) struct DeclaredRoute {
    pub(super) path: String,
    pub(super) options: Options,
    pub(super) topics: String,
    pub(super) protocols: Vec<String>,
    pub(super) endpoint: Arc<dyn RouteEndpoint>,
}

impl DeclaredRoute {
    /// The route inside a scope with these options and this prefix of topics.
    pub(super) fn inside(mut self, options: &Options, topics: &str) -> Self {
        self.options = self.options.or(options);
        self.topics.insert_str(0, topics);
        self
    }
}

/// A route that was checked.
struct ServedRoute {
    settings: Arc<Settings>,
    endpoint: Arc<dyn RouteEndpoint>,
    path: Arc<str>,
}

impl ServedRoute {
    fn new(route: DeclaredRoute) -> Result<Self, AppError> {
        let DeclaredRoute { path, options, topics, protocols, endpoint } = route;
        let settings = options
            .resolve()
            .map_err(|source| AppError::Option { path: path.clone(), source })?
            .with_topics(topics);
        let is_token = |own: &String| !own.is_empty() && own.bytes().all(is_token_byte);
        if let Some(protocol) = protocols.into_iter().find(|own| !is_token(own)) {
            return Err(AppError::Protocol { path, protocol });
        }
        Ok(Self { settings: Arc::new(settings), endpoint, path: path.into() })
    }
}

impl Service {
    pub(super) fn new(
        routes: impl Iterator<Item = DeclaredRoute>,
        fallback: Option<Fallback>,
        hooks: Hooks,
        connections: Arc<Connections>,
        limits: AdmissionLimits,
    ) -> Result<Self, AppError> {
        let is_host = |host: &&String| Authority::parse(host.as_bytes()).is_some();
        if let Some(host) = limits.hosts.iter().flatten().find(|host| !is_host(host)) {
            return Err(AppError::Host { host: host.clone() });
        }
        let routes = routes.map(|route| {
            let route = ServedRoute::new(route)?;
            Ok((route.path.to_string(), Arc::new(route)))
        });
        let router = Router::new(routes.collect::<Result<Vec<_>, _>>()?)?;
        Ok(Self(Arc::new(Contained::new(Inner { router, fallback, hooks, connections, limits }))))
    }

    /// Returns a handle to the app.
    pub fn handle(&self) -> AppHandle {
        AppHandle::new(Arc::clone(&self.0.connections))
    }

    /// Answers a request that another HTTP server has parsed: accepts the handshake (RFC 6455
    /// §4.2), or returns the response to send instead.
    ///
    /// Cancel safe: dropping the future abandons the handshake, and no connection is counted. A
    /// `before`, derive or guard that is running is dropped.
    pub fn respond<B, P: Into<Peer>>(
        &self,
        request: Request<B>,
        peer: P,
    ) -> impl Future<Output = Answer> + Send + use<'_, B, P> {
        let peer = peer.into();
        // The checks that need no await come first, to keep the future small: every connection
        // that opens holds it.
        let (peer, checked) = self.check(request.map(drop), peer, None);
        async move { self.answer(checked, peer, &mut None).await }
    }

    /// As [`respond`](Self::respond), for a connection that has a place already, and over which
    /// pages reach the server by `scheme`, if that is known.
    pub(crate) fn respond_in<'a>(
        &'a self,
        request: Request<()>,
        peer: Peer,
        scheme: Option<&Scheme>,
        place: &'a mut Option<Place>,
    ) -> impl Future<Output = Answer> + Send + use<'a> {
        let (peer, checked) = self.check(request, peer, scheme);
        async move { self.answer(checked, peer, place).await }
    }

    /// Answers a request that was checked. A handshake takes `place` if there is one, and otherwise
    /// a place of its own.
    async fn answer(&self, checked: Checked<'_>, peer: Peer, place: &mut Option<Place>) -> Answer {
        match checked {
            Checked::Handshake { route, upgrade, handshake } => {
                let accepted = match self.enter_or_move(place.take(), peer) {
                    Ok(place) => self.accept(route, upgrade, &handshake, place).await,
                    Err(refusal) => Err(refusal.into_response()),
                };
                let answer = accepted.map_or_else(Answer::Response, Answer::Upgrade);
                self.note(answer, peer, handshake.request.uri().path())
            }
            Checked::NoRoute(request) => {
                let path = request.uri().path().to_owned();
                let response = Box::pin(fall_back(self.0.fallback.as_ref(), *request)).await;
                self.note(Answer::Response(response), peer, &path)
            }
            Checked::Refused(path, refusal) => {
                self.note(Answer::Response(refusal.into_response()), peer, &path)
            }
            Checked::Unrouted(unrouted) => self.answer_unrouted(*unrouted, place).await,
        }
    }

    /// Answers a request that the app wants to see ahead of routing. It is boxed, to keep the future
    /// of an app that has no such wish small.
    fn answer_unrouted<'a>(
        &'a self,
        Unrouted { handshake, scheme }: Unrouted,
        place: &'a mut Option<Place>,
    ) -> BoxFuture<'a, Answer> {
        let (peer, handshake) = (handshake.peer, Arc::new(handshake));
        Box::pin(async move {
            if let Err(response) = self.0.hooks.before(&handshake).await {
                let path = handshake.request.uri().path();
                return self.note(Answer::Response(response), peer, path);
            }
            let checked = self.route(Handshake::reclaim(handshake), scheme.as_ref());
            self.answer(checked, peer, place).await
        })
    }

    /// Has the app add to an answer what it adds to all, and says what it is.
    fn note(&self, mut answer: Answer, peer: Peer, path: &str) -> Answer {
        match &mut answer {
            Answer::Upgrade(accepted) => self.0.hooks.on_response(accepted.response_mut()),
            Answer::Response(response) => self.0.hooks.on_response(response),
        }
        let status = answer.status();
        telemetry::handshake(status);
        tracing::debug!(%peer, path, %status, "handshake answered");
        answer
    }

    /// The response to a request that the app has not seen, or not in time.
    pub(crate) fn refuse(&self, refusal: Refusal) -> Response<Bytes> {
        let mut response = refusal.into_response();
        self.0.hooks.on_response(&mut response);
        response
    }

    pub(crate) fn connections(&self) -> &Arc<Connections> {
        &self.0.connections
    }

    /// Takes a place for the connection of a client, counted under this address.
    pub(crate) fn enter(&self, ip: Option<IpAddr>) -> Result<Place, Refusal> {
        Place::take(&self.0.connections, ip, self.0.limits.capacity)
    }

    /// Counts the place of a connection under the client's address. A proxy has a place before it
    /// says who its client is.
    fn enter_or_move(&self, place: Option<Place>, client: Peer) -> Result<Place, Refusal> {
        let Some(mut place) = place else { return self.enter(client.ip()) };
        place.belongs_to(client.ip(), self.0.limits.capacity)?;
        Ok(place)
    }

    /// Whether a peer is a proxy that says who its client is.
    pub(crate) fn trusts(&self, peer: Peer) -> bool {
        self.0.limits.proxies.as_ref().is_some_and(|(_, networks)| peer.is_in(networks))
    }

    pub(crate) fn capacity(&self) -> Capacity {
        self.0.limits.capacity
    }

    pub(crate) fn head_limits(&self) -> HeadLimits {
        self.0.limits.head
    }

    pub(crate) fn handshake_timeout(&self) -> Duration {
        self.0.limits.handshake_timeout
    }

    /// Checks a request as far as that needs no user code. Returns the client, too.
    fn check(
        &self,
        mut request: Request<()>,
        peer: Peer,
        scheme: Option<&Scheme>,
    ) -> (Peer, Checked<'_>) {
        let checked =
            handshake::check_head(&request).and_then(|()| self.find_client(&mut request, peer));
        match checked {
            Ok(forwarded) => {
                let client = match forwarded.addr {
                    None => peer,
                    Some(addr) => addr.map_or(Peer::Unknown, Peer::Ip),
                };
                let scheme = forwarded.scheme.as_ref().or(scheme);
                (client, self.check_client(request, client, scheme))
            }
            Err(refusal) => (peer, Checked::refused(&request, refusal)),
        }
    }

    /// Reads what a trusted proxy says of the client.
    fn find_client(&self, request: &mut Request<()>, peer: Peer) -> Result<Forwarded, Refusal> {
        let Some((headers, networks)) = &self.0.limits.proxies else {
            return Ok(Forwarded::default());
        };
        if !peer.is_in(networks) {
            return Ok(Forwarded::default());
        }
        let mut forwarded = headers.read(request.headers(), networks)?;
        if let Some(host) = forwarded.host.take() {
            handshake::set_host(request, host);
        }
        Ok(forwarded)
    }

    fn check_client(
        &self,
        mut request: Request<()>,
        peer: Peer,
        scheme: Option<&Scheme>,
    ) -> Checked<'_> {
        let limits = &self.0.limits;
        let host_is_one_of = |hosts| handshake::check_host(&request, hosts);
        if let Err(refusal) = limits.hosts.as_deref().map_or(Ok(()), host_is_one_of) {
            return Checked::refused(&request, refusal);
        }
        handshake::settle_host(&mut request);
        let handshake = Handshake::new(request, peer);
        if self.0.hooks.has_before() {
            return Checked::Unrouted(Box::new(Unrouted { handshake, scheme: scheme.cloned() }));
        }
        self.route(handshake, scheme)
    }

    /// Finds the route of a request, and checks whether it is a handshake for that.
    fn route(&self, mut handshake: Handshake, scheme: Option<&Scheme>) -> Checked<'_> {
        let request = &handshake.request;
        let (route, params) = match self.0.router.find(request.uri().path()) {
            Ok(found) => found,
            Err(NotFound::NoRoute) => return Checked::NoRoute(Box::new(handshake.request)),
            Err(NotFound::NotText) => return Checked::refused(request, Refusal::PathNotText),
        };
        let scheme = scheme.or(self.0.limits.scheme.as_ref());
        match handshake::check_upgrade(request, &route.settings.origins, scheme) {
            Ok(upgrade) => {
                handshake.params = params;
                Checked::Handshake { route, upgrade, handshake: Arc::new(handshake) }
            }
            Err(refusal) => Checked::refused(request, refusal),
        }
    }

    /// Accepts a valid handshake, unless a derive, a guard or a limit of the app refuses it.
    async fn accept(
        &self,
        route: &ServedRoute,
        upgrade: Upgrade,
        handshake: &Arc<Handshake>,
        place: Place,
    ) -> Result<Accepted, Response<Bytes>> {
        let prepared = AssertUnwindSafe(route.endpoint.prepare(handshake)).catch_unwind().await;
        let prepared = match prepared {
            Ok(prepared) => prepared.map_err(|turned_down| match turned_down {
                TurnedDown::Refused(refusal) => refusal.into_response(),
                TurnedDown::Rejected(rejection) => self.0.hooks.reject(rejection, handshake),
            })?,
            Err(panic) => {
                let panic = caught(panic);
                let path = handshake.request.uri().path();
                tracing::error!(path, panic, "a derive, or the choice of a subprotocol, panicked");
                return Err(Refusal::Failed.into_response());
            }
        };
        self.register(route, &upgrade, handshake, prepared, place).map_err(Refusal::into_response)
    }

    /// Registers a connection for the handshake.
    fn register(
        &self,
        route: &ServedRoute,
        upgrade: &Upgrade,
        handshake: &Arc<Handshake>,
        prepared: Prepared,
        place: Place,
    ) -> Result<Accepted, Refusal> {
        let Prepared { protocol, start } = prepared;
        let (request, peer) = (&handshake.request, handshake.peer);
        let offered = handshake::offered_extensions(request)?;
        let compression = route.settings.compression.as_ref();
        let (deflate, extensions) =
            compression.and_then(|own| handshake::negotiate(&offered, own)).unzip();
        let link = Link::new(Role::Server, Arc::clone(&route.settings), deflate);
        let registration = self.0.connections.register(link, place)?;

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

/// The result of the checks that need no user code.
enum Checked<'a> {
    Handshake { route: &'a ServedRoute, upgrade: Upgrade, handshake: Arc<Handshake> },
    NoRoute(Box<Request<()>>),
    Refused(String, Refusal),
    Unrouted(Box<Unrouted>),
}

/// A request that has yet to be routed, and the scheme by which its page came, if that is known.
struct Unrouted {
    handshake: Handshake,
    scheme: Option<Scheme>,
}

impl Checked<'_> {
    fn refused(request: &Request<()>, refusal: Refusal) -> Self {
        Self::Refused(request.uri().path().to_owned(), refusal)
    }
}
