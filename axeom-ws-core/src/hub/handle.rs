use std::{fmt, sync::Arc};

use super::Connections;
use crate::message::SendMessage;

/// A handle to an app, on all servers and runtimes that serve it. It publishes to the app's
/// connections, counts them, and shuts the app down. It is cheap to clone.
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

    /// Queues a message for all subscribers of a topic, and returns for how many. All routes and
    /// groups of the app share one namespace of topics, and the name is the full one: for a topic of
    /// a route with [a prefix](crate::Route::topics), it begins with that.
    ///
    /// This never waits: a subscriber whose send limit the message would exceed misses it, or is
    /// closed if [`close_on_full`](crate::Options::close_on_full) is set.
    pub fn publish(&self, topic: impl AsRef<str>, message: impl Into<SendMessage>) -> usize {
        self.0.topics.publish(topic.as_ref(), &message.into(), None)
    }

    /// The number of connections that are subscribed to a topic, by its full name.
    pub fn subscriber_count(&self, topic: impl AsRef<str>) -> usize {
        self.0.topics.subscriber_count(topic.as_ref())
    }

    /// The number of connections whose handshake was accepted and that have not ended.
    pub fn connections(&self) -> usize {
        self.0.count()
    }

    /// Starts the shutdown, without waiting for it. New handshakes are answered with 503, every
    /// connection is closed with 1001, and the app's servers stop accepting and end within their
    /// [grace period](crate::Serve::grace_period). It cannot be undone.
    pub fn shutdown(&self) {
        self.0.shut_down();
    }

    /// Does what [`shutdown`](Self::shutdown) does, and cuts every connection instead of closing it,
    /// as [`Ws::terminate`](crate::Ws::terminate) does. This is for whoever asks a second time:
    ///
    /// ```no_run
    /// # use axeom_ws_core as axeom_ws;
    /// use axeom_ws::AppHandle;
    ///
    /// async fn until_stopped<F: Future>(handle: AppHandle, ctrl_c: impl Fn() -> F) {
    ///     ctrl_c().await;
    ///     handle.shutdown();
    ///     ctrl_c().await;
    ///     handle.terminate();
    /// }
    /// ```
    pub fn terminate(&self) {
        self.0.shut_down();
        self.0.cut_all();
    }
}

impl fmt::Debug for AppHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppHandle").field("connections", &self.connections()).finish()
    }
}
