use std::time::Duration;

use crate::{
    options::Settings,
    runtime::{Now, Tick},
};

/// The deadlines of a connection. Pure: it is told the time, and only when one of them may have
/// passed, so that a message costs no look at a clock.
#[derive(Debug)]
pub(super) struct Deadlines {
    ping: Tick,
    /// When something must have come since the last ping.
    pong: Tick,
    /// When the peer's silence is looked at next, and how many looks in a row found it.
    idle: Tick,
    quiet: u32,
    /// When a blocked write must have made progress.
    write: Tick,
    lifetime: Tick,
    /// When the peer's close frame is answered, even if a handler is still busy.
    answer: Tick,
    /// When the closing handshake must be over.
    close: Tick,
    /// The nearest of them may be another than it was.
    changed: bool,
    /// What the timer is set to.
    armed: Tick,
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
    pub(super) fn new(now: Now, settings: &Settings) -> Self {
        Self {
            ping: now.after(settings.ping_interval),
            pong: Tick::NEVER,
            idle: now.after(settings.idle_timeout.map(look)),
            quiet: 0,
            write: Tick::NEVER,
            lifetime: now.after(settings.max_lifetime),
            answer: Tick::NEVER,
            close: Tick::NEVER,
            changed: true,
            armed: Tick::NEVER,
        }
    }

    /// The peer's close frame came while a handler was busy.
    pub(super) fn await_answer(&mut self, now: Now, settings: &Settings) {
        self.answer = now.after(Some(settings.close_timeout));
        self.changed = true;
    }

    /// Nothing more is expected from the peer.
    pub(super) fn stop_listening(&mut self) {
        (self.ping, self.pong, self.idle) = (Tick::NEVER, Tick::NEVER, Tick::NEVER);
        self.changed = true;
    }

    /// The closing handshake begins; its own deadline takes the place of all others.
    pub(super) fn begin_close(&mut self, now: Now, settings: &Settings) {
        self.stop();
        self.close = now.after(Some(settings.close_timeout));
    }

    /// There is nothing left to keep time for.
    pub(super) fn stop(&mut self) {
        self.stop_listening();
        (self.write, self.lifetime) = (Tick::NEVER, Tick::NEVER);
        (self.answer, self.close) = (Tick::NEVER, Tick::NEVER);
    }

    /// What the timer is to be set to, unless it is.
    #[inline]
    pub(super) fn rearm(&mut self) -> Option<Tick> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let peer = self.ping.min(self.pong).min(self.idle);
        let next = peer.min(self.write).min(self.lifetime).min(self.answer).min(self.close);
        (std::mem::replace(&mut self.armed, next) != next).then_some(next)
    }

    /// Whether a blocked write is waited for.
    #[inline]
    pub(super) fn is_blocked(&self) -> bool {
        self.write.is_set()
    }

    /// A write is blocked, at first or after progress; or, with `None`, it is not.
    pub(super) fn set_blocked(&mut self, now: Option<Now>, settings: &Settings) {
        if !self.close.is_set() {
            let write_timeout = Some(settings.write_timeout);
            self.write = now.map_or(Tick::NEVER, |now| now.after(write_timeout));
            self.changed = true;
        }
    }

    /// What follows from the deadlines that passed, one at a time.
    pub(super) fn pass(
        &mut self,
        now: Now,
        activity: &mut Activity,
        settings: &Settings,
    ) -> Option<Due> {
        let tick = now.tick();
        // The timer has gone off, so it has to be set again.
        self.changed = true;
        self.armed = Tick::NEVER;
        if self.close.has_come(tick) {
            return Some(Due::NotClosed);
        }
        if self.answer.has_come(tick) {
            self.answer = Tick::NEVER;
            return Some(Due::NotAnswered);
        }
        if self.write.has_come(tick) {
            return Some(Due::Stuck);
        }
        if self.lifetime.has_come(tick) {
            self.lifetime = Tick::NEVER;
            return Some(Due::Lifetime);
        }
        if self.pong.has_come(tick) {
            self.pong = Tick::NEVER;
            if !activity.received {
                return Some(Due::NoPong);
            }
        }
        if self.idle.has_come(tick) {
            self.quiet = if std::mem::take(&mut activity.heard) { 0 } else { self.quiet + 1 };
            self.idle = now.after(settings.idle_timeout.map(look));
            if self.quiet >= LOOKS {
                self.idle = Tick::NEVER;
                return Some(Due::Idle);
            }
        }
        if self.ping.has_come(tick) {
            self.ping = now.after(settings.ping_interval);
            // While the last ping may still be answered, there is no use in another.
            if !self.pong.is_set() || activity.received {
                activity.received = false;
                self.pong = now.after(settings.pong_timeout);
                return Some(Due::Ping);
            }
        }
        None
    }
}

/// How long after one look at the peer's silence comes the next.
fn look(idle_timeout: Duration) -> Duration {
    idle_timeout / LOOKS
}
