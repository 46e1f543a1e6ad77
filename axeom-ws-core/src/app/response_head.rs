use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// The status and headers of a response, as [`App::on_response`](crate::App::on_response) sees
/// them.
///
/// Headers that belong to the handshake cannot be added, and an attempt is logged: `Connection`,
/// `Upgrade`, `Sec-WebSocket-*`, `Content-Length` and `Transfer-Encoding`.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{
///     ResponseHead,
///     http::{HeaderValue, header},
/// };
///
/// fn tell_no_cache(response: &mut ResponseHead<'_>) {
///     if !response.headers().contains_key(header::CACHE_CONTROL) {
///         response.append(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
///     }
/// }
///
/// let app = axeom_ws::App::new().on_response(tell_no_cache);
/// # let _ = app;
/// ```
#[derive(Debug)]
pub struct ResponseHead<'a> {
    status: StatusCode,
    headers: &'a mut HeaderMap,
}

impl<'a> ResponseHead<'a> {
    pub(super) fn new(status: StatusCode, headers: &'a mut HeaderMap) -> Self {
        Self { status, headers }
    }

    /// The status: 101 for an accepted handshake, or 200 over HTTP/2 (RFC 8441 §5).
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers so far. When the response is sent, `Date`, `Content-Length` and
    /// `Connection: close` are added as it needs them.
    pub fn headers(&self) -> &HeaderMap {
        self.headers
    }

    /// Adds a header beside those with the same name, such as another `Set-Cookie`.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        if may_add(&name) {
            self.headers.append(name, value);
        }
    }

    /// Sets a header in place of those with the same name.
    pub fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        if may_add(&name) {
            self.headers.insert(name, value);
        }
    }
}

/// Whether a program may add a header with this name to a response. Others belong to the handshake,
/// or say where the body ends.
pub(super) fn may_add(name: &HeaderName) -> bool {
    let belongs_to_handshake = name.as_str().starts_with("sec-websocket-")
        || matches!(
            *name,
            header::CONNECTION
                | header::UPGRADE
                | header::CONTENT_LENGTH
                | header::TRANSFER_ENCODING
        );
    if belongs_to_handshake {
        tracing::warn!(%name, "this response header belongs to the handshake; it is ignored");
    }
    !belongs_to_handshake
}
