use std::{fmt, sync::Arc};

use super::Connections;
use crate::message::SendMessage;

/// A handle to a whole app, from wherever it is served: publish to its connections,
/// count them, shut it down. Cheap to clone.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::App;
///
/// let app = App::new().ws("/feed", |route| route.open(async |ws| { ws.subscribe("news"); }));
/// let handle = app.handle();
/// assert_eq!(handle.publish("news", "nobody is listening yet"), 0);
/// ```
#[derive(Clone)]
pub struct AppHandle(Arc<Connections>);

impl AppHandle {
    pub(crate) fn new(connections: Arc<Connections>) -> Self {
        Self(connections)
    }

    /// Queues a message for all subscribers of a topic, and says for how many. A
    /// subscriber over its send limit misses it.
    pub fn publish(&self, topic: impl AsRef<str>, message: impl Into<SendMessage>) -> usize {
        self.0.topics.publish(topic.as_ref(), &message.into(), None)
    }

    /// How many connections subscribe to a topic.
    pub fn subscriber_count(&self, topic: impl AsRef<str>) -> usize {
        self.0.topics.subscriber_count(topic.as_ref())
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.0.count()
    }

    /// Begins the shutdown: new handshakes get 503, every connection is closed with
    /// 1001, and servers stop accepting and end within their grace period.
    pub fn shutdown(&self) {
        self.0.shut_down();
    }
}

impl fmt::Debug for AppHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppHandle").field("connections", &self.connections()).finish()
    }
}
