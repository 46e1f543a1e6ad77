//! What a user builds: an app of routes, and the context their handlers get.

mod context;
mod handler;
mod layers;
mod rejection;
mod request;
mod route;
mod router;
mod service;

use std::{fmt, future::Future, marker::PhantomData, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};

pub(crate) use self::request::RequestInfo;
pub use self::{
    context::Context,
    handler::{Callback, Callbacks, Handler, HandlerResult, NoCallbacks, Outcome, Unset},
    layers::{FoundIn, Get, Here, There, With},
    rejection::Rejection,
    route::{Connection, Endpoint, Handled, Route, SocketLoop},
    service::{Accepted, Service},
};
use self::{
    context::Handshake,
    service::{ErasedEndpoint, Fallback, Gate, Mounted},
};
use crate::{
    AppError, Options, ServerHandle,
    handshake::HeadLimits,
    registry::{Capacity, Hub},
};

/// An app: WebSocket routes, and the context that their handlers share.
///
/// `D` is the context: [`decorate`](Self::decorate) and [`derive`](Self::derive) add to
/// it, for the routes that come after.
///
/// ```
/// use axeom_ws_core::{App, Rejection};
///
/// struct Names(Vec<&'static str>);
/// struct User { name: String }
///
/// let app = App::new()
///     .decorate(Names(vec!["ada", "grace"]))
///     .derive(async |ctx| {
///         let known: &Names = ctx.get();
///         let name = ctx.header("x-user").ok_or(Rejection::unauthorized("Bearer"))?;
///         if !known.0.contains(&name) {
///             return Err(Rejection::forbidden("nobody knows you"));
///         }
///         Ok(User { name: name.to_owned() })
///     })
///     .ws("/chat/:room", |route| {
///         route
///             .open(async |ws| {
///                 ws.subscribe(ws.param("room"));
///                 let _ = ws.send(format!("Welcome, {}", ws.data().name)).await;
///             })
///             .message(async |ws, msg| {
///                 ws.publish(ws.param("room"), msg);
///             })
///     });
/// # let _ = app;
/// ```
///
/// Handlers that need a value which no derive adds do not compile:
///
/// ```compile_fail
/// use axeom_ws_core::App;
///
/// struct Db;
/// App::new().ws("/", |route| route.open(async |ws| { let db: &Db = ws.get(); }));
/// ```
pub struct App<D = ()> {
    context: Arc<dyn BuildContext<D>>,
    prefix: String,
    routes: Vec<Mounted>,
    options: Options,
    hub: Arc<Hub>,
    fallback: Option<Fallback>,
    head_limits: HeadLimits,
    handshake_timeout: Duration,
    capacity: Capacity,
}

impl App {
    /// An app without routes.
    pub fn new() -> Self {
        Self::within(Arc::new(NoContext), String::new(), Arc::default())
    }
}

impl Default for App {
    fn default() -> Self {
        Self::new()
    }
}

impl<D: Clone + Send + Sync + 'static> App<D> {
    fn within(context: Arc<dyn BuildContext<D>>, prefix: String, hub: Arc<Hub>) -> Self {
        Self {
            context,
            prefix,
            routes: Vec::new(),
            options: Options::new(),
            hub,
            fallback: None,
            head_limits: HeadLimits::default(),
            handshake_timeout: Duration::from_secs(10),
            capacity: Capacity::default(),
        }
    }

    /// Adds a value that all connections share, such as a database pool. Handlers of
    /// the routes that come after find it with `ws.get()`.
    pub fn decorate<T: Send + Sync + 'static>(self, value: T) -> App<With<T, D>> {
        let context =
            Arc::new(Decorated { before: Arc::clone(&self.context), value: value.into() });
        self.with_context(context)
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
        let context =
            Arc::new(Derived { before: Arc::clone(&self.context), derive, result: PhantomData });
        self.with_context(context)
    }

    /// Checks each handshake of the routes that come after, as [`derive`](Self::derive)
    /// but without a value.
    pub fn guard<F, Fut>(mut self, guard: F) -> Self
    where
        F: Fn(Context<D>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Rejection>> + Send,
    {
        self.context = Arc::new(Guarded { before: self.context, guard });
        self
    }

    /// Adds a WebSocket route.
    ///
    /// A segment `:name` of the path matches any one segment, a last segment `*` any
    /// number of them; static segments go first, then `:name`, then `*`. A path that
    /// cannot be used, or that another route has, is an error when the app is built.
    pub fn ws<E: Endpoint<D>>(
        mut self,
        path: &str,
        route: impl FnOnce(Route<D>) -> Route<D, E>,
    ) -> Self {
        let Route { endpoint, options, protocols, .. } = route(Route::new());
        self.routes.push(Mounted {
            path: join(&self.prefix, path),
            options,
            protocols,
            endpoint: Arc::new(ErasedEndpoint::new(Arc::clone(&self.context), endpoint)),
        });
        self
    }

    /// Adds routes under a common prefix. What the group derives, decorates, guards and
    /// sets as options stays inside.
    pub fn group<D2>(mut self, prefix: &str, group: impl FnOnce(App<D>) -> App<D2>) -> Self {
        let prefix = join(&self.prefix, prefix).trim_end_matches('/').to_owned();
        let inner = App::within(Arc::clone(&self.context), prefix, Arc::clone(&self.hub));
        let App { routes, options, fallback, .. } = group(inner);
        self.routes.extend(routes.into_iter().map(|route| route.with_defaults(&options)));
        self.fallback = fallback.or(self.fallback);
        self
    }

    /// Adds whatever a function adds: routes, derives, decorators, options.
    pub fn plugin<D2>(self, plugin: impl FnOnce(App<D>) -> App<D2>) -> App<D2> {
        plugin(self)
    }

    /// How connections behave, on all routes of this app or group that do not say
    /// otherwise.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options.or(&self.options);
        self
    }

    /// Answers plain GET and HEAD requests to paths that no route has, such as for the
    /// page that opens the WebSocket. Without it they get 404. The connection ends
    /// after the response. One per app.
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

    /// How large a request head may be. Of the whole app: inside a group it has no effect.
    /// Default 16 KiB, 100 headers, and 8 KiB for the
    /// request line.
    pub fn head_limits(mut self, limits: HeadLimits) -> Self {
        self.head_limits = limits;
        self
    }

    /// How long a client may take to send its request head, and to read the answer. What
    /// derives take is theirs to limit. Of the whole app: inside a group it has no effect.
    /// Default 10 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// The most connections at a time; a further handshake is answered with 503 and
    /// `Retry-After`. Of the whole app: inside a group it has no effect. Default: no limit.
    pub fn max_connections(mut self, most: usize) -> Self {
        self.capacity.all = Some(most);
        self
    }

    /// The most connections at a time from one IP address; a further handshake is answered
    /// with 503 and `Retry-After`. Of the whole app: inside a group it has no effect.
    /// Default: no limit. Behind a proxy all connections have the proxy's address.
    pub fn max_connections_per_ip(mut self, most: usize) -> Self {
        self.capacity.per_ip = Some(most);
        self
    }

    /// A handle to the app, before and while it is served.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle(Arc::clone(&self.hub))
    }

    /// The app, ready to serve connections.
    ///
    /// # Errors
    /// A path, option or subprotocol that cannot be used.
    pub fn build(self) -> Result<Service, AppError> {
        let routes = self.routes.into_iter().map(|route| route.with_defaults(&self.options));
        let gate = Gate {
            head_limits: self.head_limits,
            handshake_timeout: self.handshake_timeout,
            capacity: self.capacity,
        };
        Service::new(routes, self.fallback, self.hub, gate)
    }

    fn with_context<D2>(self, context: Arc<dyn BuildContext<D2>>) -> App<D2> {
        App {
            context,
            prefix: self.prefix,
            routes: self.routes,
            options: self.options,
            hub: self.hub,
            fallback: self.fallback,
            head_limits: self.head_limits,
            handshake_timeout: self.handshake_timeout,
            capacity: self.capacity,
        }
    }
}

impl<D> fmt::Debug for App<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("routes", &self.routes.iter().map(|route| &route.path).collect::<Vec<_>>())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

fn join(prefix: &str, path: &str) -> String {
    match (prefix, path) {
        ("", path) => path.to_owned(),
        (prefix, "/" | "") => prefix.to_owned(),
        (prefix, path) => format!("{prefix}{path}"),
    }
}

/// Makes the context of a connection from its handshake.
pub(crate) trait BuildContext<D>: Send + Sync {
    fn build<'a>(&'a self, handshake: &'a Arc<Handshake>) -> BoxFuture<'a, Result<D, Rejection>>;
}

struct NoContext;

impl BuildContext<()> for NoContext {
    fn build<'a>(&'a self, _: &'a Arc<Handshake>) -> BoxFuture<'a, Result<(), Rejection>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

struct Decorated<T, D> {
    before: Arc<dyn BuildContext<D>>,
    value: Arc<T>,
}

impl<T, D> BuildContext<With<T, D>> for Decorated<T, D>
where
    T: Send + Sync + 'static,
    D: Send + Sync + 'static,
{
    fn build<'a>(
        &'a self,
        handshake: &'a Arc<Handshake>,
    ) -> BoxFuture<'a, Result<With<T, D>, Rejection>> {
        Box::pin(async move {
            let before = self.before.build(handshake).await?;
            Ok(With::new(Arc::clone(&self.value), before))
        })
    }
}

struct Derived<T, D, F> {
    before: Arc<dyn BuildContext<D>>,
    derive: F,
    result: PhantomData<fn() -> T>,
}

impl<T, D, F, Fut> BuildContext<With<T, D>> for Derived<T, D, F>
where
    T: Send + Sync + 'static,
    D: Clone + Send + Sync + 'static,
    F: Fn(Context<D>) -> Fut + Send + Sync,
    Fut: Future<Output = Result<T, Rejection>> + Send,
{
    fn build<'a>(
        &'a self,
        handshake: &'a Arc<Handshake>,
    ) -> BoxFuture<'a, Result<With<T, D>, Rejection>> {
        Box::pin(async move {
            let before = self.before.build(handshake).await?;
            let context = Context::new(Arc::clone(handshake), before.clone());
            let value = (self.derive)(context).await?;
            Ok(With::new(Arc::new(value), before))
        })
    }
}

struct Guarded<D, F> {
    before: Arc<dyn BuildContext<D>>,
    guard: F,
}

impl<D, F, Fut> BuildContext<D> for Guarded<D, F>
where
    D: Clone + Send + Sync + 'static,
    F: Fn(Context<D>) -> Fut + Send + Sync,
    Fut: Future<Output = Result<(), Rejection>> + Send,
{
    fn build<'a>(&'a self, handshake: &'a Arc<Handshake>) -> BoxFuture<'a, Result<D, Rejection>> {
        Box::pin(async move {
            let before = self.before.build(handshake).await?;
            (self.guard)(Context::new(Arc::clone(handshake), before.clone())).await?;
            Ok(before)
        })
    }
}
