//! Models threads that subscribe to, unsubscribe from and publish to the same topics.

use loom::thread;

use super::*;
use crate::{
    hub::Connections,
    loom_support::{FRAME, explore_all, link, message},
    options::Options,
};

const TOPIC: &str = "topic";

#[test]
fn who_has_subscribed_gets_what_is_published_then() {
    explore_all(|| {
        let (topics, [one, other]) = world();
        let coming = spawn(&topics, &one, |topics, one| {
            assert!(topics.subscribe(one, TOPIC));
            assert!(topics.publish(TOPIC, &message(), None) >= 1);
            assert!(one.link().buffered_amount() >= FRAME);
        });
        // If this is the last subscriber, it removes the topic.
        let going = spawn(&topics, &other, |topics, other| {
            assert!(topics.subscribe(other, TOPIC));
            assert!(topics.unsubscribe(other, TOPIC));
        });
        join([coming, going]);
        assert_eq!(topics.publish(TOPIC, &message(), None), 1);
        assert_eq!(topics.publish(TOPIC, &message(), Some(&one)), 0);
    });
}

#[test]
fn who_has_left_gets_nothing() {
    explore_all(|| {
        let (topics, [one, other]) = world();
        assert!(topics.subscribe(&one, TOPIC));
        assert!(topics.subscribe(&other, TOPIC));
        let publishing = spawn(&topics, &other, |topics, other| {
            topics.publish(TOPIC, &message(), Some(other));
            topics.publish(TOPIC, &message(), Some(other));
        });
        let leaving = spawn(&topics, &one, |topics, one| {
            assert!(topics.unsubscribe(one, TOPIC));
            let before = one.link().buffered_amount();
            topics.publish(TOPIC, &message(), None);
            assert_eq!(one.link().buffered_amount(), before);
            before
        });
        publishing.join().unwrap();
        assert_eq!(one.link().buffered_amount(), leaving.join().unwrap());
        assert_eq!(topics.subscriber_count(TOPIC), 1);
    });
}

#[test]
fn nobody_stays_behind() {
    explore_all(|| {
        let (topics, [one, other]) = world();
        assert!(topics.subscribe(&one, "left"));
        let subscribing = spawn(&topics, &one, |topics, one| topics.subscribe(one, TOPIC));
        let ending = spawn(&topics, &one, |topics, one| {
            one.link().cut();
            topics.leave_all(one);
        });
        let passing = spawn(&topics, &other, |topics, other| {
            assert!(topics.subscribe(other, TOPIC));
            assert!(topics.unsubscribe(other, TOPIC));
        });
        subscribing.join().unwrap();
        join([ending, passing]);
        assert!(!topics.subscribe(&one, TOPIC));
        assert!(!one.is_subscribed(TOPIC));
        // No topic remains without subscribers.
        assert!(topics.shards.iter().all(|shard| lock(shard).is_empty()));
    });
}

#[test]
fn handles_of_one_connection_agree() {
    explore_all(|| {
        let (topics, [one, _]) = world();
        let subscribing = [(); 2]
            .map(|()| spawn(&topics, &one, |topics, one| u32::from(topics.subscribe(one, TOPIC))));
        let leaving = spawn(&topics, &one, |topics, one| u32::from(topics.unsubscribe(one, TOPIC)));
        let subscribed: u32 = subscribing.map(|thread| thread.join().unwrap()).iter().sum();
        let left = leaving.join().unwrap();
        let members = topics.subscriber_count(TOPIC);
        assert_eq!(members as u32, subscribed - left);
        assert_eq!(one.is_subscribed(TOPIC), members == 1);
        assert_eq!(topics.shards.iter().map(|shard| lock(shard).len()).sum::<usize>(), members);
    });
}

/// All operations take their locks in the order that `topics` documents. Otherwise some
/// interleaving of these would deadlock.
#[test]
fn nobody_waits_for_each_other() {
    explore_all(|| {
        let (topics, [one, other]) = world();
        assert!(topics.subscribe(&one, TOPIC));
        assert!(topics.subscribe(&other, TOPIC));
        let publishing = spawn(&topics, &one, |topics, _| topics.publish(TOPIC, &message(), None));
        let leaving = spawn(&topics, &one, |topics, one| {
            topics.leave_all(one);
            one.link().cut();
        });
        let asking = spawn(&topics, &other, |topics, other| {
            assert!(!topics.subscribe(other, TOPIC));
            assert_eq!(other.topics(), [TOPIC]);
            assert!((1..=2).contains(&topics.subscriber_count(TOPIC)));
        });
        assert!(publishing.join().unwrap() >= 1);
        join([leaving, asking]);
    });
}

#[test]
fn one_message_reaches_each_of_several_topics_in_any_order() {
    explore_all(|| {
        let (topics, [one, other]) = world();
        for topic in ["a", "b"] {
            topics.subscribe(&one, topic);
            topics.subscribe(&other, topic);
        }
        let publishing = [["a", "b"], ["b", "a"]].map(|order| {
            spawn(&topics, &one, move |topics, _| {
                for topic in order {
                    assert_eq!(topics.publish(topic, &message(), None), 2);
                }
            })
        });
        join(publishing);
        assert_eq!(one.link().buffered_amount(), 4 * FRAME);
        assert_eq!(other.link().buffered_amount(), 4 * FRAME);
    });
}

fn world() -> (Arc<Topics>, [Arc<Member>; 2]) {
    let members = [(); 2]
        .map(|()| Arc::new(Member::new(link(&Options::new()), Arc::<Connections>::default())));
    (Arc::new(Topics::default()), members)
}

fn spawn<T: 'static>(
    topics: &Arc<Topics>,
    member: &Arc<Member>,
    run: impl FnOnce(&Topics, &Arc<Member>) -> T + 'static,
) -> thread::JoinHandle<T> {
    let (topics, member) = (Arc::clone(topics), Arc::clone(member));
    thread::spawn(move || run(&topics, &member))
}

fn join<const N: usize>(threads: [thread::JoinHandle<()>; N]) {
    for thread in threads {
        thread.join().unwrap();
    }
}
