use std::future::Future;

use serde::Serialize;
use thiserror::Error;

use super::ws::Ws;
use crate::error::Closed;

/// Why a value was not sent as JSON.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendJsonError {
    /// The value cannot be JSON, such as a map whose keys are not strings.
    #[error("the value cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The connection is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
}

impl<D> Ws<D> {
    /// Sends a value as JSON text, as [`send`](Self::send) does. Needs the feature `json`.
    ///
    /// # Errors
    /// The value cannot be JSON, or the connection is closed.
    pub fn send_json<'a, T: Serialize + ?Sized>(
        &'a self,
        value: &T,
    ) -> impl Future<Output = Result<(), SendJsonError>> + use<'a, D, T> {
        // Written before the first await, so that the value need not outlive it.
        let text = serde_json::to_string(value);
        async move { Ok(self.send(text?).await?) }
    }
}
