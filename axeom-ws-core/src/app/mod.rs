//! What users build and hold: an app of routes, the context that their handlers get, handles to
//! connections, and what runs handlers.

mod accepted;
mod catch;
mod context;
mod derive;
mod group;
mod handler;
#[cfg(feature = "json")]
mod json;
mod layers;
#[cfg(all(test, loom))]
mod loom_model;
mod rejection;
mod request;
mod route;
mod router;
mod run;
mod scope;
mod service;
mod socket;
mod ws;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};

#[cfg(feature = "json")]
pub use self::json::SendJsonError;
pub use self::{
    accepted::{Accepted, Answer},
    context::Context,
    group::Group,
    handler::{Callback, Callbacks, Handler, HandlerResult, NoCallbacks, Outcome, Unset},
    layers::{FoundIn, Get, Here, There, With},
    rejection::Rejection,
    route::{Endpoint, Handled, Route, SocketLoop},
    service::{IntoService, Service},
    socket::Socket,
    ws::Ws,
};
use self::{
    scope::Scope,
    service::{AdmissionLimits, Fallback},
};
use crate::{
    error::AppError,
    handshake::HeadLimits,
    hub::{AppHandle, Connections},
    options::Options,
};

/// An app: WebSocket routes, and the context that their handlers share.
///
/// `D` is the context: [`decorate`](Self::decorate) and [`derive`](Self::derive) add to
/// it, for the routes that come after.
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
/// Handlers that need a value which no derive adds do not compile:
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
    limits: AdmissionLimits,
}

impl App {
    /// An app without routes.
    pub fn new() -> Self {
        Self {
            scope: Scope::new(),
            connections: Arc::default(),
            fallback: None,
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
    /// Adds a value that all connections share, such as a database pool. Handlers of
    /// the routes that come after find it with `ws.get()`.
    pub fn decorate<T: Send + Sync + 'static>(self, value: T) -> App<With<T, D>> {
        self.map(|scope| scope.decorate(value))
    }

    /// Adds a value that is derived for each handshake, for the routes that come after.
    /// A [`Rejection`] is sent to the client as it is; any other error, and a panic, as
    /// 500 without detail. Derives run in order, after the request was found to be a
    /// valid handshake.
    ///
    /// A page in a browser is not shown the response to a failed handshake. To tell it why,
    /// accept, and close in `open` with a code of 4000 to 4999 and a reason.
    pub fn derive<T, F, Fut>(self, derive: F) -> App<With<T, D>>
    where
        T: Send + Sync + 'static,
        F: Fn(Context<D>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Rejection>> + Send,
    {
        self.map(|scope| scope.derive(derive))
    }

    /// Checks each handshake of the routes that come after, as [`derive`](Self::derive)
    /// but without a value.
    pub fn guard<F, Fut>(self, guard: F) -> Self
    where
        F: Fn(Context<D>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Rejection>> + Send,
    {
        self.map(|scope| scope.guard(guard))
    }

    /// Adds a WebSocket route.
    ///
    /// A segment `:name` of the path matches any one segment, a last segment `*` any
    /// number of them; static segments go first, then `:name`, then `*`. A path that
    /// cannot be used, or that another route has, is an error when the app is built.
    pub fn ws<E: Endpoint<D>>(
        self,
        path: &str,
        route: impl FnOnce(Route<D>) -> Route<D, E>,
    ) -> Self {
        self.map(|scope| scope.ws(path, route(Route::new())))
    }

    /// Adds routes under a common prefix. What the group derives, decorates, guards and
    /// sets as options stays inside.
    pub fn group<D2>(self, prefix: &str, group: impl FnOnce(Group<D>) -> Group<D2>) -> Self {
        let inner = group(Group(self.scope.inner(prefix)));
        self.map(|scope| scope.add(inner.0))
    }

    /// Adds whatever a function adds: routes, derives, decorators, options.
    pub fn plugin<D2>(self, plugin: impl FnOnce(App<D>) -> App<D2>) -> App<D2> {
        plugin(self)
    }

    /// How connections behave, on all routes of this app that do not say otherwise.
    pub fn options(self, options: Options) -> Self {
        self.map(|scope| scope.options(options))
    }

    /// Answers plain GET and HEAD requests to paths that no route has, such as for the
    /// page that opens the WebSocket. Without it they get 404. The connection ends
    /// after the response. One per app: a second replaces the first.
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

    /// How large a request head may be. Default 16 KiB, 100 headers, and 8 KiB for the
    /// request line.
    pub fn head_limits(mut self, limits: HeadLimits) -> Self {
        self.limits.head = limits;
        self
    }

    /// How long a client may take to send its request head, and to read the answer. What
    /// derives take is theirs to limit. Default 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.limits.handshake_timeout = timeout;
        self
    }

    /// The most connections at a time; a further handshake is answered with 503 and
    /// `Retry-After`. Default: no limit.
    pub fn max_connections(mut self, most: usize) -> Self {
        self.limits.capacity.all = Some(most);
        self
    }

    /// The most connections at a time from one IP address; a further handshake is answered
    /// with 503 and `Retry-After`. Default: no limit. Behind a proxy all connections have the
    /// proxy's address.
    pub fn max_connections_per_ip(mut self, most: usize) -> Self {
        self.limits.capacity.per_ip = Some(most);
        self
    }

    /// A handle to the app, before and while it is served.
    pub fn handle(&self) -> AppHandle {
        AppHandle::new(Arc::clone(&self.connections))
    }

    /// The app, ready to serve connections.
    ///
    /// # Errors
    /// A path, option or subprotocol that cannot be used.
    pub fn build(self) -> Result<Service, AppError> {
        let Self { scope, connections, fallback, limits } = self;
        Service::new(scope.into_routes(), fallback, connections, limits)
    }

    fn map<D2>(self, change: impl FnOnce(Scope<D>) -> Scope<D2>) -> App<D2> {
        let Self { scope, connections, fallback, limits } = self;
        App { scope: change(scope), connections, fallback, limits }
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
