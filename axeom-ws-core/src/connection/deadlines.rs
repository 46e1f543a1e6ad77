use std::time::Instant;

use crate::options::Settings;

/// The deadlines of an open connection. Pure: it is told the time, and only when one of
/// them may have passed, so that a message costs no look at a clock.
#[derive(Debug)]
pub(super) struct Deadlines {
    ping: Option<Instant>,
    /// When something must have come since the last ping.
    pong: Option<Instant>,
    /// When the peer's silence is looked at next, and how many looks in a row found it.
    idle: Option<Instant>,
    quiet: u32,
    /// When a blocked write must have made progress.
    write: Option<Instant>,
    lifetime: Option<Instant>,
    /// When the peer's close frame is answered, even if a handler is still busy.
    answer: Option<Instant>,
    /// When the closing handshake must be over.
    close: Option<Instant>,
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
        Self {
            ping: settings.ping_interval.and_then(|after| now.checked_add(after)),
            pong: None,
            idle: settings.idle_timeout.and_then(|after| now.checked_add(after / LOOKS)),
            quiet: 0,
            write: None,
            lifetime: settings.max_lifetime.and_then(|after| now.checked_add(after)),
            answer: None,
            close: None,
        }
    }

    /// The peer's close frame came while a handler was busy.
    pub(super) fn await_answer(&mut self, now: Instant, settings: &Settings) {
        self.answer = now.checked_add(settings.close_timeout);
    }

    /// Nothing more is expected from the peer.
    pub(super) fn stop_listening(&mut self) {
        (self.ping, self.pong, self.idle) = (None, None, None);
    }

    /// The closing handshake begins; its own deadline takes the place of all others.
    pub(super) fn begin_close(&mut self, now: Instant, settings: &Settings) {
        self.stop_listening();
        (self.write, self.lifetime, self.answer) = (None, None, None);
        self.close = now.checked_add(settings.close_timeout);
    }

    /// The nearest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        let all =
            [self.ping, self.pong, self.idle, self.write, self.lifetime, self.answer, self.close];
        all.into_iter().flatten().min()
    }

    /// Whether a blocked write is waited for.
    pub(super) fn is_blocked(&self) -> bool {
        self.write.is_some()
    }

    /// A write is blocked, at first or after progress; or, with `None`, it is not.
    pub(super) fn set_blocked(&mut self, now: Option<Instant>, settings: &Settings) {
        if self.close.is_none() {
            self.write = now.and_then(|now| now.checked_add(settings.write_timeout));
        }
    }

    /// What follows from the deadlines that passed, one at a time.
    pub(super) fn pass(
        &mut self,
        now: Instant,
        activity: &mut Activity,
        settings: &Settings,
    ) -> Option<Due> {
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        if passed(self.close) {
            return Some(Due::NotClosed);
        }
        if passed(self.answer) {
            self.answer = None;
            return Some(Due::NotAnswered);
        }
        if passed(self.write) {
            return Some(Due::Stuck);
        }
        if passed(self.lifetime) {
            self.lifetime = None;
            return Some(Due::Lifetime);
        }
        if passed(self.pong) {
            self.pong = None;
            if !activity.received {
                return Some(Due::NoPong);
            }
        }
        if passed(self.idle) {
            self.quiet = if std::mem::take(&mut activity.heard) { 0 } else { self.quiet + 1 };
            self.idle = settings.idle_timeout.and_then(|after| now.checked_add(after / LOOKS));
            if self.quiet >= LOOKS {
                self.idle = None;
                return Some(Due::Idle);
            }
        }
        if passed(self.ping) {
            self.ping = settings.ping_interval.and_then(|after| now.checked_add(after));
            // While the last ping may still be answered, there is no use in another.
            if self.pong.is_none() || activity.received {
                activity.received = false;
                self.pong = settings.pong_timeout.and_then(|after| now.checked_add(after));
                return Some(Due::Ping);
            }
        }
        None
    }
}
