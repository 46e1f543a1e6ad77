#[cfg(all(test, loom))]
mod model;

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    net::IpAddr,
    ops::Deref,
    sync::{Arc, PoisonError},
};

use event_listener::Event;

use crate::{
    CloseCode, CloseFrame, ConnectionId, SendMessage,
    connection::Link,
    handshake::Refusal,
    pubsub::Topics,
    sync::{
        Mutex, MutexGuard, RandomState,
        atomic::{AtomicBool, Ordering},
    },
    telemetry,
};

/// What the connections of an app have in common.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    pub(crate) topics: Topics,
    connections: Mutex<Connections>,
    stopping: AtomicBool,
    /// Notified when `stopping` is set.
    stop: Event,
}

#[derive(Debug, Default)]
struct Connections {
    links: HashMap<ConnectionId, Arc<Link>, RandomState>,
    /// How many each address has; kept only while that is limited.
    per_ip: HashMap<IpAddr, usize>,
}

/// How many connections an app may have.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Capacity {
    pub(crate) all: Option<usize>,
    pub(crate) per_ip: Option<usize>,
}

impl Hub {
    /// Counts a connection in, unless there are enough or the app shuts down.
    pub(crate) fn register(
        self: &Arc<Self>,
        link: Link,
        ip: IpAddr,
        capacity: Capacity,
    ) -> Result<Registration, Refusal> {
        let link = Arc::new(link);
        let mut connections = self.lock();
        // Looked at under the lock that `shut_down` goes over the connections with.
        if self.is_stopping() {
            return Err(Refusal::ShuttingDown);
        }
        if capacity.all.is_some_and(|most| connections.links.len() >= most) {
            return Err(Refusal::AtCapacity);
        }
        let mut counted = None;
        if let Some(most) = capacity.per_ip {
            // One client is one address, however it is spelled.
            let ip = ip.to_canonical();
            let count = connections.per_ip.get(&ip).copied().unwrap_or(0);
            if count >= most {
                return Err(Refusal::AtCapacity);
            }
            connections.per_ip.insert(ip, count + 1);
            counted = Some(Box::new(ip));
        }
        connections.links.insert(link.id(), Arc::clone(&link));
        drop(connections);
        telemetry::opened();
        Ok(Registration { hub: Arc::clone(self), link, counted })
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Waits for the shutdown to begin.
    pub(crate) async fn stopping(&self) {
        while !self.is_stopping() {
            let listener = self.stop.listen();
            if !self.is_stopping() {
                listener.await;
            }
        }
    }

    fn shut_down(&self) {
        let links: Vec<_> = {
            let connections = self.lock();
            self.stopping.store(true, Ordering::Release);
            connections.links.values().cloned().collect()
        };
        self.stop.notify(usize::MAX);
        for link in links {
            link.close(CloseFrame::new(CloseCode::GOING_AWAY, "server shutting down"));
        }
    }

    /// Cuts what is still connected.
    pub(crate) fn terminate_all(&self) {
        let links: Vec<_> = self.lock().links.values().cloned().collect();
        for link in links {
            link.terminate();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place in the registry and in its topics; given up when dropped,
/// however the connection ends.
pub(crate) struct Registration {
    hub: Arc<Hub>,
    link: Arc<Link>,
    /// The address it is counted for.
    counted: Option<Box<IpAddr>>,
}

impl Deref for Registration {
    type Target = Arc<Link>;

    fn deref(&self) -> &Arc<Link> {
        &self.link
    }
}

impl Registration {
    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(crate) fn leave_topics(&self) {
        self.hub.topics.leave_all(&self.link);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.link.shut();
        self.leave_topics();
        telemetry::ended();
        let mut connections = self.hub.lock();
        connections.links.remove(&self.link.id());
        if let Some(Entry::Occupied(mut count)) =
            self.counted.take().map(|ip| connections.per_ip.entry(*ip))
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// A handle to a whole app, from wherever it is served: publish to its connections,
/// count them, shut it down. Cheap to clone.
///
/// ```
/// use axeom_ws_core::App;
///
/// let app = App::new().ws("/feed", |route| route.open(async |ws| { ws.subscribe("news"); }));
/// let server = app.handle();
/// assert_eq!(server.publish("news", "nobody is listening yet"), 0);
/// ```
#[derive(Clone)]
pub struct ServerHandle(pub(crate) Arc<Hub>);

impl ServerHandle {
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
        self.0.lock().links.len()
    }

    /// Begins the shutdown: new handshakes get 503, every connection is closed with
    /// 1001, and servers stop accepting and end within their grace period.
    pub fn shutdown(&self) {
        self.0.shut_down();
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").field("connections", &self.connections()).finish()
    }
}
