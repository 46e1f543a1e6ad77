#[cfg(all(test, loom))]
mod model;

use std::{
    collections::HashMap,
    hash::BuildHasher,
    sync::{Arc, PoisonError},
};

use slab::Slab;

use crate::{
    SendMessage,
    connection::{Link, Refused},
    protocol::Outgoing,
    sync::{Mutex, MutexGuard, RandomState},
    telemetry,
};

/// Locks never nest the other way round: a connection's subscriptions, then a shard,
/// then a topic's members, then one member's outgoing frames.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who listens to what. A topic exists while it has members.
#[derive(Debug)]
pub(crate) struct Topics {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

type Shard = HashMap<Arc<str>, Arc<Topic>, RandomState>;

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    members: Mutex<Slab<Arc<Link>>>,
}

/// The topics of one connection; nothing is allocated for one without any.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Mutex<Option<Box<Own>>>);

#[derive(Debug, Default)]
struct Own {
    /// The topics, by name, and the place among the members of each.
    places: HashMap<Arc<str>, (Arc<Topic>, usize), RandomState>,
    /// The connection has ended, and subscribes to nothing any more.
    ended: bool,
}

/// Enough that threads on different topics seldom meet.
const SHARDS: usize = 16;

impl Default for Topics {
    fn default() -> Self {
        let hasher = RandomState::new();
        let shard = || Mutex::new(HashMap::with_hasher(hasher.clone()));
        Self { shards: std::iter::repeat_with(shard).take(SHARDS).collect(), hasher }
    }
}

impl Topics {
    /// `false` if it was subscribed already, or the connection has ended.
    pub(crate) fn subscribe(&self, link: &Arc<Link>, topic: &str) -> bool {
        let mut own = lock(&link.subscriptions.0);
        let own = own.get_or_insert_default();
        if own.ended || own.places.contains_key(topic) {
            return false;
        }
        let mut shard = lock(self.shard(topic));
        let topic = match shard.get(topic) {
            Some(topic) => Arc::clone(topic),
            None => {
                let name: Arc<str> = Arc::from(topic);
                let topic = Topic { name: Arc::clone(&name), members: Mutex::default() };
                Arc::clone(shard.entry(name).or_insert(Arc::new(topic)))
            }
        };
        let place = lock(&topic.members).insert(Arc::clone(link));
        own.places.insert(Arc::clone(&topic.name), (topic, place));
        true
    }

    /// `false` if it was not subscribed.
    pub(crate) fn unsubscribe(&self, link: &Link, topic: &str) -> bool {
        let mut own = lock(&link.subscriptions.0);
        let Some((topic, place)) = own.as_mut().and_then(|own| own.places.remove(topic)) else {
            return false;
        };
        self.leave(&topic, place);
        true
    }

    /// The connection ends: it leaves everything, and subscribes to nothing again.
    pub(crate) fn leave_all(&self, link: &Link) {
        let places = {
            let mut own = lock(&link.subscriptions.0);
            let own = own.get_or_insert_default();
            own.ended = true;
            std::mem::take(&mut own.places)
        };
        for (topic, place) in places.into_values() {
            self.leave(&topic, place);
        }
    }

    /// Queues a message for all members but `except`; how many took it.
    pub(crate) fn publish(
        &self,
        topic: &str,
        message: &SendMessage,
        except: Option<&Link>,
    ) -> usize {
        let Some(topic) = lock(self.shard(topic)).get(topic).cloned() else {
            return 0;
        };
        let mut outgoing = Outgoing::new(message);
        let members = lock(&topic.members);
        let others = members
            .iter()
            .filter(|(_, member)| except.is_none_or(|except| member.id() != except.id()));
        let mut took = 0;
        for (_, member) in others {
            match member.try_send(&mut outgoing) {
                Ok(_) => took += 1,
                Err(Refused::Full) => telemetry::dropped(),
                Err(Refused::Closed) => {}
            }
        }
        took
    }

    pub(crate) fn subscriber_count(&self, topic: &str) -> usize {
        lock(self.shard(topic)).get(topic).map_or(0, |topic| lock(&topic.members).len())
    }

    fn leave(&self, topic: &Topic, place: usize) {
        let mut shard = lock(self.shard(&topic.name));
        let mut members = lock(&topic.members);
        members.try_remove(place);
        if members.is_empty() {
            shard.remove(&topic.name);
        }
    }

    fn shard(&self, topic: &str) -> &Mutex<Shard> {
        &self.shards[self.hasher.hash_one(topic) as usize % SHARDS]
    }
}

impl Subscriptions {
    pub(crate) fn contains(&self, topic: &str) -> bool {
        lock(&self.0).as_ref().is_some_and(|own| own.places.contains_key(topic))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let own = lock(&self.0);
        own.iter().flat_map(|own| own.places.keys()).map(|name| name.to_string()).collect()
    }
}
