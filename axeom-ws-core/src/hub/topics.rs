//! Topics and their subscribers.
//!
//! Locks are taken in this order: a connection's subscriptions, a shard, a topic's subscribers,
//! the state of a link.

#[cfg(all(test, loom))]
#[path = "topics_loom_model.rs"]
mod loom_model;

use std::{
    collections::{HashMap, hash_map::Entry},
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::Member;
use crate::{
    link::{NotQueued, Wakers},
    message::SendMessage,
    protocol::Outgoing,
    shrink::shrunk,
    sync::{Mutex, RandomState, lock},
    telemetry,
};

/// All topics of an app. A topic exists while it has subscribers.
#[derive(Debug)]
pub(super) struct Topics {
    shards: Box<[Mutex<Shard>]>,
}

type Shard = HashMap<Arc<str>, Arc<Topic>, RandomState>;

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    /// Without gaps, so that a publish costs what its subscribers cost.
    subscribers: Mutex<Vec<Subscriber>>,
}

#[derive(Debug)]
struct Subscriber {
    member: Arc<Member>,
    place: Slot,
}

/// A subscriber's place in its topic, which the connection keeps as well. It changes when another
/// one leaves, under the lock of the topic's subscribers; so the order of its loads and stores does
/// not matter.
type Slot = Arc<AtomicUsize>;

/// What a connection has to do with topics. Without any, nothing is allocated.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(Mutex<Option<Box<Own>>>);

#[derive(Debug, Default)]
struct Own {
    topics: Slots,
    /// How many published messages it missed.
    missed: u64,
}

/// Topics by name, and the connection's place among the subscribers of each.
type Slots = HashMap<Arc<str>, (Arc<Topic>, Slot), RandomState>;

/// Enough shards that threads with different topics seldom contend for one.
const SHARDS: usize = 16;

/// The multiplier of the FNV hash.
const FNV: u32 = 16_777_619;

impl Default for Topics {
    fn default() -> Self {
        let hasher = RandomState::new();
        let shard = || Mutex::new(HashMap::with_hasher(hasher.clone()));
        Self { shards: std::iter::repeat_with(shard).take(SHARDS).collect() }
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
        let mut shard = lock(self.shard(topic));
        let topic = match shard.get(topic) {
            Some(topic) => Arc::clone(topic),
            None => {
                let name: Arc<str> = Arc::from(topic);
                let topic = Topic { name: Arc::clone(&name), subscribers: Mutex::default() };
                Arc::clone(shard.entry(name).or_insert(Arc::new(topic)))
            }
        };
        let own = &mut own.get_or_insert_default().topics;
        let Entry::Vacant(free) = own.entry(Arc::clone(&topic.name)) else { return false };
        let mut subscribers = lock(&topic.subscribers);
        let place = Slot::new(subscribers.len().into());
        subscribers.push(Subscriber { member: Arc::clone(member), place: Arc::clone(&place) });
        drop(subscribers);
        free.insert((topic, place));
        true
    }

    /// Returns `false` if the connection was not subscribed.
    pub(super) fn unsubscribe(&self, member: &Member, topic: &str) -> bool {
        let mut own = lock(&member.subscriptions.0);
        let Some((topic, place)) = own.as_mut().and_then(|own| own.topics.remove(topic)) else {
            return false;
        };
        self.leave(&topic, place);
        true
    }

    /// Ends all subscriptions of a connection that is no longer open, and so cannot subscribe
    /// again.
    pub(super) fn leave_all(&self, member: &Member) {
        let mut own = lock(&member.subscriptions.0);
        let topics = match own.as_mut() {
            // `close` may still ask for the count.
            Some(own) if own.missed > 0 => Some(mem::take(&mut own.topics)),
            _ => own.take().map(|own| own.topics),
        };
        drop(own);
        for (topic, place) in topics.into_iter().flat_map(HashMap::into_values) {
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
        let mut wakers = Wakers::default();
        let (mut later, mut missed) = (Vec::new(), Vec::new());
        {
            let subscribers = lock(&topic.subscribers);
            for Subscriber { member, .. } in subscribers.iter() {
                if except.is_some_and(|except| except.link().id() == member.link().id()) {
                    continue;
                }
                match member.link().try_send_under_lock(&outgoing, &mut wakers) {
                    Some(Ok(_)) => took += 1,
                    Some(Err(NotQueued::Full)) => missed.push(Arc::clone(member)),
                    Some(Err(NotQueued::Closed)) => {}
                    None => later.push(Arc::clone(member)),
                }
            }
        }
        drop(wakers);
        for member in later {
            match member.link().try_send(&mut outgoing) {
                Ok(_) => took += 1,
                Err(NotQueued::Full) => missed.push(member),
                Err(NotQueued::Closed) => {}
            }
        }
        if !missed.is_empty() {
            note_missed(&topic.name, outgoing.len(), missed);
        }
        took
    }

    pub(super) fn subscriber_count(&self, topic: &str) -> usize {
        lock(self.shard(topic)).get(topic).map_or(0, |topic| lock(&topic.subscribers).len())
    }

    fn leave(&self, topic: &Topic, place: Slot) {
        let mut shard = lock(self.shard(&topic.name));
        let mut subscribers = lock(&topic.subscribers);
        let place = place.load(Ordering::Relaxed);
        let left = subscribers.swap_remove(place);
        if let Some(moved) = subscribers.get(place) {
            moved.place.store(place, Ordering::Relaxed);
        }
        if let Some(capacity) = shrunk(subscribers.len(), subscribers.capacity()) {
            subscribers.shrink_to(capacity);
        }
        if subscribers.is_empty() {
            shard.remove(&topic.name);
            if let Some(capacity) = shrunk(shard.len(), shard.capacity()) {
                shard.shrink_to(capacity);
            }
        }
        drop((subscribers, shard));
        // This may be the last handle: what it owns is dropped without the locks.
        drop(left);
    }

    fn shard(&self, topic: &str) -> &Mutex<Shard> {
        // Who shares a lock need not be kept secret, as the places in a map must be, so this is not
        // the map's hash. Names differ mostly at their ends.
        let ends = topic.bytes().rev().take(8);
        let hash = ends.fold(0, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(FNV));
        &self.shards[(hash >> 16) as usize % SHARDS]
    }
}

/// Counts a message that had no room, for each subscriber that it was meant for. No lock is held.
#[cold]
fn note_missed(topic: &str, size: usize, members: Vec<Arc<Member>>) {
    for member in members {
        telemetry::dropped();
        lock(&member.subscriptions.0).get_or_insert_default().missed += 1;
        let connection = member.link().id();
        tracing::debug!(
            target: "axeom_ws::missed",
            %connection, topic, size, "a published message exceeds the send limit of a subscriber"
        );
    }
}

impl Subscriptions {
    pub(super) fn contains(&self, topic: &str) -> bool {
        lock(&self.0).as_ref().is_some_and(|own| own.topics.contains_key(topic))
    }

    pub(super) fn missed(&self) -> u64 {
        lock(&self.0).as_ref().map_or(0, |own| own.missed)
    }

    /// The names without their first `prefix` bytes, which are the same for all.
    pub(super) fn names(&self, prefix: usize) -> Vec<String> {
        let own = lock(&self.0);
        own.iter().flat_map(|own| own.topics.keys()).map(|name| name[prefix..].to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use tracing::{Event, Level, Metadata, Subscriber as Logger, field, span};

    use super::*;
    use crate::{hub::Connections, link::Link, options::Options, protocol::Role};

    const TOPIC: &str = "topic";

    fn members(n: usize, options: &Options) -> Vec<Arc<Member>> {
        let settings = Arc::new(options.resolve().unwrap());
        let connections = Arc::<Connections>::default();
        let link = || Link::new(Role::Server, Arc::clone(&settings), None);
        (0..n).map(|_| Arc::new(Member::new(link(), Arc::clone(&connections)))).collect()
    }

    #[test]
    fn a_topic_costs_what_is_left_of_it() {
        let topics = Topics::default();
        let members = members(10_000, &Options::new());
        for member in &members {
            assert!(topics.subscribe(member, TOPIC));
        }
        let topic = lock(topics.shard(TOPIC)).get(TOPIC).cloned().unwrap();
        // In an order in which most leave from the middle.
        for n in 0..10_000 {
            let member = &members[n * 7919 % 10_000];
            assert!(topics.unsubscribe(member, TOPIC));
            assert!(!topics.unsubscribe(member, TOPIC));
            let subscribers = lock(&topic.subscribers);
            assert_eq!(subscribers.len(), 9_999 - n);
            assert!(subscribers.capacity() <= 32.max(4 * subscribers.len() + 3), "{n}");
            for (place, subscriber) in subscribers.iter().enumerate().step_by(97) {
                assert_eq!(subscriber.place.load(Ordering::Relaxed), place);
            }
            if n % 1000 == 0 {
                drop(subscribers);
                assert_eq!(topics.publish(TOPIC, &"m".into(), None), 9_999 - n);
                // Whoever comes in between has a place too.
                assert!(topics.subscribe(member, TOPIC));
                assert!(topics.unsubscribe(member, TOPIC));
            }
        }
        assert_eq!(topics.subscriber_count(TOPIC), 0);
    }

    #[test]
    fn topics_that_are_left_give_their_room_back() {
        let topics = Topics::default();
        let member = members(1, &Options::new()).remove(0);
        for n in 0..10_000 {
            assert!(topics.subscribe(&member, &n.to_string()));
        }
        topics.leave_all(&member);
        let kept: usize = topics.shards.iter().map(|shard| lock(shard).capacity()).sum();
        assert!(kept <= 64 * SHARDS, "{kept}");
        assert!(lock(&member.subscriptions.0).as_ref().is_none_or(|own| own.missed > 0));
    }

    /// Remembers the fields of the events with this target.
    struct Missed(Mutex<Vec<String>>);

    impl Logger for Missed {
        fn enabled(&self, about: &Metadata<'_>) -> bool {
            about.target() == "axeom_ws::missed"
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}

        fn event(&self, event: &Event<'_>) {
            assert_eq!(*event.metadata().level(), Level::DEBUG);
            let mut fields = Fields(String::new());
            event.record(&mut fields);
            lock(&self.0).push(fields.0);
        }
    }

    struct Fields(String);

    impl field::Visit for Fields {
        fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
            if field.name() != "message" {
                self.0 += &format!("{}={value:?} ", field.name());
            }
        }
    }

    #[test]
    fn what_is_missed_is_counted_and_logged() {
        let topics = Topics::default();
        let options = Options::new().high_water_mark(100).send_limit(100);
        let [slow, fast] = members(2, &options).try_into().unwrap();
        assert!(topics.subscribe(&slow, TOPIC));
        assert!(topics.subscribe(&fast, TOPIC));
        let log = Arc::new(Missed(Mutex::default()));
        let publish = |size: usize| topics.publish(TOPIC, &vec![0; size].into(), None);
        tracing::subscriber::with_default(Arc::clone(&log), || {
            assert_eq!(publish(90), 2);
            let _ = fast.link().take();
            fast.link().written(usize::MAX, false);
            assert_eq!((slow.missed(), lock(&log.0).len()), (0, 0));
            assert_eq!(publish(20), 1);
            assert_eq!(publish(70), 1);
        });
        assert_eq!((slow.missed(), fast.missed()), (2, 0));
        let id = slow.link().id();
        let event = |size| format!("connection={id} topic={TOPIC:?} size={size} ");
        assert_eq!(*lock(&log.0), [event(20), event(70)]);
        // The count outlives the subscriptions.
        topics.leave_all(&slow);
        assert_eq!(slow.missed(), 2);
    }
}
