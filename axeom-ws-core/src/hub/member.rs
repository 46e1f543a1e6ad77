use std::{
    borrow::Cow,
    fmt,
    ops::Deref,
    sync::{Arc, atomic::AtomicU32},
};

use super::{Connections, Place, topics::Subscriptions};
use crate::{link::Link, message::SendMessage, runtime::Alarmed, telemetry};

/// The app's view of a connection. It lives until the last handle to the connection is dropped.
pub(crate) struct Member {
    link: Link,
    connections: Arc<Connections>,
    pub(super) subscriptions: Subscriptions,
}

impl Member {
    pub(super) fn new(link: Link, connections: Arc<Connections>) -> Self {
        Self { link, connections, subscriptions: Subscriptions::default() }
    }

    #[inline]
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// The name that a topic of this connection's route has in the app.
    #[inline]
    fn full<'a>(&self, topic: &'a str) -> Cow<'a, str> {
        let prefix = &*self.link.settings().topics;
        if prefix.is_empty() { Cow::Borrowed(topic) } else { Cow::Owned([prefix, topic].concat()) }
    }

    /// Returns `false` if the connection is subscribed already, or is ending.
    pub(crate) fn subscribe(self: &Arc<Self>, topic: &str) -> bool {
        self.connections.topics.subscribe(self, &self.full(topic))
    }

    /// Returns `false` if the connection was not subscribed.
    pub(crate) fn unsubscribe(&self, topic: &str) -> bool {
        self.connections.topics.unsubscribe(self, &self.full(topic))
    }

    pub(crate) fn is_subscribed(&self, topic: &str) -> bool {
        self.subscriptions.contains(&self.full(topic))
    }

    pub(crate) fn topics(&self) -> Vec<String> {
        self.subscriptions.names(self.link.settings().topics.len())
    }

    /// How many messages of its topics the connection missed.
    pub(crate) fn missed(&self) -> u64 {
        self.subscriptions.missed()
    }

    /// Queues a message for all subscribers of a topic except this one. Returns how many took it.
    pub(crate) fn publish(&self, topic: &str, message: &SendMessage) -> usize {
        self.connections.topics.publish(&self.full(topic), message, Some(self))
    }

    /// As [`publish`](Self::publish), but including this one.
    pub(crate) fn publish_to_all(&self, topic: &str, message: &SendMessage) -> usize {
        self.connections.topics.publish(&self.full(topic), message, None)
    }
}

impl Alarmed for Member {
    fn deadline_passed(&self) {
        self.link.deadline_passed();
    }

    fn timer_place(&self) -> &AtomicU32 {
        self.link.timer_place()
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("link", &self.link).finish_non_exhaustive()
    }
}

/// Keeps a connection registered with its app and topics. Dropping it ends the registration,
/// however the connection ends.
pub(crate) struct Registration {
    member: Arc<Member>,
    /// Given up with the registration.
    place: Option<Place>,
}

impl Registration {
    pub(super) fn new(member: Arc<Member>, place: Place) -> Self {
        Self { member, place: Some(place) }
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Ends all subscriptions of the connection.
    pub(crate) fn leave_topics(&self) {
        self.member.connections.topics.leave_all(&self.member);
    }

    /// Ends the registration, because the connection is over. Its handlers may still run.
    pub(crate) fn end_registration(&mut self) {
        if self.place.take().is_some() {
            self.leave_topics();
            telemetry::ended();
            self.member.connections.unregister(self.member.link.id());
        }
    }
}

impl Deref for Registration {
    type Target = Link;

    #[inline]
    fn deref(&self) -> &Link {
        &self.member.link
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.member.link.cut();
        self.end_registration();
    }
}
