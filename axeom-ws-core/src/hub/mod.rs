//! The connections of an app: their registry, their topics, and the app's shutdown.

mod handle;
#[cfg(all(test, loom))]
mod loom_model;
mod member;
mod places;
mod topics;

use std::{collections::HashMap, sync::Arc};

use event_listener::Event;

pub use self::handle::AppHandle;
pub(crate) use self::{
    member::{Member, Registration},
    places::{Capacity, LastWord, Place},
};
use self::{places::Places, topics::Topics};
use crate::{
    close::{CloseCode, CloseFrame},
    handshake::Refusal,
    link::{ConnectionId, Link},
    shrink::shrunk,
    sync::{
        Mutex, RandomState,
        atomic::{AtomicBool, Ordering},
        lock,
    },
    telemetry,
};

/// The state that all connections of an app share.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    topics: Topics,
    places: Places,
    registered: Mutex<HashMap<ConnectionId, Arc<Member>, RandomState>>,
    stopping: AtomicBool,
    /// Notified when `stopping` is set.
    stop: Event,
}

impl Connections {
    /// Registers a connection, unless the app is shutting down.
    pub(crate) fn register(
        self: &Arc<Self>,
        link: Link,
        place: Place,
    ) -> Result<Registration, Refusal> {
        let member = Arc::new(Member::new(link, Arc::clone(self)));
        let mut registered = lock(&self.registered);
        // `shut_down` sets this under the same lock, so it closes every connection registered
        // before.
        if self.is_stopping() {
            return Err(Refusal::ShuttingDown);
        }
        registered.insert(member.link().id(), Arc::clone(&member));
        drop(registered);
        telemetry::opened();
        Ok(Registration::new(member, place))
    }

    fn unregister(&self, id: ConnectionId) {
        let mut registered = lock(&self.registered);
        let member = registered.remove(&id);
        if let Some(capacity) = shrunk(registered.len(), registered.capacity()) {
            registered.shrink_to(capacity);
        }
        drop(registered);
        // This may be the last handle: what it owns is dropped without the lock.
        drop(member);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Waits until the shutdown starts.
    pub(crate) async fn stopping(&self) {
        while !self.is_stopping() {
            let listener = self.stop.listen();
            if !self.is_stopping() {
                listener.await;
            }
        }
    }

    /// Refuses further connections, and closes those that exist.
    pub(crate) fn shut_down(&self) {
        let members: Vec<_> = {
            let registered = lock(&self.registered);
            self.stopping.store(true, Ordering::Release);
            registered.values().cloned().collect()
        };
        self.stop.notify(usize::MAX);
        for member in members {
            member.link().close(CloseFrame::new(CloseCode::GOING_AWAY, "server shutting down"));
        }
    }

    /// Cuts all connections that are still registered.
    pub(crate) fn cut_all(&self) {
        let members: Vec<_> = lock(&self.registered).values().cloned().collect();
        for member in members {
            member.link().cut();
        }
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.registered).len()
    }
}
