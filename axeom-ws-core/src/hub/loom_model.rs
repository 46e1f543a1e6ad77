//! Models connections that start and end while the app shuts down.

use std::{net::Ipv4Addr, sync::Arc};

use loom::thread;

use super::*;
use crate::{
    loom_support::{block_on, explore, explore_all, link},
    options::Options,
};

const UNLIMITED: Capacity = Capacity { all: None, per_ip: None, ipv6_prefix_len: 64 };

fn register(all: &Arc<Connections>, capacity: Capacity) -> Result<Registration, Refusal> {
    let place = Place::take(all, Some(Ipv4Addr::LOCALHOST.into()), capacity)?;
    all.register(link(&Options::new()), place)
}

fn is_closed_with_1001(registration: &Registration) -> bool {
    registration.close_frame().code == CloseCode::GOING_AWAY
}

#[test]
fn a_shutdown_closes_or_refuses_every_connection() {
    explore_all(|| {
        let all = Arc::new(Connections::default());
        let before = register(&all, UNLIMITED).unwrap();
        let meanwhile = [(); 2].map(|()| {
            let all = Arc::clone(&all);
            thread::spawn(move || register(&all, UNLIMITED).ok())
        });
        AppHandle::new(Arc::clone(&all)).shutdown();
        assert!(register(&all, UNLIMITED).is_err());
        assert!(is_closed_with_1001(&before));
        for registered in meanwhile.map(|thread| thread.join().unwrap()).iter().flatten() {
            assert!(is_closed_with_1001(registered));
        }
    });
}

#[test]
fn a_connection_that_ends_while_the_app_shuts_down_is_gone() {
    explore_all(|| {
        let all = Arc::new(Connections::default());
        let registration = register(&all, UNLIMITED).unwrap();
        let member = Arc::clone(registration.member());
        let ending = thread::spawn(move || drop(registration));
        let late = {
            let member = Arc::clone(&member);
            thread::spawn(move || member.subscribe("topic"))
        };
        AppHandle::new(Arc::clone(&all)).shutdown();
        ending.join().unwrap();
        late.join().unwrap();
        assert!(member.link().flags().phase().is_gone());
        assert_eq!(member.link().buffered_amount(), 0);
        assert_eq!(all.topics.subscriber_count("topic"), 0);
        assert_eq!(AppHandle::new(all).connections(), 0);
    });
}

#[test]
fn who_waits_for_the_shutdown_is_told() {
    explore(3, || {
        let all = Arc::new(Connections::default());
        let waiting = [(); 2].map(|()| {
            let all = Arc::clone(&all);
            thread::spawn(move || block_on(all.stopping()))
        });
        AppHandle::new(Arc::clone(&all)).shutdown();
        for thread in waiting {
            thread.join().unwrap();
        }
    });
}

#[test]
fn no_more_connections_than_there_may_be() {
    for capacity in
        [Capacity { all: Some(1), ..UNLIMITED }, Capacity { per_ip: Some(1), ..UNLIMITED }]
    {
        explore_all(move || {
            let all = Arc::new(Connections::default());
            let threads = [(); 2].map(|()| {
                let all = Arc::clone(&all);
                thread::spawn(move || register(&all, capacity).ok())
            });
            let registered = threads.map(|thread| thread.join().unwrap());
            assert_eq!(registered.iter().flatten().count(), 1);
            assert!(register(&all, capacity).is_err());
            drop(registered);
            assert!(register(&all, capacity).is_ok());
            assert!(all.places.is_empty());
        });
    }
}
