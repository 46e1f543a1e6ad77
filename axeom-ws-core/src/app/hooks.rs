//! What an app does with all its requests, responses and errors, whichever routes they belong to.

use std::{
    error::Error,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::Response;

use super::{
    context::{Context, Handshake},
    rejection::Rejection,
    response_head::ResponseHead,
};
use crate::{contained::caught, handshake::Refusal};

type Before = Box<dyn Fn(Context) -> BoxFuture<'static, Result<(), Rejection>> + Send + Sync>;
type OnResponse = Box<dyn Fn(&mut ResponseHead<'_>) + Send + Sync>;
type MapError = Box<dyn Fn(&(dyn Error + 'static)) -> Rejection + Send + Sync>;

#[derive(Default)]
pub(super) struct Hooks {
    before: Vec<Before>,
    on_response: Vec<OnResponse>,
    map_error: Option<MapError>,
}

impl Hooks {
    pub(super) fn add_before<F, Fut>(&mut self, before: F)
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Rejection>> + Send + 'static,
    {
        self.before.push(Box::new(move |context| Box::pin(before(context))));
    }

    pub(super) fn add_on_response(
        &mut self,
        on_response: impl Fn(&mut ResponseHead<'_>) + Send + Sync + 'static,
    ) {
        self.on_response.push(Box::new(on_response));
    }

    pub(super) fn set_map_error(
        &mut self,
        map_error: impl Fn(&(dyn Error + 'static)) -> Rejection + Send + Sync + 'static,
    ) {
        self.map_error = Some(Box::new(map_error));
    }

    pub(super) fn has_before(&self) -> bool {
        !self.before.is_empty()
    }

    /// Asks each `before` in order, until one rejects.
    pub(super) async fn before(&self, handshake: &Arc<Handshake>) -> Result<(), Response<Bytes>> {
        let asking = async {
            for before in &self.before {
                before(Context::new(Arc::clone(handshake), ())).await?;
            }
            Ok(())
        };
        match AssertUnwindSafe(asking).catch_unwind().await {
            Ok(decided) => decided.map_err(|rejection| self.reject(rejection, handshake)),
            Err(panic) => {
                let panic = caught(panic);
                let path = handshake.request.uri().path();
                tracing::error!(path, panic, "`before` panicked");
                Err(Refusal::Failed.into_response())
            }
        }
    }

    /// The response to a rejected request.
    pub(super) fn reject(&self, rejection: Rejection, handshake: &Handshake) -> Response<Bytes> {
        let Some(error) = rejection.source() else { return rejection.into_response() };
        let path = handshake.request.uri().path();
        tracing::error!(error, path, "`before`, a derive or a guard failed");
        let Some(map_error) = &self.map_error else { return rejection.into_response() };
        match catch_unwind(AssertUnwindSafe(|| map_error(error))) {
            Ok(mapped) => mapped.into_response(),
            Err(panic) => {
                let panic = caught(panic);
                tracing::error!(path, panic, "`map_error` panicked");
                Refusal::Failed.into_response()
            }
        }
    }

    /// Shows a response to each `on_response` in order.
    pub(super) fn on_response<B>(&self, response: &mut Response<B>) {
        let status = response.status();
        for on_response in &self.on_response {
            let mut head = ResponseHead::new(status, response.headers_mut());
            let seen = catch_unwind(AssertUnwindSafe(|| on_response(&mut head)));
            if let Err(panic) = seen {
                let panic = caught(panic);
                tracing::error!(%status, panic, "`on_response` panicked");
            }
        }
    }
}
