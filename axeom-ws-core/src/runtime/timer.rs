//! The timers of connections. All connections of a server share one sleep; a connection that a
//! program serves by itself has one of its own.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use event_listener::{Event, EventListener};
use futures::future::{BoxFuture, select};

use super::Clock;
use crate::{
    shrink::shrunk,
    sync::{Mutex, lock},
};

/// A moment in ticks of 1/64 s since the start of a [`Timer`], or never.
///
/// Ticks wrap around after two years. Of two ticks, the later one is therefore the one that is
/// less than a year ahead of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tick(u32);

/// The length of a tick, which is also how late rounding can make a deadline. A second is a
/// whole number of ticks.
const TICK_MICROS: u64 = 1_000_000 / 64;

/// All deadlines are nearer than this, which is a little over a year.
const FURTHEST: u64 = TICK_MICROS << 31;

impl Tick {
    pub(crate) const NEVER: Self = Self(u32::MAX);

    pub(crate) fn is_set(self) -> bool {
        self != Self::NEVER
    }

    /// The earlier of the two.
    pub(crate) fn min(self, other: Self) -> Self {
        let is_earlier = other.is_set() && (!self.is_set() || other.is_before(self));
        if is_earlier { other } else { self }
    }

    /// Whether this tick has come, where `now` is the last whole tick.
    pub(crate) fn has_come(self, now: Self) -> bool {
        self.is_set() && !now.is_before(self)
    }

    fn is_before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }
}

/// The current time, from which deadlines are computed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    micros: u64,
}

impl Now {
    pub(crate) fn of(moment: Instant, start: Instant) -> Self {
        Self { micros: micros(moment.saturating_duration_since(start)) }
    }

    /// The microseconds since an earlier moment of the same timer.
    pub(crate) fn micros_since(self, earlier: Self) -> u64 {
        self.micros.saturating_sub(earlier.micros)
    }

    /// The last whole tick.
    pub(crate) fn tick(self) -> Tick {
        let tick = Tick((self.micros / TICK_MICROS) as u32);
        // `NEVER` must not come, so its value stands for no moment.
        if tick.is_set() { tick } else { Tick(u32::MAX - 1) }
    }

    /// The first tick that is at least `time` from now. It is `NEVER` for `None`, and for times
    /// over a year.
    pub(crate) fn after(self, time: Option<Duration>) -> Tick {
        match time.map(micros) {
            Some(time) if time < FURTHEST => {
                let tick = Tick(self.micros.saturating_add(time).div_ceil(TICK_MICROS) as u32);
                if tick.is_set() { tick } else { Tick(0) }
            }
            _ => Tick::NEVER,
        }
    }
}

fn micros(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(time.subsec_micros()))
}

/// The owner of a timer among those of a server. It has one at most.
pub(crate) trait Alarmed {
    /// Called when the deadline may have passed.
    fn deadline_passed(&self);

    /// Where the timer is among the others. It changes when another connection ends, under the lock
    /// of the timers; so the order of its loads and stores does not matter.
    fn timer_place(&self) -> &AtomicU32;
}

/// The timers of a server's connections, which share one sleep.
pub(crate) struct Timers<T> {
    clock: Clock,
    start: Instant,
    entries: Mutex<Entries<T>>,
    /// Notified when a deadline is set that is nearer than all others.
    nearer: Event,
    /// Notified when a connection ends.
    ended: Event,
}

struct Entries<T> {
    /// Without gaps, so that a look costs what the connections that are left cost.
    all: Vec<Entry<T>>,
    /// When to look at the deadlines next.
    next_look: Tick,
}

struct Entry<T> {
    deadline: Tick,
    owner: Arc<T>,
}

/// The pause after a look at the deadlines, for each connection. A look costs a few nanoseconds
/// per connection, so with many connections there are fewer looks.
const REST_FOR_EACH: Duration = Duration::from_micros(1);

impl<T: Alarmed> Timers<T> {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            start: clock.now(),
            clock,
            entries: Mutex::new(Entries { all: Vec::new(), next_look: Tick::NEVER }),
            nearer: Event::new(),
            ended: Event::new(),
        }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The owners of all timers.
    pub(crate) fn owners(&self) -> Vec<Arc<T>> {
        lock(&self.entries).all.iter().map(|entry| Arc::clone(&entry.owner)).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.entries).all.is_empty()
    }

    /// A listener that is notified when the next connection ends.
    pub(crate) fn one_ended(&self) -> EventListener {
        self.ended.listen()
    }

    /// Tells the connections when their deadlines have passed. It never completes, and works for
    /// as long as it is polled.
    pub(crate) async fn keep(&self) {
        let mut due = Vec::new();
        loop {
            let nearer = self.nearer.listen();
            let next_look = lock(&self.entries).next_look;
            if !next_look.is_set() {
                nearer.await;
                continue;
            }
            let now = self.now();
            if !next_look.has_come(now.tick()) {
                select(self.clock.sleep(wait(next_look, now)), pin!(nearer)).await;
                continue;
            }
            let count = lock(&self.entries).take_due(now.tick(), &mut due);
            for owner in due.drain(..) {
                owner.deadline_passed();
            }
            let rest = REST_FOR_EACH * u32::try_from(count).unwrap_or(u32::MAX);
            if micros(rest) > TICK_MICROS {
                self.clock.sleep(rest).await;
            }
        }
    }

    fn now(&self) -> Now {
        Now::of(self.clock.now(), self.start)
    }

    fn set(&self, owner: &T, deadline: Tick) {
        let mut entries = lock(&self.entries);
        entries.all[place(owner)].deadline = deadline;
        let next_look = entries.next_look.min(deadline);
        let is_nearer = next_look != entries.next_look;
        entries.next_look = next_look;
        drop(entries);
        if is_nearer {
            self.nearer.notify(usize::MAX);
        }
    }
}

fn place<T: Alarmed>(owner: &T) -> usize {
    owner.timer_place().load(Ordering::Relaxed) as usize
}

impl<T: Alarmed> Entries<T> {
    fn add(&mut self, owner: Arc<T>) {
        // There is no room for as many connections as this could not count.
        owner.timer_place().store(self.all.len() as u32, Ordering::Relaxed);
        self.all.push(Entry { deadline: Tick::NEVER, owner });
    }

    fn remove(&mut self, owner: &T) -> Entry<T> {
        let place = place(owner);
        let removed = self.all.swap_remove(place);
        if let Some(moved) = self.all.get(place) {
            moved.owner.timer_place().store(place as u32, Ordering::Relaxed);
        }
        if let Some(capacity) = shrunk(self.all.len(), self.all.capacity()) {
            self.all.shrink_to(capacity);
        }
        removed
    }

    /// Adds the owners whose deadline has come to `due`, and clears those deadlines. Returns how
    /// many timers there are.
    fn take_due(&mut self, now: Tick, due: &mut Vec<Arc<T>>) -> usize {
        self.next_look = Tick::NEVER;
        for entry in &mut self.all {
            if entry.deadline.has_come(now) {
                entry.deadline = Tick::NEVER;
                due.push(Arc::clone(&entry.owner));
            }
            self.next_look = self.next_look.min(entry.deadline);
        }
        self.all.len()
    }
}

/// The time until a tick.
fn wait(until: Tick, now: Now) -> Duration {
    let ticks = u64::from(until.0.wrapping_sub(now.tick().0));
    Duration::from_micros((ticks * TICK_MICROS).saturating_sub(now.micros % TICK_MICROS))
}

/// The timer of one connection, for one deadline at a time.
pub(crate) enum Timer<T: Alarmed> {
    /// It is one of a server's timers.
    Shared { timers: Arc<Timers<T>>, owner: Arc<T> },
    /// It sleeps by itself.
    Own(Box<OwnSleep>),
}

pub(crate) struct OwnSleep {
    clock: Clock,
    start: Instant,
    deadline: Tick,
    /// A sleep until the deadline, or a little less.
    sleep: Option<BoxFuture<'static, ()>>,
}

impl<T: Alarmed> Timer<T> {
    /// The timer of a connection that a server runs.
    pub(crate) fn shared(timers: &Arc<Timers<T>>, owner: &Arc<T>) -> Self {
        lock(&timers.entries).add(Arc::clone(owner));
        Self::Shared { timers: Arc::clone(timers), owner: Arc::clone(owner) }
    }

    /// The timer of a connection that a program serves by itself.
    pub(crate) fn own(clock: Clock) -> Self {
        let start = clock.now();
        Self::Own(Box::new(OwnSleep { clock, start, deadline: Tick::NEVER, sleep: None }))
    }

    pub(crate) fn now(&self) -> Now {
        match self {
            Self::Shared { timers, .. } => timers.now(),
            Self::Own(own) => Now::of(own.clock.now(), own.start),
        }
    }

    /// Lets other tasks run first, as [`Runtime::yield_now`](super::Runtime::yield_now).
    pub(crate) fn yield_now(&self, cx: &mut Context<'_>) {
        match self {
            Self::Shared { timers, .. } => timers.clock.yield_now(cx),
            Self::Own(own) => own.clock.yield_now(cx),
        }
    }

    /// Replaces the deadline; `Tick::NEVER` clears it.
    pub(crate) fn set(&mut self, deadline: Tick) {
        match self {
            Self::Shared { timers, owner } => timers.set(owner, deadline),
            Self::Own(own) => {
                own.deadline = deadline;
                own.sleep = None;
            }
        }
    }

    /// Ready once the deadline has passed, which also clears it. A shared timer is never ready,
    /// because it calls its owner instead.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self::Own(own) = self else { return Poll::Pending };
        if !own.deadline.is_set() {
            return Poll::Pending;
        }
        loop {
            if let Some(sleep) = &mut own.sleep {
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                own.sleep = None;
            }
            // A sleep may end early by the resolution of its clock.
            let now = Now::of(own.clock.now(), own.start);
            if own.deadline.has_come(now.tick()) {
                own.deadline = Tick::NEVER;
                return Poll::Ready(());
            }
            own.sleep = Some(own.clock.sleep(wait(own.deadline, now)));
        }
    }
}

impl<T: Alarmed> Drop for Timer<T> {
    fn drop(&mut self) {
        if let Self::Shared { timers, owner } = self {
            let entry = lock(&timers.entries).remove(owner);
            // Owners are dropped without the lock.
            drop(entry);
            timers.ended.notify(usize::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_micros(TICK_MICROS);

    fn now(since_start: Duration) -> Now {
        Now { micros: micros(since_start) }
    }

    #[test]
    fn a_deadline_comes_at_its_time_and_never_before() {
        for start in [Duration::ZERO, Duration::from_micros(1), TICK * u32::MAX, TICK * 12345] {
            for time in [Duration::from_micros(1), TICK, Duration::from_secs(25)] {
                let deadline = now(start).after(Some(time));
                assert!(!deadline.has_come(now(start + time - Duration::from_micros(1)).tick()));
                assert!(deadline.has_come(now(start + time + TICK * 2).tick()));
                let slept = start + wait(deadline, now(start));
                assert!(deadline.has_come(now(slept).tick()), "{start:?} {time:?}");
            }
        }
        assert!(now(TICK * 64).after(Some(TICK * 64)).has_come(now(TICK * 128).tick()));
    }

    #[test]
    fn ticks_keep_their_order_when_they_wrap_around() {
        let before = now(TICK * (u32::MAX - 100));
        let (soon, later) = (before.after(Some(TICK * 50)), before.after(Some(TICK * 500)));
        assert_eq!(soon.min(later), soon);
        assert_eq!(later.min(soon), soon);
        assert_eq!(Tick::NEVER.min(later), later);
        assert_eq!(later.min(Tick::NEVER), later);
        assert!(soon.has_come(now(TICK * (u32::MAX - 50)).tick()));
        assert!(!later.has_come(now(TICK * (u32::MAX - 50)).tick()));
        assert!(later.has_come(now(TICK * u32::MAX + TICK * 401).tick()));
        assert!(!Tick::NEVER.has_come(before.tick()));
        assert_eq!(before.after(Some(TICK * 100)), Tick(0));
        assert_eq!(before.after(Some(Duration::MAX)), Tick::NEVER);
        assert_eq!(before.after(None), Tick::NEVER);
        // A clock may jump anywhere.
        assert!(now(Duration::MAX).after(Some(TICK)).is_set());
    }

    /// Owners whose deadlines are looked at.
    #[derive(Default)]
    struct Owner {
        place: AtomicU32,
        passed: AtomicU32,
    }

    impl Alarmed for Owner {
        fn deadline_passed(&self) {
            self.passed.fetch_add(1, Ordering::Relaxed);
        }

        fn timer_place(&self) -> &AtomicU32 {
            &self.place
        }
    }

    #[test]
    fn timers_cost_what_is_left_of_them() {
        let mut entries = Entries { all: Vec::new(), next_look: Tick::NEVER };
        let owners: Vec<_> = (0..10_000).map(|_| Arc::new(Owner::default())).collect();
        owners.iter().for_each(|owner| entries.add(Arc::clone(owner)));
        for n in 0..9_999 {
            let owner = &owners[n * 7919 % 10_000];
            assert!(Arc::ptr_eq(&entries.remove(owner).owner, owner));
            assert!(entries.all.capacity() <= 32.max(4 * entries.all.len() + 3), "{n}");
        }
        let last = &owners[9_999 * 7919 % 10_000];
        assert_eq!((entries.all.len(), place(&**last)), (1, 0));
        entries.all[place(&**last)].deadline = Tick(5);
        let mut due = Vec::new();
        assert_eq!(entries.take_due(Tick(5), &mut due), 1);
        due.iter().for_each(|owner| owner.deadline_passed());
        let passed = owners.iter().filter(|owner| owner.passed.load(Ordering::Relaxed) > 0);
        assert_eq!((passed.count(), last.passed.load(Ordering::Relaxed)), (1, 1));
    }
}
