//! The tasks of a server's connections: counting them, and ending them with the server.

use std::sync::Arc;

use event_listener::Event;
use futures::future::{AbortHandle, AbortRegistration, select};
use slab::Slab;

use crate::{
    hub::Member,
    runtime::{Timer, Timers},
    sync::{Mutex, lock},
};

/// The tasks of a server. Runtimes differ in what dropping a task's handle does, so
/// tasks are detached, and aborted by means of our own.
///
/// A connection that is open is among the server's timers, and counts there; only those that
/// are still opening are kept here.
pub(super) struct Tasks {
    timers: Arc<Timers<Member>>,
    opening: Mutex<Slab<AbortHandle>>,
    one_opened: Event,
}

impl Tasks {
    pub(super) fn new(timers: Arc<Timers<Member>>) -> Self {
        Self { timers, opening: Mutex::default(), one_opened: Event::new() }
    }

    /// Counts a task in that opens a connection.
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
        // Whoever opens a connection meanwhile is among these, or finds its handle aborted.
        for member in self.timers.owners() {
            member.link().abandon();
        }
    }

    /// Waits until there are no tasks.
    pub(super) async fn finished(&self) {
        loop {
            let (opened, ended) = (self.one_opened.listen(), self.timers.one_ended());
            // A task that has opened its connection is among the timers before it leaves here.
            if lock(&self.opening).is_empty() && self.timers.is_empty() {
                return;
            }
            select(opened, ended).await;
        }
    }
}

/// A task that opens a connection, as its server counts it.
pub(super) struct OpeningTask {
    place: usize,
    tasks: Arc<Tasks>,
}

impl OpeningTask {
    pub(super) fn timers(&self) -> &Timers<Member> {
        &self.tasks.timers
    }

    /// The connection is open: from now on its task counts by its timer, and ends through its
    /// link.
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
        // What it holds is given up without the lock.
        drop(handle);
        self.tasks.one_opened.notify(usize::MAX);
    }
}
