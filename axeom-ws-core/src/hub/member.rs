use std::{fmt, net::IpAddr, ops::Deref, sync::Arc};

use super::{Connections, topics::Subscriptions};
use crate::{link::Link, message::SendMessage, runtime::Alarmed, telemetry};

/// A connection as its app knows it, for as long as anyone has a handle to it.
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

    /// `false` if it was subscribed already, or the connection is ending.
    pub(crate) fn subscribe(self: &Arc<Self>, topic: &str) -> bool {
        self.connections.topics.subscribe(self, topic)
    }

    /// `false` if it was not subscribed.
    pub(crate) fn unsubscribe(&self, topic: &str) -> bool {
        self.connections.topics.unsubscribe(self, topic)
    }

    pub(crate) fn is_subscribed(&self, topic: &str) -> bool {
        self.subscriptions.contains(topic)
    }

    /// The topics it is subscribed to.
    pub(crate) fn topics(&self) -> Vec<String> {
        self.subscriptions.names()
    }

    /// Queues a message for all subscribers of a topic but this one; how many took it.
    pub(crate) fn publish(&self, topic: &str, message: &SendMessage) -> usize {
        self.connections.topics.publish(topic, message, Some(self))
    }

    /// The same, to this one too.
    pub(crate) fn publish_to_all(&self, topic: &str, message: &SendMessage) -> usize {
        self.connections.topics.publish(topic, message, None)
    }
}

impl Alarmed for Member {
    fn deadline_passed(&self) {
        self.link.deadline_passed();
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("link", &self.link).finish_non_exhaustive()
    }
}

/// A connection's place in its app and in topics; given up when dropped, however the
/// connection ends.
pub(crate) struct Registration {
    member: Arc<Member>,
    /// The address it is counted for.
    counted: Option<Box<IpAddr>>,
}

impl Registration {
    pub(super) fn new(member: Arc<Member>, counted: Option<Box<IpAddr>>) -> Self {
        Self { member, counted }
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// The connection subscribes to nothing any more.
    pub(crate) fn leave_topics(&self) {
        self.member.connections.topics.leave_all(&self.member);
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
        self.leave_topics();
        telemetry::ended();
        self.member.connections.unregister(self.member.link.id(), self.counted.take());
    }
}
