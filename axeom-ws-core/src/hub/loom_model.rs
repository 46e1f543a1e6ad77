//! Connections that come and go while the app shuts down.

use std::net::Ipv4Addr;

use loom::thread;

use super::*;
use crate::{
    Options,
    model::{block_on, explore, explore_all, link},
};

const UNLIMITED: Capacity = Capacity { all: None, per_ip: None };

fn register(hub: &Arc<Hub>, capacity: Capacity) -> Result<Registration, Refusal> {
    hub.register(link(&Options::new()), Ipv4Addr::LOCALHOST.into(), capacity)
}

fn is_told(registration: &Registration) -> bool {
    registration.closing().is_some_and(|frame| frame.code == CloseCode::GOING_AWAY)
}

#[test]
fn a_shutdown_closes_or_refuses_every_connection() {
    explore_all(|| {
        let hub = Arc::new(Hub::default());
        let before = register(&hub, UNLIMITED).unwrap();
        let meanwhile = [(); 2].map(|()| {
            let hub = Arc::clone(&hub);
            thread::spawn(move || register(&hub, UNLIMITED).ok())
        });
        ServerHandle(Arc::clone(&hub)).shutdown();
        assert!(register(&hub, UNLIMITED).is_err());
        assert!(is_told(&before));
        for registered in meanwhile.map(|thread| thread.join().unwrap()).iter().flatten() {
            assert!(is_told(registered));
        }
    });
}

#[test]
fn a_connection_that_ends_while_the_app_shuts_down_is_gone() {
    explore_all(|| {
        let hub = Arc::new(Hub::default());
        let registration = register(&hub, UNLIMITED).unwrap();
        let link = Arc::clone(&registration);
        let ending = thread::spawn(move || drop(registration));
        let late = {
            let (hub, link) = (Arc::clone(&hub), Arc::clone(&link));
            thread::spawn(move || hub.topics.subscribe(&link, "topic"))
        };
        ServerHandle(Arc::clone(&hub)).shutdown();
        ending.join().unwrap();
        late.join().unwrap();
        assert!(link.is_closed());
        assert_eq!(link.buffered_amount(), 0);
        assert_eq!(hub.topics.subscriber_count("topic"), 0);
        assert_eq!(ServerHandle(hub).connections(), 0);
    });
}

#[test]
fn who_waits_for_the_shutdown_is_told() {
    explore(3, || {
        let hub = Arc::new(Hub::default());
        let waiting = [(); 2].map(|()| {
            let hub = Arc::clone(&hub);
            thread::spawn(move || block_on(hub.stopping()))
        });
        ServerHandle(Arc::clone(&hub)).shutdown();
        for thread in waiting {
            thread.join().unwrap();
        }
    });
}

#[test]
fn no_more_connections_than_there_may_be() {
    for capacity in
        [Capacity { all: Some(1), per_ip: None }, Capacity { all: None, per_ip: Some(1) }]
    {
        explore_all(move || {
            let hub = Arc::new(Hub::default());
            let threads = [(); 2].map(|()| {
                let hub = Arc::clone(&hub);
                thread::spawn(move || register(&hub, capacity).ok())
            });
            let registered = threads.map(|thread| thread.join().unwrap());
            assert_eq!(registered.iter().flatten().count(), 1);
            assert!(register(&hub, capacity).is_err());
            drop(registered);
            assert!(register(&hub, capacity).is_ok());
            assert!(hub.lock().per_ip.is_empty());
        });
    }
}
