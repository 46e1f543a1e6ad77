use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Response, StatusCode};

use super::{request::RequestInfo, route::sealed::Connection};
use crate::{
    compression::DeflateParams,
    connection::{Driver, Input},
    hub::{Member, Registration},
    runtime::{BoxTransport, Clock, Runtime, Timer, Transport},
};

/// What a [`Service`](crate::Service) makes of a request.
#[derive(Debug)]
#[non_exhaustive]
pub enum Answer {
    /// The handshake is accepted: send [`Accepted::response`], then hand the connection to
    /// [`Accepted::run`].
    Upgrade(Accepted),
    /// No connection comes of it. Send this whole, with `Connection: close`: a refusal, a
    /// [`Rejection`](crate::Rejection), or what the app's fallback answers.
    Response(Response<Bytes>),
}

impl Answer {
    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Upgrade(accepted) => accepted.response().status(),
            Self::Response(response) => response.status(),
        }
    }
}

/// An accepted handshake: the response to send, and the connection to run after it.
///
/// It counts as a connection of the app until it is dropped.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{Answer, Bytes, Peer, Service, http};
///
/// /// The response, and whether there is a connection to run once it was sent.
/// async fn respond(service: &Service, request: http::Request<()>) -> http::Response<Bytes> {
///     match service.respond(request, Peer::Memory).await {
///         Answer::Upgrade(accepted) => accepted.response().clone().map(|()| Bytes::new()),
///         Answer::Response(response) => response,
///         _ => unreachable!("there is nothing else yet"),
///     }
/// }
/// ```
pub struct Accepted(Box<Parts>);

/// In a box, for it is handed on a few times before the connection runs.
struct Parts {
    response: Response<()>,
    registration: Registration,
    deflate: Option<DeflateParams>,
    route: Arc<str>,
    info: RequestInfo,
    start: StartConnection,
}

/// Runs a connection whose context is built. The one box per connection: behind it,
/// the types of context and handlers are known again.
pub(super) type StartConnection =
    Box<dyn FnOnce(Connection, RequestInfo) -> BoxFuture<'static, ()> + Send + Sync>;

impl Accepted {
    pub(super) fn new(
        response: Response<()>,
        registration: Registration,
        deflate: Option<DeflateParams>,
        route: Arc<str>,
        info: RequestInfo,
        start: StartConnection,
    ) -> Self {
        Self(Box::new(Parts { response, registration, deflate, route, info, start }))
    }

    /// The 101 response, with the headers that derives added.
    pub fn response(&self) -> &Response<()> {
        &self.0.response
    }

    /// Runs the connection over a transport on which the response was sent, to its end.
    /// `read_ahead` are bytes that were read past the request head; they are the first
    /// of the connection.
    ///
    /// Dropping the future cuts the connection; `close` does not run then.
    pub async fn run<R: Runtime>(self, runtime: R, transport: impl Transport, read_ahead: &[u8]) {
        let read_ahead = Input::new(read_ahead);
        let timer = Timer::own(Clock::new(runtime));
        self.start(timer, Box::new(transport), read_ahead).await;
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        self.0.registration.member()
    }

    pub(crate) fn start(
        self,
        timer: Timer<Member>,
        transport: BoxTransport,
        read_ahead: Input,
    ) -> BoxFuture<'static, ()> {
        let Parts { registration, deflate, route, info, start, .. } = *self.0;
        let span = tracing::debug_span!(
            "connection",
            id = %registration.id(),
            route = &*route,
            peer = %info.peer(),
        );
        let driver = Driver::new(transport, read_ahead, registration, deflate, timer);
        start(Connection { driver, span }, info)
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("response", self.response()).finish_non_exhaustive()
    }
}
