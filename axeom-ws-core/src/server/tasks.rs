//! Tracks the tasks of a server's connections, so that they end with the server.

use std::sync::Arc;

use event_listener::Event;
use futures::future::{AbortHandle, AbortRegistration, select};
use slab::Slab;

use crate::{
    hub::Member,
    runtime::{Timer, Timers},
    sync::{Mutex, lock},
};

/// The tasks of a server. Runtimes differ in what dropping a task handle does, so tasks are
/// detached, and this aborts them.
///
/// It stores only connections that are still opening. Open ones are registered with the server's
/// timers.
pub(super) struct Tasks {
    timers: Arc<Timers<Member>>,
    opening: Mutex<Slab<AbortHandle>>,
    one_left: Event,
}

impl Tasks {
    pub(super) fn new(timers: Arc<Timers<Member>>) -> Self {
        Self { timers, opening: Mutex::default(), one_left: Event::new() }
    }

    /// Registers a task that opens a connection.
    pub(super) fn enter(self: &Arc<Self>) -> (OpeningTask, AbortRegistration) {
        let (handle, registration) = AbortHandle::new_pair();
        let place = lock(&self.opening).insert(handle);
        (OpeningTask { place, tasks: Arc::clone(self) }, registration)
    }

    pub(super) fn abort_all(&self) {
        let opening: Vec<_> =
            lock(&self.opening).iter().map(|(_, handle)| handle.clone()).collect();
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
            // A task enters the timers before it leaves `opening`, so it is always in one of them.
            if lock(&self.opening).is_empty() && self.timers.is_empty() {
                return;
            }
            select(opened, ended).await;
        }
    }
}

/// Keeps a task registered as opening, until it is dropped.
pub(super) struct OpeningTask {
    place: usize,
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
        if lock(&self.tasks.opening).get(self.place).is_some_and(is_aborted) {
            member.link().abandon();
        }
        timer
    }
}

impl Drop for OpeningTask {
    fn drop(&mut self) {
        let handle = lock(&self.tasks.opening).try_remove(self.place);
        // This may be the last handle: what it owns is dropped without the lock.
        drop(handle);
        self.tasks.one_left.notify(usize::MAX);
    }
}
