use std::{borrow::Cow, fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};

use super::{
    layers::FoundIn,
    request::{self, Params},
};
use crate::{
    runtime::Peer,
    sync::{Mutex, lock},
};

/// A handshake under way, as a derive or guard sees it: the request, the values
/// derived so far, and the headers that will go out with the 101.
///
/// Cheap to clone.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, Context, Rejection};
///
/// async fn language(ctx: Context) -> Result<String, Rejection> {
///     let asked = ctx.query("lang").or(ctx.cookie("lang").map(Into::into));
///     Ok(asked.unwrap_or("en".into()).into_owned())
/// }
///
/// let app = App::new().derive(language);
/// # let _ = app;
/// ```
pub struct Context<D = ()> {
    handshake: Arc<Handshake>,
    data: D,
}

/// What all derives of one handshake share.
pub(super) struct Handshake {
    pub(super) request: Request<()>,
    pub(super) params: Params,
    pub(super) peer: Peer,
    response_headers: Mutex<HeaderMap>,
}

impl Handshake {
    pub(super) fn new(request: Request<()>, params: Params, peer: Peer) -> Self {
        Self { request, params, peer, response_headers: Mutex::default() }
    }

    pub(super) fn take_response_headers(&self) -> HeaderMap {
        std::mem::take(&mut *lock(&self.response_headers))
    }
}

impl<D> Context<D> {
    pub(super) fn new(handshake: Arc<Handshake>, data: D) -> Self {
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

    /// The first cookie of this name that the client sent (RFC 6265 §5.4); `None` if it is
    /// missing or not text.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let cookies = self.headers().get_all(http::header::COOKIE).iter();
        request::cookie(cookies.map(HeaderValue::as_bytes), name)
    }

    /// The request's URI.
    pub fn uri(&self) -> Uri {
        self.handshake.request.uri().clone()
    }

    /// A parameter of the route's path, decoded. The tail that a `*` matched has the name
    /// `*`. Every parameter of the route has a value, if only an empty one for the tail; a
    /// name that the route does not have gives an empty text too, and is logged as an error.
    pub fn param(&self, name: &str) -> &str {
        self.handshake.params.get(name)
    }

    /// The parameters of the route's path, by name, in the order of the path.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.handshake.params.iter()
    }

    /// The first value of a query parameter, decoded; `None` if it is missing or not text.
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        request::query(self.handshake.request.uri().query()?, name)
    }

    /// Who is on the other end.
    pub fn peer(&self) -> Peer {
        self.handshake.peer
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
        lock(&self.handshake.response_headers).append(name, value);
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
            .field("uri", self.handshake.request.uri())
            .field("peer", &self.peer())
            .finish_non_exhaustive()
    }
}
