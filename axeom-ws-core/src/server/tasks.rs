//! Tracks the tasks of a server's connections, so that they end with the server.

use std::{collections::HashMap, sync::Arc};

use event_listener::Event;
use futures::future::{AbortHandle, AbortRegistration, select};

use crate::{
    hub::Member,
    runtime::{Timer, Timers},
    shrink::shrunk,
    sync::{Mutex, RandomState, lock},
};

/// The tasks of a server. Runtimes differ in what dropping a task handle does, so tasks are
/// detached, and this aborts them.
///
/// It stores only connections that are still opening. Open ones are registered with the server's
/// timers.
pub(super) struct Tasks {
    timers: Arc<Timers<Member>>,
    opening: Mutex<Opening>,
    one_left: Event,
}

#[derive(Default)]
struct Opening {
    handles: HashMap<u64, AbortHandle, RandomState>,
    /// How many tasks there were, which numbers the next one.
    entered: u64,
}

impl Tasks {
    pub(super) fn new(timers: Arc<Timers<Member>>) -> Self {
        Self { timers, opening: Mutex::default(), one_left: Event::new() }
    }

    pub(super) fn timers(&self) -> &Arc<Timers<Member>> {
        &self.timers
    }

    /// A task enters the timers before it leaves `opening`, so it is always in one of them.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.opening).handles.is_empty() && self.timers.is_empty()
    }

    /// Registers a task that opens a connection.
    pub(super) fn enter(self: &Arc<Self>) -> (OpeningTask, AbortRegistration) {
        let (handle, registration) = AbortHandle::new_pair();
        let mut opening = lock(&self.opening);
        let number = opening.entered;
        opening.entered += 1;
        opening.handles.insert(number, handle);
        drop(opening);
        (OpeningTask { number, tasks: Arc::clone(self) }, registration)
    }

    pub(super) fn abort_all(&self) {
        let opening: Vec<_> = lock(&self.opening).handles.values().cloned().collect();
        for handle in opening {
            handle.abort();
        }
        // A task that opens its connection meanwhile is among these owners, or finds its handle
        // aborted in `opened`.
        for member in self.timers.owners() {
            member.link().abandon();
        }
    }

    /// Waits until no task is left.
    pub(super) async fn finished(&self) {
        loop {
            let (opened, ended) = (self.one_left.listen(), self.timers.one_ended());
            if self.is_empty() {
                return;
            }
            select(opened, ended).await;
        }
    }
}

/// Keeps a task registered as opening, until it is dropped.
pub(super) struct OpeningTask {
    number: u64,
    tasks: Arc<Tasks>,
}

impl OpeningTask {
    pub(super) fn timers(&self) -> &Timers<Member> {
        &self.tasks.timers
    }

    /// Notes that the connection is open. From now on the returned timer keeps its task registered,
    /// and its link aborts the task.
    pub(super) fn opened(self, member: &Arc<Member>) -> Timer<Member> {
        let timer = Timer::shared(&self.tasks.timers, member);
        let is_aborted = |handle: &AbortHandle| handle.is_aborted();
        if lock(&self.tasks.opening).handles.get(&self.number).is_some_and(is_aborted) {
            member.link().abandon();
        }
        timer
    }
}

impl Drop for OpeningTask {
    fn drop(&mut self) {
        let mut opening = lock(&self.tasks.opening);
        let handle = opening.handles.remove(&self.number);
        if let Some(capacity) = shrunk(opening.handles.len(), opening.handles.capacity()) {
            opening.handles.shrink_to(capacity);
        }
        drop(opening);
        // This may be the last handle: what it owns is dropped without the lock.
        drop(handle);
        self.tasks.one_left.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::ready,
        time::{Duration, Instant},
    };

    use futures::future::BoxFuture;

    use super::*;
    use crate::runtime::{Clock, Time};

    /// A clock that nobody asks.
    struct NoTime;

    impl Time for NoTime {
        fn time(&self) -> Instant {
            Instant::now()
        }

        fn after(&self, _: Duration) -> BoxFuture<'static, ()> {
            Box::pin(ready(()))
        }
    }

    #[test]
    fn tasks_that_have_ended_give_their_room_back() {
        let tasks = Arc::new(Tasks::new(Arc::new(Timers::new(Clock::new(NoTime)))));
        let mut entered: Vec<_> = (0..10_000).map(|_| tasks.enter()).collect();
        let (last, abort) = entered.swap_remove(7);
        drop(entered);
        {
            let opening = lock(&tasks.opening);
            assert_eq!(opening.handles.len(), 1);
            assert!(opening.handles.capacity() <= 64, "{}", opening.handles.capacity());
        }
        tasks.abort_all();
        assert!(abort.handle().is_aborted());
        drop(last);
        assert!(lock(&tasks.opening).handles.is_empty());
    }
}
