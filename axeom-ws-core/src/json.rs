use serde::Deserialize;
use thiserror::Error;

use crate::message::Message;

/// A message that is not the JSON a program expects.
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
    /// Which field is wrong, such as `user.roles[2]`; `.` for the whole message.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong with it.
    pub fn cause(&self) -> &serde_json::Error {
        &self.source
    }
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
