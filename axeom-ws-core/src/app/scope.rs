use std::{future::Future, marker::PhantomData, sync::Arc};

use super::{
    context::Context,
    derive::{BuildContext, Decorated, Derived, Guarded, NoContext},
    layers::With,
    prepare::ContextAndEndpoint,
    rejection::Rejection,
    route::{Endpoint, Route, Terms},
    service::DeclaredRoute,
};
use crate::{contained::Contained, options::Options};

/// What an app and a group have in common: the routes under a prefix, the context of routes that
/// are added next, and the default options of the routes.
pub(super) struct Scope<D> {
    context: Arc<dyn BuildContext<D>>,
    prefix: String,
    routes: Vec<DeclaredRoute>,
    options: Options,
    topics: String,
}

impl Scope<()> {
    pub(super) fn new() -> Self {
        Self {
            context: Arc::new(NoContext),
            prefix: String::new(),
            routes: Vec::new(),
            options: Options::new(),
            topics: String::new(),
        }
    }
}

impl<D: Clone + Send + Sync + 'static> Scope<D> {
    pub(super) fn decorate<T: Send + Sync + 'static>(self, value: T) -> Scope<With<T, D>> {
        let before = Arc::clone(&self.context);
        self.with_context(Arc::new(Decorated { before, value: Arc::new(Contained::new(value)) }))
    }

    pub(super) fn derive<T, F, Fut>(self, derive: F) -> Scope<With<T, D>>
    where
        T: Send + Sync + 'static,
        F: Fn(Context<D>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Rejection>> + Send,
    {
        let before = Arc::clone(&self.context);
        self.with_context(Arc::new(Derived { before, derive, result: PhantomData }))
    }

    pub(super) fn guard<F, Fut>(self, guard: F) -> Self
    where
        F: Fn(Context<D>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Rejection>> + Send,
    {
        let before = Arc::clone(&self.context);
        self.with_context(Arc::new(Guarded { before, guard }))
    }

    pub(super) fn ws<E: Endpoint<D>>(mut self, path: &str, route: Route<D, E>) -> Self {
        let Route { endpoint, terms: Terms { options, topics, protocols }, .. } = route;
        let listed = protocols.listed().to_vec();
        let context = Arc::clone(&self.context);
        self.routes.push(DeclaredRoute {
            path: join(&self.prefix, path),
            options,
            topics,
            protocols: listed,
            endpoint: Arc::new(ContextAndEndpoint::new(context, protocols, endpoint)),
        });
        self
    }

    /// Creates an empty scope inside this one, with a longer prefix.
    pub(super) fn inner(&self, prefix: &str) -> Self {
        Self {
            context: Arc::clone(&self.context),
            prefix: join(&self.prefix, prefix).trim_end_matches('/').to_owned(),
            routes: Vec::new(),
            options: Options::new(),
            topics: String::new(),
        }
    }

    /// Adds the routes of an inner scope.
    pub(super) fn add<D2>(mut self, inner: Scope<D2>) -> Self {
        self.routes.extend(inner.into_routes());
        self
    }

    pub(super) fn options(mut self, options: Options) -> Self {
        self.options = options.or(&self.options);
        self
    }

    pub(super) fn topics(mut self, prefix: String) -> Self {
        self.topics = prefix;
        self
    }

    fn with_context<D2>(self, context: Arc<dyn BuildContext<D2>>) -> Scope<D2> {
        let Self { prefix, routes, options, topics, .. } = self;
        Scope { context, prefix, routes, options, topics }
    }
}

impl<D> Scope<D> {
    /// The routes, with this scope's options as their defaults and its topics around theirs.
    pub(super) fn into_routes(self) -> impl Iterator<Item = DeclaredRoute> {
        let Self { routes, options, topics, .. } = self;
        routes.into_iter().map(move |route| route.inside(&options, &topics))
    }

    pub(super) fn paths(&self) -> Vec<&str> {
        self.routes.iter().map(|route| &*route.path).collect()
    }

    pub(super) fn own_options(&self) -> &Options {
        &self.options
    }
}

fn join(prefix: &str, path: &str) -> String {
    match (prefix, path) {
        ("", path) => path.to_owned(),
        (prefix, "/" | "") => prefix.to_owned(),
        (prefix, path) => format!("{prefix}{path}"),
    }
}
