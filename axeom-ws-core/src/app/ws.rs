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

/// A handle to one connection: send on it, close it, subscribe it, and read the
/// context of its handshake.
///
/// Cheap to clone, and usable from any task or thread, also after the connection
/// ended: then sending returns [`Closed`].
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

    /// Queues a message. Over the high-water mark it waits until the peer has taken
    /// enough; it never drops.
    ///
    /// Cancel safe: a future dropped before it is ready has queued nothing.
    ///
    /// # Errors
    /// The connection is closed, or closes while this waits.
    pub fn send<M: Into<SendMessage>>(
        &self,
        message: M,
    ) -> impl Future<Output = Result<(), Closed>> + Send + use<'_, D, M> {
        Sending::new(self.link(), message.into())
    }

    /// Queues a message without waiting.
    ///
    /// # Errors
    /// [`Full`](TrySendError::Full) if it does not fit the send limit (a single
    /// message fits an empty queue whatever its size),
    /// [`Closed`](TrySendError::Closed) if the connection is closed. Both hand the
    /// message back.
    pub fn try_send(&self, message: impl Into<SendMessage>) -> Result<SendStatus, TrySendError> {
        let message = message.into();
        let sent = self.link().try_send(&mut Outgoing::new(&message));
        sent.map_err(|not_queued| match not_queued {
            NotQueued::Full => TrySendError::Full(message),
            NotQueued::Closed => TrySendError::Closed(message),
        })
    }

    /// Waits until there is no backpressure. Cancel safe.
    ///
    /// # Errors
    /// The connection is closed, or closes while this waits.
    pub async fn ready(&self) -> Result<(), Closed> {
        self.link().ready().await.map_err(|_| Closed)
    }

    /// Bytes queued and not yet accepted by the kernel, frame headers included.
    pub fn buffered_amount(&self) -> usize {
        self.link().buffered_amount()
    }

    /// Starts the closing handshake (RFC 6455 §7.1.2), after everything that is
    /// queued. Messages that the peer still sends are dropped. Without effect if
    /// either side has started it already.
    ///
    /// A code that may not be sent becomes 1011, with [`CloseCode::NO_STATUS`] none is
    /// sent; a reason over 123 bytes is cut at a character.
    pub fn close(&self, code: impl Into<CloseCode>, reason: impl Into<Utf8Bytes>) {
        self.link().close(CloseFrame::new(code, reason));
    }

    /// Cuts the connection without a closing handshake; what is queued is lost, and
    /// `close` sees 1006.
    pub fn terminate(&self) {
        self.link().cut();
    }

    /// Sends a ping (RFC 6455 §5.5.2); of a payload over 125 bytes, the first 125. Not
    /// subject to backpressure.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn ping(&self, payload: impl Into<Bytes>) -> Result<(), Closed> {
        if self.link().ping(&payload.into()) { Ok(()) } else { Err(Closed) }
    }

    /// Whether the connection is closed, or this side's close frame is queued. The peer's
    /// is answered once the events before it were handled, or after the close timeout if a
    /// handler is still busy by then.
    pub fn is_closed(&self) -> bool {
        !self.link().flags().phase().may_send()
    }

    /// Subscribes to a topic, exactly this name; `false` if it was already, or the
    /// connection is closed. Subscriptions end with the connection.
    ///
    /// Topics are one namespace for all routes and groups of an app: do not subscribe to a
    /// name that the peer chooses alone, but put a prefix before it, such as `room/`.
    pub fn subscribe(&self, topic: impl AsRef<str>) -> bool {
        self.0.member.subscribe(topic.as_ref())
    }

    /// Ends a subscription; `false` if there was none.
    pub fn unsubscribe(&self, topic: impl AsRef<str>) -> bool {
        self.0.member.unsubscribe(topic.as_ref())
    }

    /// Whether this connection is subscribed to a topic.
    pub fn is_subscribed(&self, topic: impl AsRef<str>) -> bool {
        self.0.member.is_subscribed(topic.as_ref())
    }

    /// The topics this connection is subscribed to, in no particular order.
    pub fn subscriptions(&self) -> Vec<String> {
        self.0.member.topics()
    }

    /// Queues a message for all other subscribers of a topic, and says for how many.
    /// This connection need not be subscribed, nor still be open. A subscriber over
    /// its send limit misses the message.
    pub fn publish(&self, topic: impl AsRef<str>, message: impl Into<SendMessage>) -> usize {
        self.0.member.publish(topic.as_ref(), &message.into())
    }

    /// As [`publish`](Self::publish), to this connection too if it is subscribed.
    pub fn publish_to_all(&self, topic: impl AsRef<str>, message: impl Into<SendMessage>) -> usize {
        self.0.member.publish_to_all(topic.as_ref(), &message.into())
    }

    /// All values of the handshake; derefs to the newest.
    pub fn data(&self) -> &D {
        &self.0.data
    }

    /// A value of the handshake by its type: `let db: &Db = ws.get();`.
    pub fn get<T, Index>(&self) -> &T
    where
        T: FoundIn<D, Index>,
    {
        T::found_in(&self.0.data)
    }

    /// A parameter of the route's path, decoded. The tail that a `*` matched has the name
    /// `*`. Every parameter of the route has a value, if only an empty one for the tail; a
    /// name that the route does not have gives an empty text too, and is logged as an error.
    pub fn param(&self, name: &str) -> &str {
        self.0.request.params().get(name)
    }

    /// The parameters of the route's path, by name, in the order of the path.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.request.params().iter()
    }

    /// The first value of a query parameter, decoded; `None` if it is missing or not text.
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.request.query(name)
    }

    /// The first value of a header of the handshake request, in any case; `None` if it
    /// is missing or not text, or only served the handshake itself (`Connection`,
    /// `Upgrade`, `Sec-WebSocket-Key`, `-Version` and `-Extensions`).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.request.header(name)
    }

    /// The first cookie of this name that the client sent (RFC 6265 §5.4); `None` if it is
    /// missing or not text.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.0.request.cookie(name)
    }

    /// The URI of the handshake request.
    pub fn uri(&self) -> Uri {
        // It was one when the handshake was accepted.
        self.0.request.uri().parse().unwrap_or_default()
    }

    /// The subprotocol that was chosen.
    pub fn protocol(&self) -> Option<&str> {
        self.0.request.protocol()
    }

    /// Who is on the other end.
    pub fn peer(&self) -> Peer {
        self.0.request.peer()
    }

    /// The connection's id, unique within the process.
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
