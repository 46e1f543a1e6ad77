use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use crate::{error::BoxError, handshake::Refusal};

/// The HTTP response with which a derive or guard rejects a handshake, or
/// [`App::before`](crate::App::before) any request.
///
/// `?` converts any error to a rejection: the client gets a 500 without details, or what
/// [`App::map_error`](crate::App::map_error) makes of the error, and the server logs it.
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
    /// Creates a plain text response. An empty `text` is replaced by the status's reason phrase.
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

    /// 400: the request is wrong. `text` should say what to change.
    pub fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// 401: the client must authenticate, according to a `WWW-Authenticate` challenge such as
    /// `Bearer` (RFC 9110 §11.6.1). A challenge that is no valid header value makes this a 500.
    pub fn unauthorized(challenge: &str) -> Self {
        let rejection = Self::new(StatusCode::UNAUTHORIZED, "authentication is required");
        match HeaderValue::from_str(challenge) {
            Ok(challenge) => rejection.with_header(header::WWW_AUTHENTICATE, challenge),
            Err(error) => error.into(),
        }
    }

    /// 403: the client is not allowed, and authenticating would not help.
    pub fn forbidden(text: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    /// 404: the resource that the request names does not exist.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// 429: the client has sent too many requests. `Retry-After` is in seconds, rounded up.
    pub fn too_many_requests(retry_after: Duration) -> Self {
        let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too many requests; try again later")
            .with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Rejects with any response. A server adds `Content-Length`, `Connection: close` and, if there
    /// is none, `Date` when it sends the response.
    pub fn from_response(response: Response<impl Into<Bytes>>) -> Self {
        Self { response: Box::new(response.map(Into::into)), source: None }
    }

    /// Adds a header to the response.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.response.headers_mut().append(name, value);
        self
    }

    /// The response.
    pub fn response(&self) -> &Response<Bytes> {
        &self.response
    }

    /// The error that the rejection was converted from, if any.
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
