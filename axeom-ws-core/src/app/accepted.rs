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

/// What [`Service::respond`](crate::Service::respond) returns for a request.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// # futures::executor::block_on(async {
/// use axeom_ws::{Answer, App, Peer, http::Request};
///
/// let service = App::new().ws("/chat", |route| route).build()?;
/// let request = Request::get("/nowhere").header("host", "localhost").body(())?;
/// match service.respond(request, Peer::Memory).await {
///     Answer::Upgrade(accepted) => println!("send {:?}, then run it", accepted.response()),
///     Answer::Response(response) => assert_eq!(response.status(), 404),
///     _ => {}
/// }
/// # Ok::<(), axeom_ws::BoxError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Answer {
    /// The handshake is accepted. Send [`Accepted::response`], then call [`Accepted::run`].
    Upgrade(Accepted),
    /// The request does not become a WebSocket connection. Send this response with its body,
    /// adding `Connection: close`, and `Date` if it has none (RFC 9110 §6.6.1). It is a refusal of
    /// the handshake, a [`Rejection`](crate::Rejection), or the response of the app's fallback.
    Response(Response<Bytes>),
}

impl Answer {
    /// The status of the response to send: 101 for an accepted handshake, or 200 over HTTP/2.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Upgrade(accepted) => accepted.response().status(),
            Self::Response(response) => response.status(),
        }
    }
}

/// An accepted handshake: the response to send, and the connection to run after that.
///
/// It counts as a connection of the app until it is dropped.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{Accepted, Runtime, Transport, http::Response};
///
/// async fn upgrade<R: Runtime, T: Transport>(
///     accepted: Accepted,
///     runtime: R,
///     mut transport: T,
/// ) -> std::io::Result<()> {
///     send_head(&mut transport, accepted.response()).await?;
///     accepted.run(runtime, transport, &[]).await;
///     Ok(())
/// }
/// # async fn send_head<T: Transport>(_: &mut T, _: &Response<()>) -> std::io::Result<()> {
/// #     Ok(())
/// # }
/// ```
pub struct Accepted(Box<Parts>);

/// Boxed, because it is moved several times before the connection runs.
struct Parts {
    response: Response<()>,
    registration: Registration,
    deflate: Option<DeflateParams>,
    route: Arc<str>,
    info: RequestInfo,
    start: StartConnection,
}

/// Runs a connection whose context is built. This box restores the types of the context and
/// the handlers, which the router has erased.
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

    /// The 101 response (RFC 6455 §4.2.2), or 200 over HTTP/2 (RFC 8441 §5), with the headers that
    /// derives and [`App::on_response`](crate::App::on_response) added.
    pub fn response(&self) -> &Response<()> {
        &self.0.response
    }

    /// Runs the connection until it ends. The response must have been sent on `transport` before.
    ///
    /// `read_ahead` holds the bytes that were read past the request head, which are the first of
    /// the connection.
    ///
    /// Dropping the future cuts the connection, and its `close` handler does not run.
    pub async fn run<R: Runtime>(self, runtime: R, transport: impl Transport, read_ahead: &[u8]) {
        let read_ahead = Input::new(read_ahead);
        let timer = Timer::own(Clock::new(runtime));
        self.start(timer, transport.boxed(), read_ahead).await;
    }

    pub(super) fn response_mut(&mut self) -> &mut Response<()> {
        &mut self.0.response
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
