//! The tasks of a server that ends, and their deadlines.

use std::{
    future::{Future, pending, poll_fn, ready},
    task::Poll,
};

use futures::future::BoxFuture;
use loom::thread;
use tracing::Span;

use super::*;
use crate::{
    Options,
    connection::Run,
    model::{Standstill, block_on, explore, explore_all, link},
};

fn tasks() -> Arc<Tasks> {
    Arc::new(Tasks::new(Arc::new(Standstill::new())))
}

#[test]
fn the_end_of_the_last_task_is_noticed() {
    explore(3, || {
        let tasks = tasks();
        let threads = [(); 2].map(|()| {
            let (member, _) = tasks.enter();
            thread::spawn(move || drop(member))
        });
        block_on(tasks.finished());
        assert!(tasks.lock().tasks.is_empty());
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_connection_ends_with_its_server_however_far_its_handshake_is() {
    explore_all(|| {
        let tasks = tasks();
        let (member, _) = tasks.enter();
        let link = Arc::new(link(&Options::new()));
        let connecting = {
            let link = Arc::clone(&link);
            thread::spawn(move || {
                member.connected(Arc::clone(&link));
                block_on(Run::new(link, Span::none(), pending()));
            })
        };
        tasks.abort_all();
        let early = matches!(
            tasks.lock().tasks.iter().next(),
            Some((_, Task { kind: Kind::Opening(handle), .. })) if handle.is_aborted()
        );
        // A handshake that was aborted might as well never come to its end.
        assert!(early || link.flags().aborted());
        connecting.join().unwrap();
    });
}

#[test]
fn a_deadline_that_passes_is_noticed() {
    explore_all(|| {
        let link = Arc::new(link(&Options::new()));
        let passing = {
            let link = Arc::clone(&link);
            thread::spawn(move || link.deadline_passed())
        };
        block_on(poll_fn(|cx| {
            loop {
                let seen = link.flags();
                if link.take_due() {
                    return Poll::Ready(());
                }
                if link.park(cx.waker(), true, seen) {
                    return Poll::Pending;
                }
            }
        }));
        passing.join().unwrap();
    });
}

#[test]
fn a_nearer_deadline_is_looked_at() {
    explore(3, || {
        let tasks = Arc::new(Tasks::new(Arc::new(Steps::new())));
        let (member, _) = tasks.enter();
        let link = Arc::new(link(&Options::new()));
        member.connected(Arc::clone(&link));
        let setting = thread::spawn(move || {
            member.set_deadline(Some(member.clock().now()));
            member
        });
        let mut keeping = Box::pin(tasks.keep_time());
        block_on(poll_fn(|cx| {
            let _ = keeping.as_mut().poll(cx);
            if link.take_due() { Poll::Ready(()) } else { Poll::Pending }
        }));
        drop(setting.join().unwrap());
    });
}

/// A clock that goes on whenever it is looked at, so that no sleep takes long.
struct Steps {
    start: Instant,
    looks: std::sync::atomic::AtomicU32,
}

impl Steps {
    fn new() -> Self {
        Self { start: Instant::now(), looks: 0.into() }
    }
}

impl Clock for Steps {
    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(ready(()))
    }

    fn now(&self) -> Instant {
        let looks = self.looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.start + Duration::from_millis(1) * looks
    }
}
