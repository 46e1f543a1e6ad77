use serde::Deserialize;
use thiserror::Error;

use crate::message::Message;

/// A message is not the JSON that was expected; see [`Message::json`].
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::Message;
///
/// #[derive(serde::Deserialize, Debug)]
/// struct Move { to: (u8, u8) }
///
/// let error = Message::from(r#"{"to": [1, "b"]}"#).json::<Move>().unwrap_err();
/// assert_eq!(error.path(), "to[1]");
/// ```
#[derive(Debug, Error)]
#[error("not the expected JSON at {path}")]
pub struct JsonError {
    path: String,
    source: serde_json::Error,
}

impl JsonError {
    /// The path of the field that is wrong, such as `user.roles[2]`. For the whole message, it is
    /// `.`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong with it.
    pub fn cause(&self) -> &serde_json::Error {
        &self.source
    }
}

impl Message {
    /// Deserializes a text or binary message from JSON. Needs the feature `json`.
    ///
    /// # Errors
    /// The message is not JSON, or does not match the type. The error has the path of the field.
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
