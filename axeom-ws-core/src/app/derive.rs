//! Builds the context of a connection from its handshake, one layer per decorate, derive or
//! guard.

use std::{future::Future, marker::PhantomData, sync::Arc};

use futures::future::BoxFuture;

use super::{
    context::{Context, Handshake},
    layers::With,
    rejection::Rejection,
};
use crate::contained::Contained;

pub(super) trait BuildContext<D>: Send + Sync {
    fn build<'a>(&'a self, handshake: &'a Arc<Handshake>) -> BoxFuture<'a, Result<D, Rejection>>;
}

pub(super) struct NoContext;

impl BuildContext<()> for NoContext {
    fn build<'a>(&'a self, _: &'a Arc<Handshake>) -> BoxFuture<'a, Result<(), Rejection>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

pub(super) struct Decorated<T, D> {
    pub(super) before: Arc<dyn BuildContext<D>>,
    pub(super) value: Arc<Contained<T>>,
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

pub(super) struct Derived<T, D, F> {
    pub(super) before: Arc<dyn BuildContext<D>>,
    pub(super) derive: F,
    pub(super) result: PhantomData<fn() -> T>,
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
            Ok(With::new(Arc::new(Contained::new(value)), before))
        })
    }
}

pub(super) struct Guarded<D, F> {
    pub(super) before: Arc<dyn BuildContext<D>>,
    pub(super) guard: F,
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
