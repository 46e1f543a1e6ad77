use std::{borrow::Cow, fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use super::{
    layers::FoundIn,
    request::{self, Params},
    response_head,
};
use crate::{
    runtime::Peer,
    sync::{Mutex, lock},
};

/// A handshake in progress, as derives and guards see it: the request, the values of the
/// context so far, and the headers to add to the 101 response. [`App::before`](crate::App::before)
/// sees requests that may be no handshakes.
///
/// It is cheap to clone.
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

/// The part of a [`Context`] that all derives of one handshake share.
pub(super) struct Handshake {
    pub(super) request: Request<()>,
    pub(super) params: Params,
    pub(super) peer: Peer,
    response_headers: Mutex<HeaderMap>,
}

impl Handshake {
    pub(super) fn new(request: Request<()>, peer: Peer) -> Self {
        Self { request, params: Params::default(), peer, response_headers: Mutex::default() }
    }

    /// Takes back what a context had. If the program has kept one, it is copied.
    pub(super) fn reclaim(shared: Arc<Self>) -> Self {
        Arc::try_unwrap(shared).unwrap_or_else(|kept| Self {
            request: kept.request.clone(),
            params: kept.params.clone(),
            peer: kept.peer,
            response_headers: Mutex::new(lock(&kept.response_headers).clone()),
        })
    }

    pub(super) fn take_response_headers(&self) -> HeaderMap {
        std::mem::take(&mut *lock(&self.response_headers))
    }
}

impl<D> Context<D> {
    pub(super) fn new(handshake: Arc<Handshake>, data: D) -> Self {
        Self { handshake, data }
    }

    /// The values of the context so far. The context derefs to the newest of them.
    pub fn data(&self) -> &D {
        &self.data
    }

    /// The value of type `T`: `let db: &Db = ctx.get();`.
    pub fn get<T, Index>(&self) -> &T
    where
        T: FoundIn<D, Index>,
    {
        T::found_in(&self.data)
    }

    /// The first value of a request header, whose name may be in any case. `None` if the header is
    /// missing or its value is not UTF-8.
    ///
    /// A header may be repeated, and the client decides what comes first. A proxy that appends its
    /// own `X-Forwarded-For` is to be believed in the last value alone:
    /// [`headers`](Self::headers) has them all. `Host` and `Origin` have one value, because a
    /// request that repeats them is refused, and `Host` is that of an absolute request target, if
    /// the request has one (RFC 9112 §3.2.2).
    pub fn header(&self, name: &str) -> Option<&str> {
        request::header(self.header_map(), name)
    }

    /// The values of all headers with this name, in the order they came in. The name may be in any
    /// case, and values that are not UTF-8 are left out. A value may be a list with commas, as if
    /// its items had come in several headers (RFC 9110 §5.3).
    ///
    /// ```
    /// # use axeom_ws_core as axeom_ws;
    /// use axeom_ws::Context;
    ///
    /// /// What the proxy in front of the server appended.
    /// fn client(ctx: &Context) -> Option<&str> {
    ///     let last = ctx.headers("x-forwarded-for").last()?;
    ///     last.rsplit(',').next().map(str::trim)
    /// }
    /// # let _ = client;
    /// ```
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        request::headers(self.header_map(), name)
    }

    /// The headers of the request.
    pub fn header_map(&self) -> &HeaderMap {
        self.handshake.request.headers()
    }

    /// The value of the first cookie with this name (RFC 6265 §5.4). `None` if the cookie is
    /// missing or its value is not UTF-8.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let cookies = self.header_map().get_all(http::header::COOKIE).iter();
        request::cookie(cookies.map(HeaderValue::as_bytes), name)
    }

    /// The method of the request: GET for a handshake, or CONNECT over HTTP/2 (RFC 8441 §4). In
    /// [`App::before`](crate::App::before) it may be any.
    pub fn method(&self) -> &Method {
        self.handshake.request.method()
    }

    /// The version of HTTP that the request came over: HTTP/1.1, or HTTP/2 in an app that is mounted
    /// in another HTTP server.
    pub fn version(&self) -> Version {
        self.handshake.request.version()
    }

    /// The URI of the request. Over HTTP/2 it has a scheme and an authority.
    pub fn uri(&self) -> Uri {
        self.handshake.request.uri().clone()
    }

    /// The percent-decoded value of a parameter in the route's path. The name `*` gives the tail
    /// that a `*` segment matched, which may be empty.
    ///
    /// A name that the route does not have gives an empty string, and is logged as an error. In
    /// [`App::before`](crate::App::before) there is no route yet, and no parameter.
    pub fn param(&self, name: &str) -> &str {
        self.handshake.params.get(name)
    }

    /// The names and values of the parameters in the route's path, in the order of the path.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.handshake.params.iter()
    }

    /// The first value of a query parameter, form-decoded. `None` if the parameter is missing or
    /// its value is not UTF-8.
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        request::query(self.handshake.request.uri().query()?, name)
    }

    /// The client's address, as far as the transport knows it.
    pub fn peer(&self) -> Peer {
        self.handshake.peer
    }

    /// A value that whoever parsed the request has put into its extensions: a middleware of another
    /// HTTP server, or what ran between accepting the connection and its request, such as TLS. The
    /// handlers see it too, with [`Ws::extension`](crate::Ws::extension).
    ///
    /// ```
    /// # use axeom_ws_core as axeom_ws;
    /// use axeom_ws::{App, Rejection};
    ///
    /// /// What an authenticating middleware inserts.
    /// #[derive(Clone)]
    /// struct User(String);
    ///
    /// let app = App::new().derive(async |ctx| {
    ///     ctx.extension::<User>().cloned().ok_or(Rejection::unauthorized("Bearer"))
    /// });
    /// # let _ = app;
    /// ```
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.handshake.request.extensions().get()
    }

    /// Adds a header to the 101 response, such as `Set-Cookie`. Headers that belong to the
    /// handshake are ignored: `Connection`, `Upgrade`, `Sec-WebSocket-*`, `Content-Length` and
    /// `Transfer-Encoding`. For all responses there is
    /// [`App::on_response`](crate::App::on_response).
    pub fn append_response_header(&self, name: HeaderName, value: HeaderValue) {
        if response_head::may_add(&name) {
            lock(&self.handshake.response_headers).append(name, value);
        }
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
