//! The tasks of a server's connections: counting them, waking them when a deadline is due,
//! and ending them with the server.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use event_listener::Event;
use futures::future::{AbortHandle, AbortRegistration, select};
use slab::Slab;

use crate::{connection::Link, runtime::Clock};

/// The tasks of a server. Runtimes differ in what dropping a task's handle does, so
/// tasks are detached, and aborted by means of our own.
///
/// Their deadlines are kept here too: one sleep for all of them, rather than a timer for
/// each connection.
pub(crate) struct Tasks {
    clock: Arc<dyn Clock>,
    running: Mutex<Running>,
    one_ended: Event,
    /// Notified when a deadline is nearer than all before.
    nearer: Event,
}

#[derive(Default)]
struct Running {
    tasks: Slab<Task>,
    /// The server is gone; what is not yet should be.
    aborted: bool,
    /// When the deadlines are looked at next.
    next_look: Option<Instant>,
}

struct Task {
    kind: Kind,
    deadline: Option<Instant>,
}

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
/// connections: it costs a few nanoseconds for each.
const REST: Duration = Duration::from_millis(5);
const REST_FOR_EACH: Duration = Duration::from_micros(1);

impl Tasks {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, running: Mutex::default(), one_ended: Event::new(), nearer: Event::new() }
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Counts a task in, until its [`Member`] is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> (Member, AbortRegistration) {
        let (handle, registration) = AbortHandle::new_pair();
        let task = Task { kind: Kind::Opening(handle), deadline: None };
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
        let mut rested = self.clock.now();
        loop {
            let nearer = self.nearer.listen();
            let next_look = self.lock().next_look;
            let Some(next_look) = next_look else {
                nearer.await;
                continue;
            };
            let wait = next_look.max(rested).saturating_duration_since(self.clock.now());
            if !wait.is_zero() {
                select(self.clock.sleep(wait), pin!(nearer)).await;
                continue;
            }
            let mut running = self.lock();
            rested = running.wake_due(self.clock.now());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Wakes those whose deadline has passed. Returns the earliest moment for the next look.
    fn wake_due(&mut self, now: Instant) -> Instant {
        self.next_look = None;
        for (_, task) in &mut self.tasks {
            match (task.deadline, &task.kind) {
                (Some(deadline), Kind::Connected(link)) if deadline <= now => {
                    task.deadline = None;
                    link.deadline_passed();
                }
                (Some(deadline), _) => {
                    self.next_look = Some(self.next_look.map_or(deadline, |at| at.min(deadline)));
                }
                (None, _) => {}
            }
        }
        let count = u32::try_from(self.tasks.len()).unwrap_or(u32::MAX);
        now + REST.max(REST_FOR_EACH.saturating_mul(count))
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
        let mut running = self.tasks.lock();
        if let Some(task) = running.tasks.get_mut(self.place) {
            task.deadline = deadline;
        }
        let is_nearer =
            deadline.is_some_and(|deadline| running.next_look.is_none_or(|at| deadline < at));
        if is_nearer {
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
