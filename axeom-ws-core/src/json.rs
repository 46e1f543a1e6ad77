use std::future::Future;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Closed, Message, Ws};

/// A message that is not the JSON a program expects.
///
/// ```
/// use axeom_ws_core::Message;
///
/// #[derive(serde::Deserialize, Debug)]
/// struct Move { to: (u8, u8) }
///
/// let error = Message::from(r#"{"to": [1, "b"]}"#).json::<Move>().unwrap_err();
/// assert_eq!(error.path(), "to[1]");
/// ```
#[derive(Debug, Error)]
#[error("not the expected JSON at {path}: {source}")]
pub struct JsonError {
    path: String,
    source: serde_json::Error,
}

impl JsonError {
    /// Which field is wrong, such as `user.roles[2]`; `.` for the whole message.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong with it.
    pub fn cause(&self) -> &serde_json::Error {
        &self.source
    }
}

/// Why a value was not sent as JSON.
#[derive(Debug, Error)]
pub enum SendJsonError {
    /// The value cannot be JSON, such as a map whose keys are not strings.
    #[error("the value cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The connection is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
}

impl Message {
    /// The message as JSON, be it text or binary. Needs the feature `json`.
    ///
    /// # Errors
    /// It is not JSON, or not of this type; the error names the field.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, JsonError> {
        let mut json = serde_json::Deserializer::from_slice(self.as_bytes());
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            JsonError { path, source: error.into_inner() }
        })?;
        // Nothing may follow the value.
        json.end().map_err(|source| JsonError { path: ".".to_owned(), source })?;
        Ok(value)
    }
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
