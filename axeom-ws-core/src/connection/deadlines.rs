use std::time::{Duration, Instant};

use crate::options::Settings;

/// The deadlines of an open connection. Pure: it is told the time, and only when one of
/// them may have passed, so that a message costs no look at a clock.
#[derive(Debug)]
pub(super) struct Deadlines {
    start: Instant,
    ping: At,
    /// When something must have come since the last ping.
    pong: At,
    /// When the peer's silence is looked at next, and how many looks in a row found it.
    idle: At,
    quiet: u32,
    /// When a blocked write must have made progress.
    write: At,
    lifetime: At,
    /// When the peer's close frame is answered, even if a handler is still busy.
    answer: At,
    /// When the closing handshake must be over.
    close: At,
}

/// A moment in ticks since the start, or never; a quarter of an `Option<Instant>`. A
/// connection two years old has no deadlines any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At(u32);

/// A deadline is at most this late for its own sake. A second has a whole number of them.
const TICK: Duration = Duration::from_micros(1_000_000 / 64);

impl At {
    pub(super) const NEVER: Self = Self(u32::MAX);

    fn is_set(self) -> bool {
        self != Self::NEVER
    }
}

/// What a connection did since it was last asked, as marks that cost nothing to set.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Bytes came, or the peer was seen to take some.
    pub(super) received: bool,
    /// A message came.
    pub(super) heard: bool,
}

/// What follows from a deadline that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// It is time for a ping.
    Ping,
    /// Nothing came after a ping.
    NoPong,
    /// No message came for too long.
    Idle,
    /// A write made no progress.
    Stuck,
    /// The connection is as old as it may become.
    Lifetime,
    /// A handler has kept the peer's close frame waiting for too long.
    NotAnswered,
    /// The closing handshake took too long.
    NotClosed,
}

/// Silence is looked at this many times in an idle timeout: the connection is closed at
/// most one such part late.
const LOOKS: u32 = 4;

impl Deadlines {
    pub(super) fn new(now: Instant, settings: &Settings) -> Self {
        let mut all = Self {
            start: now,
            ping: At::NEVER,
            pong: At::NEVER,
            idle: At::NEVER,
            quiet: 0,
            write: At::NEVER,
            lifetime: At::NEVER,
            answer: At::NEVER,
            close: At::NEVER,
        };
        all.ping = all.after(now, settings.ping_interval);
        all.idle = all.after(now, settings.idle_timeout.map(look));
        all.lifetime = all.after(now, settings.max_lifetime);
        all
    }

    /// The peer's close frame came while a handler was busy.
    pub(super) fn await_answer(&mut self, now: Instant, settings: &Settings) {
        self.answer = self.after(now, Some(settings.close_timeout));
    }

    /// Nothing more is expected from the peer.
    pub(super) fn stop_listening(&mut self) {
        (self.ping, self.pong, self.idle) = (At::NEVER, At::NEVER, At::NEVER);
    }

    /// The closing handshake begins; its own deadline takes the place of all others.
    pub(super) fn begin_close(&mut self, now: Instant, settings: &Settings) {
        self.stop_listening();
        (self.write, self.lifetime, self.answer) = (At::NEVER, At::NEVER, At::NEVER);
        self.close = self.after(now, Some(settings.close_timeout));
    }

    /// The nearest deadline.
    pub(super) fn next(&self) -> At {
        self.ping
            .min(self.pong)
            .min(self.idle)
            .min(self.write)
            .min(self.lifetime)
            .min(self.answer)
            .min(self.close)
    }

    /// When that is, unless it is never.
    pub(super) fn moment(&self, at: At) -> Option<Instant> {
        if !at.is_set() {
            return None;
        }
        self.start.checked_add(TICK * at.0)
    }

    /// Whether a blocked write is waited for.
    pub(super) fn is_blocked(&self) -> bool {
        self.write.is_set()
    }

    /// A write is blocked, at first or after progress; or, with `None`, it is not.
    pub(super) fn set_blocked(&mut self, now: Option<Instant>, settings: &Settings) {
        if !self.close.is_set() {
            self.write = now.map_or(At::NEVER, |now| self.after(now, Some(settings.write_timeout)));
        }
    }

    /// What follows from the deadlines that passed, one at a time.
    pub(super) fn pass(
        &mut self,
        now: Instant,
        activity: &mut Activity,
        settings: &Settings,
    ) -> Option<Due> {
        let moment = self.at(now);
        let passed = |deadline: At| deadline <= moment;
        if passed(self.close) {
            return Some(Due::NotClosed);
        }
        if passed(self.answer) {
            self.answer = At::NEVER;
            return Some(Due::NotAnswered);
        }
        if passed(self.write) {
            return Some(Due::Stuck);
        }
        if passed(self.lifetime) {
            self.lifetime = At::NEVER;
            return Some(Due::Lifetime);
        }
        if passed(self.pong) {
            self.pong = At::NEVER;
            if !activity.received {
                return Some(Due::NoPong);
            }
        }
        if passed(self.idle) {
            self.quiet = if std::mem::take(&mut activity.heard) { 0 } else { self.quiet + 1 };
            self.idle = self.after(now, settings.idle_timeout.map(look));
            if self.quiet >= LOOKS {
                self.idle = At::NEVER;
                return Some(Due::Idle);
            }
        }
        if passed(self.ping) {
            self.ping = self.after(now, settings.ping_interval);
            // While the last ping may still be answered, there is no use in another.
            if !self.pong.is_set() || activity.received {
                activity.received = false;
                self.pong = self.after(now, settings.pong_timeout);
                return Some(Due::Ping);
            }
        }
        None
    }

    fn at(&self, moment: Instant) -> At {
        let ticks = moment.saturating_duration_since(self.start).as_micros() / TICK.as_micros();
        At(u32::try_from(ticks).unwrap_or(u32::MAX).min(u32::MAX - 1))
    }

    fn after(&self, now: Instant, time: Option<Duration>) -> At {
        let Some(time) = time else { return At::NEVER };
        let since_start = now.saturating_duration_since(self.start).saturating_add(time);
        let ticks = since_start.as_micros().div_ceil(TICK.as_micros());
        At(u32::try_from(ticks).unwrap_or(u32::MAX))
    }
}

/// How long after one look at the peer's silence comes the next.
fn look(idle_timeout: Duration) -> Duration {
    idle_timeout / LOOKS
}
