use std::{borrow::Cow, fmt, future::Future, sync::Arc};

use bytes::Bytes;
use http::Uri;

use super::{layers::FoundIn, request::RequestInfo};
use crate::{
    close::{CloseCode, CloseFrame},
    error::{Closed, SendStatus, TrySendError},
    hub::Member,
    link::{ConnectionId, Link, NotQueued, Sending},
    message::SendMessage,
    protocol::Outgoing,
    runtime::Peer,
    utf8::Utf8Bytes,
};

/// A handle to one connection. It sends, closes and subscribes, and gives access to the context
/// and request of the handshake.
///
/// It is cheap to clone, and works in any task or thread. Once the connection has ended, sending
/// returns [`Closed`].
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, Ws};
///
/// async fn greet(ws: Ws) {
///     let room = format!("room/{}", ws.param("room"));
///     ws.subscribe(&room);
///     ws.publish(&room, "somebody joined");
///     let _ = ws.send("welcome").await;
/// }
///
/// let app = App::new().ws("/rooms/:room", |route| route.open(greet));
/// # let _ = app;
/// ```
pub struct Ws<D = ()>(Arc<Shared<D>>);

struct Shared<D> {
    member: Arc<Member>,
    request: RequestInfo,
    data: D,
}

impl<D> Ws<D> {
    pub(super) fn new(member: Arc<Member>, request: RequestInfo, data: D) -> Self {
        Self(Arc::new(Shared { member, request, data }))
    }

    pub(super) fn member(&self) -> &Arc<Member> {
        &self.0.member
    }

    #[inline]
    pub(super) fn link(&self) -> &Link {
        self.0.member.link()
    }

    /// Queues a message. While the connection is under backpressure, or the message would exceed
    /// the send limit, this waits until the peer has taken enough of the queue. An empty queue takes
    /// one message of any size.
    ///
    /// Sends that wait are served one after another, in the order in which they were first polled,
    /// and a later one waits behind them even if its message would fit. So a large message does not
    /// starve behind small ones. [`try_send`](Self::try_send) and published messages wait for
    /// nobody, and may go first.
    ///
    /// Cancel safe: a future that is dropped before it completes has queued nothing, and its turn
    /// passes on. One that is kept without being polled keeps its turn, and all sends behind it
    /// waiting.
    ///
    /// # Errors
    /// The connection is closed, or closes while this waits.
    pub fn send<M: Into<SendMessage>>(
        &self,
        message: M,
    ) -> impl Future<Output = Result<(), Closed>> + Send + use<'_, D, M> {
        Sending::new(self.link(), message.into())
    }

    /// Queues a message without waiting, up to the send limit in bytes. An empty queue takes one
    /// message of any size. This may overtake a [`send`](Self::send) that waits.
    ///
    /// # Errors
    /// [`Full`](TrySendError::Full) if the message would exceed the send limit, in which case
    /// [`close_on_full`](crate::Options::close_on_full) also closes the connection, and
    /// [`Closed`](TrySendError::Closed) if the connection is closed. Both return the message.
    pub fn try_send(&self, message: impl Into<SendMessage>) -> Result<SendStatus, TrySendError> {
        let message = message.into();
        let sent = self.link().try_send(&mut Outgoing::new(&message));
        sent.map_err(|not_queued| match not_queued {
            NotQueued::Full => TrySendError::Full(message),
            NotQueued::Closed => TrySendError::Closed(message),
        })
    }

    /// Waits until the connection is not under backpressure, without taking a turn among the
    /// [`send`](Self::send)s that wait.
    ///
    /// Cancel safe: nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// The connection is closed, or closes while this waits.
    pub async fn ready(&self) -> Result<(), Closed> {
        self.link().ready().await.map_err(|_| Closed)
    }

    /// The number of bytes that are queued and that the kernel has not accepted yet, including
    /// frame headers.
    pub fn buffered_amount(&self) -> usize {
        self.link().buffered_amount()
    }

    /// Starts the closing handshake (RFC 6455 §7.1.2). The close frame is sent after everything
    /// that is queued, and messages that still arrive are dropped. This has no effect if either
    /// side has started the closing handshake already.
    ///
    /// A code that must not be sent (RFC 6455 §7.4) becomes 1011, except that
    /// [`CloseCode::NO_STATUS`] sends a close frame without a code. A reason of more than 123 bytes
    /// is truncated at a character boundary.
    pub fn close(&self, code: impl Into<CloseCode>, reason: impl Into<Utf8Bytes>) {
        self.link().close(CloseFrame::new(code, reason));
    }

    /// Cuts the connection without a closing handshake. Messages that are queued are lost, and
    /// `close` gets the code 1006.
    pub fn terminate(&self) {
        self.link().cut();
    }

    /// Queues a ping (RFC 6455 §5.5.2), regardless of backpressure. A payload of more than 125
    /// bytes is truncated. While more than the send limit is queued, a ping is not sent: its
    /// answer would have to wait for all of that.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn ping(&self, payload: impl Into<Bytes>) -> Result<(), Closed> {
        if self.link().ping(&payload.into()) { Ok(()) } else { Err(Closed) }
    }

    /// Whether the connection is closed, or this side's close frame is queued, so that nothing more
    /// can be sent.
    ///
    /// The peer's close frame is answered once the handlers have handled everything before it, or
    /// after the close timeout if a handler is still running by then. Sending works until that.
    pub fn is_closed(&self) -> bool {
        !self.link().flags().is_open()
    }

    /// Waits until the connection begins to end: either side has closed it, the peer is gone, or
    /// something went wrong.
    ///
    /// Handlers are never cut off because their connection ends. One that may wait for long can
    /// select on this, and return early:
    ///
    /// ```
    /// # use axeom_ws_core as axeom_ws;
    /// use axeom_ws::App;
    /// use futures::future::{Either, select};
    /// # use std::pin::pin;
    /// # async fn look_up() -> String { String::new() }
    ///
    /// let app = App::new().ws("/", |route| {
    ///     route.message(async |ws, _| match select(pin!(look_up()), pin!(ws.closed())).await {
    ///         Either::Left((found, _)) => drop(ws.send(found).await),
    ///         Either::Right(_) => {}
    ///     })
    /// });
    /// # let _ = app;
    /// ```
    ///
    /// A peer that has sent its close frame, or ended its sending direction, may still receive
    /// messages until the handlers have returned or the close timeout has passed, so
    /// [`is_closed`](Self::is_closed) may be `false` after this.
    ///
    /// Cancel safe: nothing is lost when the future is dropped.
    pub async fn closed(&self) {
        self.link().ending().await;
    }

    /// Subscribes the connection to a topic, until it unsubscribes or ends. Returns `false` if it
    /// is subscribed already, or is closed. Names are compared exactly, without wildcards.
    ///
    /// All routes and groups of an app share one namespace of topics. If the peer chooses the name,
    /// give the route [a prefix](crate::Route::topics), or put one such as `room/` before the name
    /// here and wherever it is used, so that the peer cannot reach other topics.
    pub fn subscribe(&self, topic: impl AsRef<str>) -> bool {
        self.0.member.subscribe(topic.as_ref())
    }

    /// Ends the subscription to a topic. Returns `false` if there was none.
    pub fn unsubscribe(&self, topic: impl AsRef<str>) -> bool {
        self.0.member.unsubscribe(topic.as_ref())
    }

    /// Whether this connection is subscribed to a topic.
    pub fn is_subscribed(&self, topic: impl AsRef<str>) -> bool {
        self.0.member.is_subscribed(topic.as_ref())
    }

    /// The topics this connection is subscribed to, in no particular order, without the
    /// [prefix](crate::Route::topics) of its route.
    pub fn subscriptions(&self) -> Vec<String> {
        self.0.member.topics()
    }

    /// Queues a message for all subscribers of a topic other than this connection, and returns for
    /// how many. This never waits: a subscriber whose send limit the message would exceed misses
    /// it, or is closed if [`close_on_full`](crate::Options::close_on_full) is set.
    ///
    /// This connection need not be subscribed, and may be closed. The name is one of those that
    /// [`subscribe`](Self::subscribe) has, in the namespace that the whole app shares: a name that
    /// the peer chooses needs the same prefix.
    pub fn publish(&self, topic: impl AsRef<str>, message: impl Into<SendMessage>) -> usize {
        self.0.member.publish(topic.as_ref(), &message.into())
    }

    /// Does what [`publish`](Self::publish) does, and includes this connection if it is subscribed.
    pub fn publish_to_all(&self, topic: impl AsRef<str>, message: impl Into<SendMessage>) -> usize {
        self.0.member.publish_to_all(topic.as_ref(), &message.into())
    }

    /// How many published messages this connection has missed so far, because each would have
    /// exceeded its send limit. It counts all topics since the connection opened, can be read in
    /// `close` too, and never falls.
    ///
    /// Each of them is also logged at the debug level, with the target `axeom_ws::missed` and the
    /// fields `connection`, `topic` (its full name) and `size` (of the payload, in bytes).
    ///
    /// ```
    /// # use axeom_ws_core as axeom_ws;
    /// use axeom_ws::App;
    ///
    /// let app = App::new().ws("/prices", |route| {
    ///     route
    ///         .open(async |ws| { ws.subscribe("prices"); })
    ///         // The client has caught up. If it missed something, it has to ask again.
    ///         .drain(async |ws| {
    ///             if ws.missed() > 0 {
    ///                 let _ = ws.send("you missed some prices").await;
    ///             }
    ///         })
    /// });
    /// # let _ = app;
    /// ```
    pub fn missed(&self) -> u64 {
        self.0.member.missed()
    }

    /// The values of the context. The context derefs to the newest of them.
    pub fn data(&self) -> &D {
        &self.0.data
    }

    /// The value of the context with type `T`: `let db: &Db = ws.get();`.
    pub fn get<T, Index>(&self) -> &T
    where
        T: FoundIn<D, Index>,
    {
        T::found_in(&self.0.data)
    }

    /// The percent-decoded value of a parameter in the route's path. The name `*` gives the tail
    /// that a `*` segment matched, which may be empty.
    ///
    /// A name that the route does not have gives an empty string, and is logged as an error.
    pub fn param(&self, name: &str) -> &str {
        self.0.request.params().get(name)
    }

    /// The names and values of the parameters in the route's path, in the order of the path.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.request.params().iter()
    }

    /// The first value of a query parameter, form-decoded. `None` if the parameter is missing or
    /// its value is not UTF-8.
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.request.query(name)
    }

    /// The first value of a header of the handshake request, whose name may be in any case. `None`
    /// if the header is missing or its value is not UTF-8.
    ///
    /// A header may be repeated, and the client decides what comes first. What a proxy appended is
    /// in the last value: [`headers`](Self::headers) has them all, and
    /// [`Context::header`](crate::Context::header) says more.
    ///
    /// Headers that are of no use after the handshake are not kept: `Connection`, `Upgrade`,
    /// `Sec-WebSocket-Key`, `Sec-WebSocket-Version` and `Sec-WebSocket-Extensions`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.request.header(name)
    }

    /// The values of all headers of the handshake request with this name, in the order they came
    /// in. The name may be in any case, and values that are not UTF-8 are left out. What
    /// [`header`](Self::header) says about headers that are not kept holds here too.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.request.headers(name)
    }

    /// The value of the first cookie with this name (RFC 6265 §5.4). `None` if the cookie is
    /// missing or its value is not UTF-8.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.0.request.cookie(name)
    }

    /// The URI of the handshake request.
    pub fn uri(&self) -> Uri {
        // This was a URI when the handshake was accepted, so it parses.
        self.0.request.uri().parse().unwrap_or_default()
    }

    /// The subprotocol that was chosen (RFC 6455 §1.9), if any.
    pub fn protocol(&self) -> Option<&str> {
        self.0.request.protocol()
    }

    /// The client's address, as far as the transport knows it.
    pub fn peer(&self) -> Peer {
        self.0.request.peer()
    }

    /// A value from the extensions of the handshake request. See
    /// [`Context::extension`](crate::Context::extension).
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.0.request.extension()
    }

    /// The connection's id, which is unique within the process.
    pub fn id(&self) -> ConnectionId {
        self.link().id()
    }
}

impl<D> Clone for Ws<D> {
    #[inline]
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D> fmt::Debug for Ws<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ws")
            .field("id", &self.id())
            .field("uri", &self.0.request.uri())
            .field("peer", &self.peer())
            .finish_non_exhaustive()
    }
}
