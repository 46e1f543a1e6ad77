use std::future::Future;

use serde::Serialize;
use thiserror::Error;

use super::ws::Ws;
use crate::error::Closed;

/// Why a value was not sent as JSON.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendJsonError {
    /// The value has no representation in JSON, such as a map whose keys are not strings.
    #[error("the value cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The connection is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
}

impl<D> Ws<D> {
    /// Queues a value as a text message in JSON, waiting as [`send`](Self::send) does. Needs the
    /// feature `json`.
    ///
    /// Cancel safe: a future that is dropped before it completes has queued nothing.
    ///
    /// # Errors
    /// The value has no representation in JSON, or the connection is closed or closes while this
    /// waits.
    pub fn send_json<'a, T: Serialize + ?Sized>(
        &'a self,
        value: &T,
    ) -> impl Future<Output = Result<(), SendJsonError>> + use<'a, D, T> {
        // Serialized before the future is returned, so that it does not borrow the value.
        let text = serde_json::to_string(value);
        async move { Ok(self.send(text?).await?) }
    }
}
