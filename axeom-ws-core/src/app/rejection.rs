use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use crate::{error::BoxError, handshake::Refusal};

/// A handshake turned down by a derive or guard: a whole HTTP response.
///
/// Any error converts into one with `?`: the client sees 500 without detail, and the server
/// logs the error when it sends that.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::Rejection;
///
/// let rejection = Rejection::unauthorized("Bearer");
/// assert_eq!(rejection.response().status(), 401);
/// assert_eq!(rejection.response().headers()["www-authenticate"], "Bearer");
/// ```
pub struct Rejection {
    response: Box<Response<Bytes>>,
    source: Option<BoxError>,
}

impl Rejection {
    /// A plain text answer. An empty `text` is replaced by what the status means.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.is_empty() {
            text.push_str(status.canonical_reason().unwrap_or("rejected"));
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let mut response = Response::new(Bytes::from(text));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        Self { response: Box::new(response), source: None }
    }

    /// 400: the request is wrong; `text` says what to change.
    pub fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// 401, with this `WWW-Authenticate` challenge, such as `Bearer`.
    pub fn unauthorized(challenge: &str) -> Self {
        let rejection = Self::new(StatusCode::UNAUTHORIZED, "authentication is required");
        match HeaderValue::from_str(challenge) {
            Ok(challenge) => rejection.with_header(header::WWW_AUTHENTICATE, challenge),
            Err(error) => error.into(),
        }
    }

    /// 403: not for this client, whoever it says it is.
    pub fn forbidden(text: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    /// 404: what the request names does not exist.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// 429, with `Retry-After` in whole seconds, rounded up.
    pub fn too_many_requests(retry_after: Duration) -> Self {
        let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too many requests; try again later")
            .with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Any response. `Content-Length` and `Connection: close` are added when it is
    /// sent.
    pub fn from_response(response: Response<impl Into<Bytes>>) -> Self {
        Self { response: Box::new(response.map(Into::into)), source: None }
    }

    /// The same with one more header.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.response.headers_mut().append(name, value);
        self
    }

    /// The response.
    pub fn response(&self) -> &Response<Bytes> {
        &self.response
    }

    /// The error it was made from, if it was.
    pub fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }

    /// The response.
    pub fn into_response(self) -> Response<Bytes> {
        *self.response
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Rejection {
    fn from(error: E) -> Self {
        let response = Box::new(Refusal::Failed.into_response());
        Self { response, source: Some(Box::new(error)) }
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("status", &self.response.status())
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}
