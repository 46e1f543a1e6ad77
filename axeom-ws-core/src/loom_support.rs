//! What the loom models have in common. A model is a small program in which two to four threads
//! use shared state. Loom runs it once for every order of events that could have a different
//! outcome, and fails it if an assertion fails or all threads sleep. Each model is in a
//! `loom_model.rs` beside the code that it checks.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p axeom-ws-core --lib --release --target-dir target/loom loom_model
//! ```

use std::{
    future::Future,
    hash::{BuildHasher, Hasher},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake},
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, pending};

use loom::sync::{Condvar, Mutex};

use crate::{
    hub::{Capacity, Connections, Place, Registration},
    link::Link,
    message::SendMessage,
    options::Options,
    protocol::Role,
    runtime::Time,
};

/// Runs a model in every order of events.
pub(crate) fn explore_all(model: impl Fn() + Send + Sync + 'static) {
    run(None, model);
}

/// Runs a model in every order with at most this many preemptions; switching away from a thread
/// that waits does not count as one. All orders of a larger model would take hours. The variable
/// `LOOM_MAX_PREEMPTIONS` overrides the number.
pub(crate) fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    run(Some(preemptions), model);
}

fn run(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    builder.max_branches = 20_000;
    let orders = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&orders);
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!("{} orders", orders.load(Ordering::Relaxed));
}

/// Runs a future on this thread, which sleeps until the future is woken. There are no spurious
/// wake-ups that could hide a missing one.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let alarm = Arc::new(Alarm::default());
    let waker = Arc::clone(&alarm).into();
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut rung = alarm.rung.lock().unwrap();
        while !*rung {
            rung = alarm.condition.wait(rung).unwrap();
        }
        *rung = false;
    }
}

#[derive(Default)]
struct Alarm {
    rung: Mutex<bool>,
    condition: Condvar,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap() = true;
        self.condition.notify_one();
    }
}

/// Gives every key the same hash, because a map must iterate in the same order each time a model
/// runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct RandomState;

impl RandomState {
    pub(crate) fn new() -> Self {
        Self
    }
}

impl BuildHasher for RandomState {
    type Hasher = Alike;

    fn build_hasher(&self) -> Alike {
        Alike
    }
}

pub(crate) struct Alike;

impl Hasher for Alike {
    fn write(&mut self, _: &[u8]) {}

    fn finish(&self) -> u64 {
        0
    }
}

/// A clock that stands still, so that no deadline ever passes.
pub(crate) struct Standstill(Instant);

impl Standstill {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Time for Standstill {
    fn time(&self) -> Instant {
        self.0
    }

    fn after(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(pending())
    }
}

/// The link of a new connection on the server side.
pub(crate) fn link(options: &Options) -> Link {
    Link::new(Role::Server, Arc::new(options.resolve().unwrap()), None)
}

/// A connection that is registered among those of an app.
pub(crate) fn registered(connections: &Arc<Connections>, options: &Options) -> Registration {
    let place = Place::take(connections, None, Capacity::default()).unwrap();
    connections.register(link(options), place).unwrap()
}

/// A message whose frame has [`FRAME`] bytes.
pub(crate) fn message() -> SendMessage {
    "m".into()
}

pub(crate) const FRAME: usize = 3;
