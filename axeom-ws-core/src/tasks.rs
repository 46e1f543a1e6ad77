//! The tasks of a server's connections: counting them, waking them when a deadline is due,
//! and ending them with the server.

#[cfg(all(test, loom))]
mod model;

use std::{
    pin::pin,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use event_listener::Event;
use futures::future::{AbortHandle, AbortRegistration, select};
use slab::Slab;

use crate::{
    connection::Link,
    runtime::Clock,
    sync::{Mutex, MutexGuard},
};

/// The tasks of a server. Runtimes differ in what dropping a task's handle does, so
/// tasks are detached, and aborted by means of our own.
///
/// Their deadlines are kept here too: one sleep for all of them, rather than a timer for
/// each connection.
pub(crate) struct Tasks {
    clock: Arc<dyn Clock>,
    start: Instant,
    running: Mutex<Running>,
    one_ended: Event,
    /// Notified when a deadline is nearer than all before.
    nearer: Event,
}

struct Running {
    tasks: Slab<Task>,
    /// The server is gone; what is not yet should be.
    aborted: bool,
    /// When the deadlines are looked at next.
    next_look: u64,
}

impl Default for Running {
    fn default() -> Self {
        Self { tasks: Slab::new(), aborted: false, next_look: NEVER }
    }
}

struct Task {
    kind: Kind,
    /// When it is to be woken, in microseconds since the server's start.
    deadline: u64,
}

/// The deadline of a task that has none.
const NEVER: u64 = u64::MAX;

enum Kind {
    Opening(AbortHandle),
    Connected(Arc<Link>),
}

impl Kind {
    fn abort(&self) {
        match self {
            Self::Opening(handle) => handle.abort(),
            Self::Connected(link) => link.abort(),
        }
    }
}

/// A look at all deadlines is at least this long after the last, and longer with many
/// connections, in microseconds: it costs a few nanoseconds for each.
const REST: u64 = 5000;
const REST_FOR_EACH: u64 = 1;

impl Tasks {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            start: clock.now(),
            clock,
            running: Mutex::default(),
            one_ended: Event::new(),
            nearer: Event::new(),
        }
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Counts a task in, until its [`Member`] is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> (Member, AbortRegistration) {
        let (handle, registration) = AbortHandle::new_pair();
        let task = Task { kind: Kind::Opening(handle), deadline: NEVER };
        let place = self.lock().tasks.insert(task);
        (Member { place, tasks: Arc::clone(self) }, registration)
    }

    pub(crate) fn abort_all(&self) {
        let mut running = self.lock();
        running.aborted = true;
        for (_, task) in &running.tasks {
            task.kind.abort();
        }
    }

    /// Waits until there are no tasks.
    pub(crate) async fn finished(&self) {
        while !self.lock().tasks.is_empty() {
            let listener = self.one_ended.listen();
            if !self.lock().tasks.is_empty() {
                listener.await;
            }
        }
    }

    /// Wakes connections when their deadlines are due, for as long as it is polled.
    pub(crate) async fn keep_time(&self) {
        let mut rested = 0;
        loop {
            let nearer = self.nearer.listen();
            let next_look = self.lock().next_look;
            if next_look == NEVER {
                nearer.await;
                continue;
            }
            let now = self.micros(self.clock.now());
            let next_look = next_look.max(rested);
            if next_look > now {
                let wait = Duration::from_micros(next_look - now);
                select(self.clock.sleep(wait), pin!(nearer)).await;
                continue;
            }
            let mut running = self.lock();
            running.wake_due(now);
            rested = now + REST.max(REST_FOR_EACH * running.tasks.len() as u64);
        }
    }

    fn micros(&self, moment: Instant) -> u64 {
        let since_start = moment.saturating_duration_since(self.start);
        u64::try_from(since_start.as_micros()).unwrap_or(NEVER - 1)
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Wakes those whose deadline has passed.
    fn wake_due(&mut self, now: u64) {
        self.next_look = NEVER;
        for (_, task) in &mut self.tasks {
            if task.deadline <= now {
                task.deadline = NEVER;
                if let Kind::Connected(link) = &task.kind {
                    link.deadline_passed();
                }
            }
            self.next_look = self.next_look.min(task.deadline);
        }
    }
}

/// A task's place among those of its server.
pub(crate) struct Member {
    place: usize,
    tasks: Arc<Tasks>,
}

impl Member {
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.tasks.clock
    }

    /// The handshake is done: from now on an abort goes through the link.
    pub(crate) fn connected(&self, link: Arc<Link>) {
        let mut running = self.tasks.lock();
        if running.aborted {
            link.abort();
        }
        if let Some(task) = running.tasks.get_mut(self.place) {
            task.kind = Kind::Connected(link);
        }
    }

    /// The link is told when `deadline` has passed, in place of any other.
    pub(crate) fn set_deadline(&self, deadline: Option<Instant>) {
        // Rounded up: it has passed when the connection is told.
        let deadline = deadline.map_or(NEVER, |deadline| self.tasks.micros(deadline) + 1);
        let mut running = self.tasks.lock();
        if let Some(task) = running.tasks.get_mut(self.place) {
            task.deadline = deadline;
        }
        if deadline < running.next_look {
            running.next_look = deadline;
            drop(running);
            self.tasks.nearer.notify(usize::MAX);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let task = self.tasks.lock().tasks.try_remove(self.place);
        // What it holds is given up without the lock.
        drop(task);
        self.tasks.one_ended.notify(usize::MAX);
    }
}
