use std::time::Duration;

use crate::{
    options::Settings,
    runtime::{Now, Tick},
};

/// The deadlines of a connection. This reads no clock: the caller passes the time, and only
/// when a deadline may have passed, so that a message does not cost a look at a clock.
#[derive(Debug)]
pub(super) struct Deadlines {
    ping: Tick,
    /// When the peer must have sent something since the last ping.
    pong: Tick,
    /// When to check next whether the peer has sent a message.
    idle: Tick,
    /// How many checks in a row found no message.
    quiet: u8,
    /// When a blocked write must have progressed.
    write: Tick,
    lifetime: Tick,
    /// When the connection is closed in answer to the end of what the peer sent, even though a
    /// handler is still busy.
    answer: Tick,
    /// When the closing handshake must be over.
    close: Tick,
    /// Whether the nearest deadline may have changed.
    changed: bool,
    /// What the timer is set to.
    armed: Tick,
}

/// What happened on a connection since the last check, as marks that cost nothing to set.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Bytes arrived, or the peer accepted some after a write was blocked.
    pub(super) received: bool,
    /// A message arrived.
    pub(super) heard: bool,
}

/// What to do about a deadline that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// It is time for a ping.
    Ping,
    /// The peer sent nothing after a ping.
    NoPong,
    /// The peer has sent no message for too long.
    Idle,
    /// A blocked write has not progressed in time.
    Stuck,
    /// The connection has reached its maximum lifetime.
    Lifetime,
    /// A handler has delayed the answer to the end of what the peer sent for too long.
    NotAnswered,
    /// The closing handshake took too long.
    NotClosed,
}

/// How often silence is checked within an idle timeout. The connection is closed at most one
/// such interval late.
const LOOKS: u8 = 4;

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

    /// Starts the deadline for answering the end of what the peer sent, which came while a handler
    /// was busy.
    pub(super) fn await_answer(&mut self, now: Now, settings: &Settings) {
        self.answer = now.after(Some(settings.close_timeout));
        self.changed = true;
    }

    /// Whether the deadline for the answer runs.
    pub(super) fn awaits_answer(&self) -> bool {
        self.answer.is_set()
    }

    /// Clears the deadlines that watch the peer, because nothing more is expected from it.
    pub(super) fn stop_listening(&mut self) {
        (self.ping, self.pong, self.idle) = (Tick::NEVER, Tick::NEVER, Tick::NEVER);
        self.changed = true;
    }

    /// Starts the deadline of the closing handshake, which replaces all others.
    pub(super) fn begin_close(&mut self, now: Now, settings: &Settings) {
        self.stop();
        self.close = now.after(Some(settings.close_timeout));
    }

    /// Clears all deadlines.
    pub(super) fn stop(&mut self) {
        self.stop_listening();
        (self.write, self.lifetime) = (Tick::NEVER, Tick::NEVER);
        (self.answer, self.close) = (Tick::NEVER, Tick::NEVER);
    }

    /// What to set the timer to, unless it is set to that already.
    #[inline]
    pub(super) fn rearm(&mut self) -> Option<Tick> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let peer = self.ping.min(self.pong).min(self.idle);
        let next = peer.min(self.write).min(self.lifetime).min(self.answer).min(self.close);
        (std::mem::replace(&mut self.armed, next) != next).then_some(next)
    }

    /// Whether a write is blocked and its deadline runs.
    #[inline]
    pub(super) fn is_blocked(&self) -> bool {
        self.write.is_set()
    }

    /// Starts the deadline of a blocked write over, or, with `None`, clears it. While the
    /// connection closes, the deadline of the closing handshake covers writes too.
    pub(super) fn set_blocked(&mut self, now: Option<Now>, settings: &Settings) {
        if !self.close.is_set() {
            let write_timeout = Some(settings.write_timeout);
            self.write = now.map_or(Tick::NEVER, |now| now.after(write_timeout));
            self.changed = true;
        }
    }

    /// Returns one deadline that has passed; to be called until it returns `None`.
    pub(super) fn pass(
        &mut self,
        now: Now,
        activity: &mut Activity,
        settings: &Settings,
    ) -> Option<Due> {
        let tick = now.tick();
        // The timer has gone off, so it must be set again.
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
            // Another ping is of no use while the last one may still be answered.
            if !self.pong.is_set() || activity.received {
                activity.received = false;
                self.pong = now.after(settings.pong_timeout);
                return Some(Due::Ping);
            }
        }
        None
    }
}

/// The time between two checks for silence.
fn look(idle_timeout: Duration) -> Duration {
    idle_timeout / u32::from(LOOKS)
}
