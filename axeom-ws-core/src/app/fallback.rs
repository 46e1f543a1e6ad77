//! What answers requests that match no route.

use std::{panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{Method, Request, Response};

use crate::{
    contained::caught,
    handshake::{self, Refusal},
};

pub(super) type Fallback =
    Arc<dyn Fn(Request<()>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync>;

/// Answers a request with the fallback of its app, if that has one and it is for such requests.
pub(super) async fn fall_back(
    fallback: Option<&Fallback>,
    request: Request<()>,
) -> Response<Bytes> {
    let plain = !handshake::is_upgrade(&request);
    let Some(fallback) = fallback.filter(|_| plain) else {
        return Refusal::NotFound.into_response();
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Refusal::FallbackMethod.into_response();
    }
    if let Err(refusal) = handshake::check_no_body(request.headers()) {
        return refusal.into_response();
    }
    let answered = AssertUnwindSafe(async { fallback(request).await }).catch_unwind().await;
    answered.unwrap_or_else(|panic| {
        let panic = caught(panic);
        tracing::error!(panic, "the fallback panicked");
        Refusal::Failed.into_response()
    })
}
