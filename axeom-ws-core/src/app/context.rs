use std::{
    borrow::Cow,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};

use super::{
    layers::FoundIn,
    request::{self, Params},
};

/// A handshake under way, as a derive or guard sees it: the request, the values
/// derived so far, and the headers that will go out with the 101.
///
/// Cheap to clone.
pub struct Context<D = ()> {
    handshake: Arc<Handshake>,
    data: D,
}

/// What all derives of one handshake share.
pub(crate) struct Handshake {
    pub(crate) request: Request<()>,
    pub(crate) params: Params,
    pub(crate) remote_addr: SocketAddr,
    response_headers: Mutex<HeaderMap>,
}

impl Handshake {
    pub(crate) fn new(request: Request<()>, params: Params, remote_addr: SocketAddr) -> Self {
        Self { request, params, remote_addr, response_headers: Mutex::default() }
    }

    pub(crate) fn take_response_headers(&self) -> HeaderMap {
        let mut headers = self.response_headers.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *headers)
    }
}

impl<D> Context<D> {
    pub(crate) fn new(handshake: Arc<Handshake>, data: D) -> Self {
        Self { handshake, data }
    }

    /// All values so far; derefs to the newest.
    pub fn data(&self) -> &D {
        &self.data
    }

    /// A value by its type: `let db: &Db = ctx.get();`.
    pub fn get<T, Index>(&self) -> &T
    where
        T: FoundIn<D, Index>,
    {
        T::found_in(&self.data)
    }

    /// The first value of a request header, in any case; `None` if it is missing or
    /// not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        request::header(self.headers(), name)
    }

    /// All request headers.
    pub fn headers(&self) -> &HeaderMap {
        self.handshake.request.headers()
    }

    /// The first cookie of this name that the client sent (RFC 6265 §5.4).
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.headers()
            .get_all(http::header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The request's URI.
    pub fn uri(&self) -> &Uri {
        self.handshake.request.uri()
    }

    /// A parameter of the route's path, decoded; empty if the route has none of this
    /// name. The tail that a `*` matched has the name `*`.
    pub fn param(&self, name: &str) -> &str {
        self.handshake.params.get(name)
    }

    /// The first value of a query parameter, decoded.
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        let query = self.uri().query()?;
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The client's address.
    pub fn remote_addr(&self) -> SocketAddr {
        self.handshake.remote_addr
    }

    /// Adds a header to the 101 response, such as `Set-Cookie`. A header of the
    /// handshake itself (`Connection`, `Upgrade`, `Sec-WebSocket-*`, and those that
    /// frame a body) is ignored.
    pub fn append_response_header(&self, name: HeaderName, value: HeaderValue) {
        let handshake_header = name.as_str().starts_with("sec-websocket-")
            || matches!(
                name,
                http::header::CONNECTION
                    | http::header::UPGRADE
                    | http::header::CONTENT_LENGTH
                    | http::header::TRANSFER_ENCODING
            );
        if handshake_header {
            tracing::warn!(%name, "this response header belongs to the handshake; it is ignored");
            return;
        }
        let mut headers =
            self.handshake.response_headers.lock().unwrap_or_else(PoisonError::into_inner);
        headers.append(name, value);
    }
}

impl<D: Clone> Clone for Context<D> {
    fn clone(&self) -> Self {
        Self { handshake: Arc::clone(&self.handshake), data: self.data.clone() }
    }
}

impl<D> fmt::Debug for Context<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("uri", self.uri())
            .field("remote_addr", &self.remote_addr())
            .finish_non_exhaustive()
    }
}
