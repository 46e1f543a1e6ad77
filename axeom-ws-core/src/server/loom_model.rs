//! Models the tasks of a server that ends, and the deadlines of connections.

use std::{
    future::{Future, pending, poll_fn, ready},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use futures::future::{Abortable, Aborted, BoxFuture};
use loom::thread;
use tracing::Span;

use super::tasks::Tasks;
use crate::{
    connection::Task,
    loom_support::{Standstill, block_on, explore, explore_all, registered},
    options::Options,
    runtime::{Clock, Time, Timer, Timers},
    sync::atomic::{AtomicUsize, Ordering},
};

fn tasks() -> Arc<Tasks> {
    let timers = Timers::new(Clock::new(Standstill::new()));
    Arc::new(Tasks::new(Arc::new(timers)))
}

#[test]
fn the_end_of_the_last_task_is_noticed() {
    explore(3, || {
        let tasks = tasks();
        let connections = Arc::default();
        let threads = [(); 2].map(|()| {
            let (task, _) = tasks.enter();
            let registration = registered(&connections, &Options::new());
            thread::spawn(move || {
                let timer = task.opened(registration.member());
                drop(registration);
                drop(timer);
            })
        });
        block_on(tasks.finished());
        assert_eq!(connections.count(), 0);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_task_that_never_opens_a_connection_is_not_waited_for() {
    explore(3, || {
        let tasks = tasks();
        let (task, _) = tasks.enter();
        let refusing = thread::spawn(move || drop(task));
        block_on(tasks.finished());
        refusing.join().unwrap();
    });
}

#[test]
fn a_connection_ends_with_its_server_however_far_its_handshake_is() {
    explore_all(|| {
        let tasks = tasks();
        let (task, abort) = tasks.enter();
        let registration = registered(&Arc::default(), &Options::new());
        let member = Arc::clone(registration.member());
        let opening = {
            let member = Arc::clone(&member);
            Abortable::new(async move { task.opened(&member) }, abort)
        };
        let connecting = {
            let member = Arc::clone(&member);
            thread::spawn(move || match block_on(opening) {
                Ok(_timer) => block_on(Task::new(member, Span::none(), pending())),
                Err(Aborted) => {}
            })
        };
        tasks.abort_all();
        // This hangs unless the task is aborted, either while opening or through its link.
        connecting.join().unwrap();
    });
}

#[test]
fn every_deadline_that_passes_is_noticed() {
    explore_all(|| {
        let registration = registered(&Arc::default(), &Options::new());
        let member = Arc::clone(registration.member());
        let passed = Arc::new(AtomicUsize::new(0));
        let passing = {
            let (member, passed) = (Arc::clone(&member), Arc::clone(&passed));
            thread::spawn(move || {
                for _ in 0..2 {
                    passed.fetch_add(1, Ordering::SeqCst);
                    member.link().deadline_passed();
                }
            })
        };
        // The stages of a driver: it loads the flags, checks its deadlines, and parks.
        block_on(poll_fn(|cx| {
            let link = member.link();
            link.unpark();
            loop {
                let seen = link.flags();
                if link.take_due() {
                    if passed.load(Ordering::SeqCst) == 2 {
                        return Poll::Ready(());
                    }
                    // The second deadline is still to pass, and must not be lost with the first.
                }
                if link.park(cx.waker(), true, seen.phase(), true) {
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
        let timers = Arc::new(Timers::new(Clock::new(Steps::new())));
        let registration = registered(&Arc::default(), &Options::new());
        let member = Arc::clone(registration.member());
        let mut timer = Timer::shared(&timers, &member);
        let setting = thread::spawn(move || {
            let soon = timer.now().after(Some(Duration::ZERO));
            timer.set(soon);
            timer
        });
        let mut keeping = Box::pin(timers.keep());
        block_on(poll_fn(|cx| {
            let _ = keeping.as_mut().poll(cx);
            if member.link().take_due() { Poll::Ready(()) } else { Poll::Pending }
        }));
        drop(setting.join().unwrap());
    });
}

/// A clock that advances whenever it is read, and whose sleeps complete at once.
struct Steps {
    start: Instant,
    looks: std::sync::atomic::AtomicU32,
}

impl Steps {
    fn new() -> Self {
        Self { start: Instant::now(), looks: 0.into() }
    }
}

impl Time for Steps {
    fn time(&self) -> Instant {
        let looks = self.looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.start + Duration::from_millis(20) * looks
    }

    fn after(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(ready(()))
    }
}
