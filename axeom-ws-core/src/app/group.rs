use std::{fmt, future::Future};

use super::{
    context::Context,
    layers::With,
    rejection::Rejection,
    route::{Endpoint, Route},
    scope::Scope,
};
use crate::options::Options;

/// Routes under a common prefix, with a context and options that the rest of the app does not
/// see. See [`App::group`](super::App::group).
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, Rejection};
///
/// struct Admin;
///
/// let app = App::new().group("/admin", |group| {
///     group
///         .derive(async |ctx| match ctx.header("authorization") {
///             Some("Bearer of-the-admin") => Ok(Admin),
///             _ => Err(Rejection::unauthorized("Bearer")),
///         })
///         .ws("/log", |route| route.open(async |ws| { ws.subscribe("log"); }))
/// });
/// # let _ = app;
/// ```
#[must_use = "a group is added by returning it from the closure of `App::group`"]
pub struct Group<D = ()>(pub(super) Scope<D>);

impl<D: Clone + Send + Sync + 'static> Group<D> {
    /// Does what [`App::decorate`](super::App::decorate) does, for the routes that are added to
    /// this group afterwards.
    pub fn decorate<T: Send + Sync + 'static>(self, value: T) -> Group<With<T, D>> {
        Group(self.0.decorate(value))
    }

    /// Does what [`App::derive`](super::App::derive) does, for the routes that are added to this
    /// group afterwards.
    pub fn derive<T, F, Fut>(self, derive: F) -> Group<With<T, D>>
    where
        T: Send + Sync + 'static,
        F: Fn(Context<D>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Rejection>> + Send,
    {
        Group(self.0.derive(derive))
    }

    /// Does what [`App::guard`](super::App::guard) does, for the routes that are added to this
    /// group afterwards.
    pub fn guard<F, Fut>(self, guard: F) -> Self
    where
        F: Fn(Context<D>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Rejection>> + Send,
    {
        Group(self.0.guard(guard))
    }

    /// Adds a WebSocket route under the group's prefix. See [`App::ws`](super::App::ws).
    pub fn ws<E: Endpoint<D>>(
        self,
        path: &str,
        route: impl FnOnce(Route<D>) -> Route<D, E>,
    ) -> Self {
        Group(self.0.ws(path, route(Route::new())))
    }

    /// Adds a group inside this one. Its prefix is appended to this group's, and it starts with
    /// this group's context and options.
    pub fn group<D2>(self, prefix: &str, group: impl FnOnce(Group<D>) -> Group<D2>) -> Self {
        let inner = group(Group(self.0.inner(prefix)));
        Group(self.0.add(inner.0))
    }

    /// Applies a function to this group. See [`App::plugin`](super::App::plugin).
    pub fn plugin<D2>(self, plugin: impl FnOnce(Group<D>) -> Group<D2>) -> Group<D2> {
        plugin(self)
    }

    /// Sets options for all routes of this group, whether added before or afterwards. An option
    /// that a route or an inner group sets itself takes precedence.
    pub fn options(self, options: Options) -> Self {
        Group(self.0.options(options))
    }

    /// Puts `prefix` before every name of a topic that handlers in this group use, whether their
    /// routes were added before or afterwards. The prefixes of inner groups and of routes follow it,
    /// as their paths do. Default: none, and a second call replaces the first. See
    /// [`Route::topics`].
    ///
    /// ```
    /// # use axeom_ws_core as axeom_ws;
    /// use axeom_ws::App;
    ///
    /// let app = App::new().group("/shop", |group| {
    ///     group
    ///         .topics("shop/")
    ///         // The topic `shop/prices`.
    ///         .ws("/prices", |route| route.open(async |ws| { ws.subscribe("prices"); }))
    ///         // The topic `shop/chat/lobby`.
    ///         .ws("/chat", |route| {
    ///             route.topics("chat/").open(async |ws| { ws.subscribe("lobby"); })
    ///         })
    /// });
    /// assert_eq!(app.handle().subscriber_count("shop/chat/lobby"), 0);
    /// ```
    pub fn topics(self, prefix: impl Into<String>) -> Self {
        Group(self.0.topics(prefix.into()))
    }
}

impl<D> fmt::Debug for Group<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("routes", &self.0.paths())
            .field("options", self.0.own_options())
            .finish_non_exhaustive()
    }
}
