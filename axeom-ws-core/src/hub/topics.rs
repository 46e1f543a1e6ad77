//! Topics and their subscribers.
//!
//! Locks are taken in this order: a connection's subscriptions, a shard, a topic's subscribers,
//! the state of a link.

#[cfg(all(test, loom))]
#[path = "topics_loom_model.rs"]
mod loom_model;

use std::{collections::HashMap, hash::BuildHasher, sync::Arc};

use slab::Slab;

use super::Member;
use crate::{
    error::SendStatus,
    link::{NotQueued, Wakers},
    message::SendMessage,
    protocol::Outgoing,
    sync::{Mutex, RandomState, lock},
    telemetry,
};

/// All topics of an app. A topic exists while it has subscribers.
#[derive(Debug)]
pub(super) struct Topics {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

type Shard = HashMap<Arc<str>, Arc<Topic>, RandomState>;

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    subscribers: Mutex<Slab<Arc<Member>>>,
}

/// The topics of one connection. Without any, nothing is allocated.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(Mutex<Option<Box<Places>>>);

/// Topics by name, and the connection's place among the subscribers of each.
type Places = HashMap<Arc<str>, (Arc<Topic>, usize), RandomState>;

/// Enough shards that threads with different topics seldom contend for one.
const SHARDS: usize = 16;

impl Default for Topics {
    fn default() -> Self {
        let hasher = RandomState::new();
        let shard = || Mutex::new(HashMap::with_hasher(hasher.clone()));
        Self { shards: std::iter::repeat_with(shard).take(SHARDS).collect(), hasher }
    }
}

impl Topics {
    /// Returns `false` if the connection is subscribed already, or is ending.
    pub(super) fn subscribe(&self, member: &Arc<Member>, topic: &str) -> bool {
        let mut own = lock(&member.subscriptions.0);
        // Checked under the lock that `leave_all` takes later, so that it misses no topic.
        if !member.link().flags().is_open() {
            return false;
        }
        let own = own.get_or_insert_default();
        if own.contains_key(topic) {
            return false;
        }
        let mut shard = lock(self.shard(topic));
        let topic = match shard.get(topic) {
            Some(topic) => Arc::clone(topic),
            None => {
                let name: Arc<str> = Arc::from(topic);
                let topic = Topic { name: Arc::clone(&name), subscribers: Mutex::default() };
                Arc::clone(shard.entry(name).or_insert(Arc::new(topic)))
            }
        };
        let place = lock(&topic.subscribers).insert(Arc::clone(member));
        own.insert(Arc::clone(&topic.name), (topic, place));
        true
    }

    /// Returns `false` if the connection was not subscribed.
    pub(super) fn unsubscribe(&self, member: &Member, topic: &str) -> bool {
        let mut own = lock(&member.subscriptions.0);
        let Some((topic, place)) = own.as_mut().and_then(|own| own.remove(topic)) else {
            return false;
        };
        self.leave(&topic, place);
        true
    }

    /// Ends all subscriptions of a connection that is no longer open, and so cannot subscribe
    /// again.
    pub(super) fn leave_all(&self, member: &Member) {
        let own = lock(&member.subscriptions.0).take();
        for (topic, place) in own.into_iter().flat_map(|own| own.into_values()) {
            self.leave(&topic, place);
        }
    }

    /// Queues a message for all subscribers except `except`. Returns how many took it.
    pub(super) fn publish(
        &self,
        topic: &str,
        message: &SendMessage,
        except: Option<&Member>,
    ) -> usize {
        let Some(topic) = lock(self.shard(topic)).get(topic).cloned() else {
            return 0;
        };
        let mut outgoing = Outgoing::new(message);
        let mut took = 0;
        let mut count = |sent| match sent {
            Ok(SendStatus::Sent | SendStatus::Backpressure) => took += 1,
            Err(NotQueued::Full) => telemetry::dropped(),
            Err(NotQueued::Closed) => {}
        };
        let mut wakers = Wakers::default();
        let mut later = Vec::new();
        {
            let subscribers = lock(&topic.subscribers);
            for (_, member) in subscribers.iter() {
                if except.is_some_and(|except| except.link().id() == member.link().id()) {
                    continue;
                }
                match member.link().try_send_under_lock(&outgoing, &mut wakers) {
                    Some(sent) => count(sent),
                    None => later.push(Arc::clone(member)),
                }
            }
        }
        drop(wakers);
        for member in later {
            count(member.link().try_send(&mut outgoing));
        }
        took
    }

    pub(super) fn subscriber_count(&self, topic: &str) -> usize {
        lock(self.shard(topic)).get(topic).map_or(0, |topic| lock(&topic.subscribers).len())
    }

    fn leave(&self, topic: &Topic, place: usize) {
        let mut shard = lock(self.shard(&topic.name));
        let mut subscribers = lock(&topic.subscribers);
        let left = subscribers.try_remove(place);
        if subscribers.is_empty() {
            shard.remove(&topic.name);
        }
        drop((subscribers, shard));
        // This may be the last handle: what it owns is dropped without the locks.
        drop(left);
    }

    fn shard(&self, topic: &str) -> &Mutex<Shard> {
        &self.shards[self.hasher.hash_one(topic) as usize % SHARDS]
    }
}

impl Subscriptions {
    pub(super) fn contains(&self, topic: &str) -> bool {
        lock(&self.0).as_ref().is_some_and(|own| own.contains_key(topic))
    }

    /// The names without their first `prefix` bytes, which are the same for all.
    pub(super) fn names(&self, prefix: usize) -> Vec<String> {
        let own = lock(&self.0);
        own.iter().flat_map(|own| own.keys()).map(|name| name[prefix..].to_owned()).collect()
    }
}
