//! The types that programs build and hold (apps, routes, contexts, connection handles), and the
//! code that runs handlers.

mod accepted;
mod context;
mod derive;
mod fallback;
mod group;
mod handler;
mod hooks;
#[cfg(feature = "json")]
mod json;
mod layers;
#[cfg(all(test, loom))]
mod loom_model;
mod prepare;
mod rejection;
mod request;
mod response_head;
mod route;
mod router;
mod run;
mod scope;
mod service;
mod socket;
mod ws;

use std::{error::Error, fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, uri::Scheme};

#[cfg(feature = "json")]
pub use self::json::SendJsonError;
pub use self::{
    accepted::{Accepted, Answer},
    context::Context,
    group::Group,
    handler::{Callback, Callbacks, Handler, HandlerResult, NoCallbacks, Outcome, Unset},
    layers::{FoundIn, Get, Here, There, With},
    rejection::Rejection,
    response_head::ResponseHead,
    route::{Endpoint, Handled, Route, SocketLoop},
    service::{IntoService, Service},
    socket::Socket,
    ws::Ws,
};
use self::{fallback::Fallback, hooks::Hooks, scope::Scope, service::AdmissionLimits};
use crate::{
    error::AppError,
    handshake::{ForwardingHeaders, HeadLimits},
    hub::{AppHandle, Connections},
    networks::Networks,
    options::Options,
};

/// An app: its WebSocket routes, and the context that their handlers share.
///
/// `D` is the context. [`decorate`](Self::decorate) and [`derive`](Self::derive) add a value to
/// it for the routes that are added afterwards.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, Rejection};
///
/// struct Names(Vec<&'static str>);
/// struct User { name: String }
///
/// let app = App::new()
///     .decorate(Names(vec!["ada", "grace"]))
///     .derive(async |ctx| {
///         let known: &Names = ctx.get();
///         let name = ctx.query("name").ok_or(Rejection::bad_request("add ?name= to the URL"))?;
///         if !known.0.contains(&&*name) {
///             return Err(Rejection::forbidden("nobody knows you"));
///         }
///         Ok(User { name: name.into_owned() })
///     })
///     .ws("/chat/:room", |route| {
///         route
///             .open(async |ws| {
///                 let user: &User = ws.get();
///                 ws.subscribe(format!("room/{}", ws.param("room")));
///                 let _ = ws.send(format!("Welcome, {}", user.name)).await;
///             })
///             .message(async |ws, msg| {
///                 ws.publish(format!("room/{}", ws.param("room")), msg);
///             })
///     });
/// # let _ = app;
/// ```
///
/// A handler that asks for a value which the context does not have does not compile:
///
/// ```compile_fail
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::App;
///
/// struct Db;
/// App::new().ws("/", |route| route.open(async |ws| { let db: &Db = ws.get(); }));
/// ```
#[must_use = "an app does nothing until it is served"]
pub struct App<D = ()> {
    scope: Scope<D>,
    connections: Arc<Connections>,
    fallback: Option<Fallback>,
    hooks: Hooks,
    limits: AdmissionLimits,
}

impl App {
    /// Creates an app without routes.
    pub fn new() -> Self {
        Self {
            scope: Scope::new(),
            connections: Arc::default(),
            fallback: None,
            hooks: Hooks::default(),
            limits: AdmissionLimits::default(),
        }
    }
}

impl Default for App {
    fn default() -> Self {
        Self::new()
    }
}

impl<D: Clone + Send + Sync + 'static> App<D> {
    /// Adds a value that all connections share, such as a database pool. Handlers of routes that
    /// are added afterwards get it with `ws.get()`.
    pub fn decorate<T: Send + Sync + 'static>(self, value: T) -> App<With<T, D>> {
        self.map(|scope| scope.decorate(value))
    }

    /// Adds a value that is derived from each handshake, for the routes that are added afterwards.
    ///
    /// Derives and guards run in the order they were added, and only for valid handshakes (RFC 6455
    /// §4.2.1). A [`Rejection`] is sent to the client as it is. Any other error, and a panic,
    /// becomes a 500 without details; [`map_error`](Self::map_error) makes of an error what else the
    /// client is to see. A server gives them the [`handshake_timeout`](Self::handshake_timeout).
    ///
    /// Browsers do not show a page the response to a failed handshake. To tell a page why it may
    /// not connect, accept the handshake and close the connection in `open`, with a code from 4000
    /// to 4999 and a reason.
    pub fn derive<T, F, Fut>(self, derive: F) -> App<With<T, D>>
    where
        T: Send + Sync + 'static,
        F: Fn(Context<D>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Rejection>> + Send,
    {
        self.map(|scope| scope.derive(derive))
    }

    /// Checks each handshake of the routes that are added afterwards. A guard runs and fails as a
    /// [`derive`](Self::derive) does, but adds no value.
    pub fn guard<F, Fut>(self, guard: F) -> Self
    where
        F: Fn(Context<D>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Rejection>> + Send,
    {
        self.map(|scope| scope.guard(guard))
    }

    /// Adds a WebSocket route.
    ///
    /// In the path, `:name` matches any single segment that is not empty, and `*` as the last
    /// segment matches the whole rest, even an empty one. A static segment takes precedence over
    /// `:name`, and `:name` over `*`. An invalid path, or one that another route has, is an error
    /// when the app is built.
    pub fn ws<E: Endpoint<D>>(
        self,
        path: &str,
        route: impl FnOnce(Route<D>) -> Route<D, E>,
    ) -> Self {
        self.map(|scope| scope.ws(path, route(Route::new())))
    }

    /// Adds routes under a common prefix. The group starts with the context that the app has so
    /// far. Its own decorators, derives, guards and options apply only inside it.
    pub fn group<D2>(self, prefix: &str, group: impl FnOnce(Group<D>) -> Group<D2>) -> Self {
        let inner = group(Group(self.scope.inner(prefix)));
        self.map(|scope| scope.add(inner.0))
    }

    /// Applies a function to the app, such as one that adds routes, derives or options and is
    /// shared between apps.
    pub fn plugin<D2>(self, plugin: impl FnOnce(App<D>) -> App<D2>) -> App<D2> {
        plugin(self)
    }

    /// Sets options for all routes of this app, whether added before or afterwards. An option that
    /// a route or group sets itself takes precedence.
    pub fn options(self, options: Options) -> Self {
        self.map(|scope| scope.options(options))
    }

    /// Answers GET and HEAD requests that ask for no upgrade and match no route, such as the
    /// request for the page that opens the WebSocket. Other methods get 405 then. Without a
    /// fallback all of them are answered with 404.
    ///
    /// The connection is closed after the response, which gets a `Date` if it has none. A panic is
    /// answered with 500. A second fallback replaces the first.
    pub fn fallback<F, Fut, B>(mut self, fallback: F) -> Self
    where
        F: Fn(Request<()>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response<B>> + Send + 'static,
        B: Into<Bytes>,
    {
        let fallback = Arc::new(fallback);
        self.fallback = Some(Arc::new(move |request| {
            let fallback = Arc::clone(&fallback);
            Box::pin(async move { fallback(request).await.map(Into::into) })
        }));
        self
    }

    /// Runs for every request of the app, ahead of routing: handshakes, requests for the fallback,
    /// and those that no route has. A [`Rejection`] is sent to the client as it is, and an error or a
    /// panic becomes what those of a [`derive`](Self::derive) become. Several run in the order they
    /// were added, whatever routes and derives are added between them, until one rejects.
    ///
    /// The request has passed the checks of its head (RFC 9112 §3.2) and of
    /// [`allow_hosts`](Self::allow_hosts), but may be no handshake. The [`Context`] has no values
    /// and no parameters of a route; its peer is the client that a trusted proxy has named. Headers that it adds to the 101 are kept. A server gives all
    /// that runs for a request, this included, the [`handshake_timeout`](Self::handshake_timeout),
    /// and drops it when the client leaves. In another HTTP server, only requests that are passed
    /// to the app are its own.
    ///
    /// ```
    /// # use axeom_ws_core as axeom_ws;
    /// use axeom_ws::{App, Rejection, http::StatusCode};
    ///
    /// let app = App::new()
    ///     .before(async |request| match request.uri().path() {
    ///         path if path.starts_with("/v1/") => {
    ///             Err(Rejection::new(StatusCode::GONE, "the API is under /v2 now"))
    ///         }
    ///         _ => Ok(()),
    ///     })
    ///     .ws("/v2/chat", |route| route);
    /// # let _ = app;
    /// ```
    pub fn before<F, Fut>(mut self, before: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Rejection>> + Send + 'static,
    {
        self.hooks.add_before(before);
        self
    }

    /// Sees every response of the app, and may add headers to it: the 101, responses of the
    /// fallback, rejections, and refusals of what is no handshake, of what cannot be parsed, and of
    /// clients without a place. Several run in the order they were added.
    ///
    /// It runs once for each response, right before that is sent, and must not block. If it
    /// panics, the response goes out with what was added so far. Another HTTP server answers itself
    /// what it cannot parse.
    ///
    /// ```
    /// # use axeom_ws_core as axeom_ws;
    /// use axeom_ws::{
    ///     App,
    ///     http::{HeaderValue, header},
    /// };
    ///
    /// let app = App::new().ws("/chat", |route| route).on_response(|response| {
    ///     response.insert(header::SERVER, HeaderValue::from_static("chat"));
    ///     if response.status().is_client_error() {
    ///         response.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    ///     }
    /// });
    /// # let _ = app;
    /// ```
    pub fn on_response<F>(mut self, on_response: F) -> Self
    where
        F: Fn(&mut ResponseHead<'_>) + Send + Sync + 'static,
    {
        self.hooks.add_on_response(on_response);
        self
    }

    /// Decides what an error of a derive, a guard or [`before`](Self::before) looks like to the
    /// client: the [`Rejection`] that it returns is sent as it is. It is given the
    /// [`source`](Rejection::source) of the rejection, and is not asked about rejections that have
    /// none. Default: a 500 without details. A second call replaces the first.
    ///
    /// The error is logged in any case. If the closure panics, the client gets the default; so it
    /// does if a derive panics.
    ///
    /// ```
    /// # use axeom_ws_core as axeom_ws;
    /// use std::num::ParseIntError;
    ///
    /// use axeom_ws::{App, Rejection, http::StatusCode};
    ///
    /// let app = App::new()
    ///     .map_error(|error| match error.downcast_ref::<ParseIntError>() {
    ///         Some(error) => Rejection::bad_request(format!("send a number: {error}")),
    ///         None => Rejection::new(StatusCode::SERVICE_UNAVAILABLE, "try again later"),
    ///     })
    ///     .derive(async |ctx| Ok(ctx.param("room").parse::<u32>()?))
    ///     .ws("/chat/:room", |route| route);
    /// # let _ = app;
    /// ```
    pub fn map_error<F>(mut self, map_error: F) -> Self
    where
        F: Fn(&(dyn Error + 'static)) -> Rejection + Send + Sync + 'static,
    {
        self.hooks.set_map_error(map_error);
        self
    }

    /// Limits the size of request heads. Default: 16 KiB, 100 headers, and 8 KiB for the request
    /// line.
    pub fn head_limits(mut self, limits: HeadLimits) -> Self {
        self.limits.head = limits;
        self
    }

    /// Limits how long a client may take to send its request head, and then how long
    /// [`before`](Self::before), derives, guards and the fallback may take together, after which the answer is 503. Default: 10 s each.
    ///
    /// A client that takes a long response more slowly than 1 KiB a second, measured over this
    /// time, is given up.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.limits.handshake_timeout = timeout;
        self
    }

    /// Answers only requests for these hosts, such as `chat.example.com`. Others are refused with
    /// 421 (RFC 9110 §15.5.20), before routes, derives and the fallback. Default: all hosts.
    ///
    /// Without this, a page can point a name of its own at the server, and then comes from the same
    /// host as far as the server can tell (DNS rebinding). An app that trusts everybody who reaches
    /// it, on `localhost` or in an internal network, needs it.
    ///
    /// An entry with a port, such as `localhost:3000`, allows that port alone, and one without
    /// allows all ports. Clients leave out the default port of their scheme. Names are compared
    /// without regard to case, and an IPv6 address is in brackets. A second call replaces the
    /// first, and without entries every request is refused. An entry that is no host is an error
    /// when the app is built.
    ///
    /// ```
    /// # use axeom_ws_core as axeom_ws;
    /// use axeom_ws::App;
    ///
    /// let app = App::new().allow_hosts(["chat.example.com", "localhost:3000", "[::1]:3000"]);
    /// # assert!(app.build().is_ok());
    /// ```
    pub fn allow_hosts<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        self.limits.hosts = Some(hosts.into_iter().map(Into::into).collect());
        self
    }

    /// Says whether pages reach the app over TLS, which it cannot tell by itself when a proxy ends
    /// TLS. With `true`, a page of the same host may connect only if it came over `https`, and with
    /// `false` only if it came over `http`. Default: neither is said, and both may connect.
    ///
    /// [`Options::allow_origins`] names whole origins, which this does not change.
    pub fn secure(mut self, secure: bool) -> Self {
        self.limits.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
        self
    }

    /// Believes what these proxies say of the client in `X-Forwarded-For`, `X-Forwarded-Proto` and
    /// `X-Forwarded-Host`, which nginx and most others can send. Default: no proxy is believed.
    ///
    /// A request that comes from one of the networks then has the client's address as its
    /// [`peer`](crate::Context::peer), which limits per address, logs and handlers see, and the host
    /// and scheme by which the client reached the proxy, which [`allow_hosts`](Self::allow_hosts)
    /// and the check of the `Origin` go by. In any other request these headers mean nothing.
    ///
    /// Each proxy appends the address that it was reached from. They are read from the last on, and
    /// the first that is no trusted proxy is the client. A client that a proxy does not know is
    /// [`Peer::Unknown`](crate::Peer::Unknown), and a port that it does not give is 0. Of the two
    /// other headers, the last value counts: have the proxy set them rather than append to what the
    /// client sent.
    ///
    /// ```
    /// # use axeom_ws_core as axeom_ws;
    /// use axeom_ws::{App, Networks};
    ///
    /// let app = App::new().trust_x_forwarded(Networks::new(["10.0.0.0/8", "::1"])?);
    /// # let _ = app;
    /// # Ok::<(), axeom_ws::InvalidNetwork>(())
    /// ```
    pub fn trust_x_forwarded(mut self, networks: Networks) -> Self {
        self.limits.proxies = Some((ForwardingHeaders::XForwarded, networks));
        self
    }

    /// Does what [`trust_x_forwarded`](Self::trust_x_forwarded) does, with the `Forwarded` header of
    /// RFC 7239 instead. A request whose `Forwarded` is malformed is refused with 400.
    ///
    /// Only one of the two headers is believed, that of the last call, because a proxy that writes
    /// one passes the other on as the client sent it.
    pub fn trust_forwarded(mut self, networks: Networks) -> Self {
        self.limits.proxies = Some((ForwardingHeaders::Forwarded, networks));
        self
    }

    /// Limits how many connections the app may have at a time. Further ones are answered with 503 and
    /// `Retry-After`. Default: no limit.
    ///
    /// A connection that a server has accepted counts from then on: while it sends its request, while
    /// derives run, and while it is sent a response of the fallback. A connection of a handler that
    /// still runs after its end does not count.
    pub fn max_connections(mut self, most: usize) -> Self {
        self.limits.capacity.all = Some(most);
        self
    }

    /// Limits how many connections one IP address may have at a time, counted as for
    /// [`max_connections`](Self::max_connections). Further ones are answered with 503 and
    /// `Retry-After`. Default: no limit. With a fallback that serves pages, leave room for the
    /// connections that a browser opens at once, of which there are often six.
    ///
    /// IPv6 addresses are counted by their network, of
    /// [`ipv6_prefix_len`](Self::ipv6_prefix_len) bits, because a single client has a whole one to
    /// choose from. An IPv4-mapped IPv6 address is counted as its IPv4 address.
    ///
    /// Behind a proxy, all connections have the proxy's address, unless it is
    /// [trusted](Self::trust_x_forwarded).
    pub fn max_connections_per_ip(mut self, most: usize) -> Self {
        self.limits.capacity.per_ip = Some(most);
        self
    }

    /// Sets by how many of its first bits [`max_connections_per_ip`](Self::max_connections_per_ip)
    /// tells an IPv6 address from others. Default: 64, which is what one subscriber has at least;
    /// many have 56 or 48. With 128 or more, each address counts alone.
    pub fn ipv6_prefix_len(mut self, bits: u8) -> Self {
        self.limits.capacity.ipv6_prefix_len = bits;
        self
    }

    /// Returns a handle to the app, which works before and while the app is served.
    pub fn handle(&self) -> AppHandle {
        AppHandle::new(Arc::clone(&self.connections))
    }

    /// Builds a [`Service`] from the app. [`Server::serve`](crate::Server::serve) does this by
    /// itself.
    ///
    /// # Errors
    /// A path, option, subprotocol or host is invalid, or two routes have the same path.
    pub fn build(self) -> Result<Service, AppError> {
        let Self { scope, connections, fallback, hooks, limits } = self;
        Service::new(scope.into_routes(), fallback, hooks, connections, limits)
    }

    fn map<D2>(self, change: impl FnOnce(Scope<D>) -> Scope<D2>) -> App<D2> {
        let Self { scope, connections, fallback, hooks, limits } = self;
        App { scope: change(scope), connections, fallback, hooks, limits }
    }
}

impl<D> fmt::Debug for App<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("routes", &self.scope.paths())
            .field("options", self.scope.own_options())
            .finish_non_exhaustive()
    }
}
