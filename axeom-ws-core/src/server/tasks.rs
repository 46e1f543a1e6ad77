//! The tasks of a server's connections: counting them, and ending them with the server.

use std::sync::Arc;

use event_listener::Event;
use futures::future::{AbortHandle, AbortRegistration};
use slab::Slab;

use crate::{
    hub::Member,
    sync::{Mutex, lock},
};

/// The tasks of a server. Runtimes differ in what dropping a task's handle does, so
/// tasks are detached, and aborted by means of our own.
#[derive(Default)]
pub(super) struct Tasks {
    running: Mutex<Running>,
    one_ended: Event,
}

#[derive(Default)]
struct Running {
    tasks: Slab<Abort>,
    /// The server is gone; what is not yet should be.
    aborted: bool,
}

/// How a task is ended from outside.
#[derive(Clone)]
enum Abort {
    Opening(AbortHandle),
    Connected(Arc<Member>),
}

impl Abort {
    fn abort(&self) {
        match self {
            Self::Opening(handle) => handle.abort(),
            Self::Connected(member) => member.link().abandon(),
        }
    }
}

impl Tasks {
    /// Counts a task in, until its guard is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> (TaskGuard, AbortRegistration) {
        let (handle, registration) = AbortHandle::new_pair();
        let place = lock(&self.running).tasks.insert(Abort::Opening(handle));
        (TaskGuard { place, tasks: Arc::clone(self) }, registration)
    }

    pub(super) fn abort_all(&self) {
        let all: Vec<Abort> = {
            let mut running = lock(&self.running);
            running.aborted = true;
            running.tasks.iter().map(|(_, task)| task.clone()).collect()
        };
        for task in all {
            task.abort();
        }
    }

    /// Waits until there are no tasks.
    pub(super) async fn finished(&self) {
        while !lock(&self.running).tasks.is_empty() {
            let listener = self.one_ended.listen();
            if !lock(&self.running).tasks.is_empty() {
                listener.await;
            }
        }
    }
}

/// A task's place among those of its server.
pub(super) struct TaskGuard {
    place: usize,
    tasks: Arc<Tasks>,
}

impl TaskGuard {
    /// The handshake is done: from now on the task ends through its link.
    pub(super) fn connected(&self, member: &Arc<Member>) {
        let aborted = {
            let mut running = lock(&self.tasks.running);
            if let Some(task) = running.tasks.get_mut(self.place) {
                *task = Abort::Connected(Arc::clone(member));
            }
            running.aborted
        };
        if aborted {
            member.link().abandon();
        }
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        let task = lock(&self.tasks.running).tasks.try_remove(self.place);
        // What it holds is given up without the lock.
        drop(task);
        self.tasks.one_ended.notify(usize::MAX);
    }
}
