use std::time::Duration;

use super::pace::{Pace, Progress};
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
    /// What was on its way to a peer that could not be heard when that was last looked at.
    unanswered: u64,
    /// When to check next whether the peer has sent a message.
    idle: Tick,
    /// How many checks in a row found no message.
    quiet: u8,
    /// In a box, because few connections need it at a time.
    pace: Option<Box<Pace>>,
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
    /// Bytes arrived, or the peer took some while a write was blocked.
    pub(super) received: bool,
    /// Reading was stopped for a while, so that bytes may wait in the transport.
    pub(super) stopped: bool,
    /// Marks that are all set when a message arrives, and cleared one by one.
    messages: u8,
}

impl Activity {
    /// The connection does not read, so the peer's silence must not count against it.
    pub(super) fn note_stop(&mut self) {
        self.stopped = true;
        self.note_message();
    }

    /// A message arrived, or may have arrived if the connection had not stopped reading.
    #[inline]
    pub(super) fn note_message(&mut self) {
        self.messages = u8::MAX;
    }

    /// Whether a message left this mark since the last call.
    pub(super) fn take_mark(&mut self, mark: u8) -> bool {
        let is_marked = self.messages & mark != 0;
        self.messages &= !mark;
        is_marked
    }
}

/// The mark in [`Activity::messages`] for the idle timeout.
const FOR_IDLE: u8 = 1;

/// What to do about a deadline that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// It is time for a ping.
    Ping,
    /// The peer sent nothing after a ping.
    NoPong,
    /// The peer has sent no message for too long.
    Idle,
    /// The peer has taken nothing in time of a write that is blocked.
    Stuck,
    /// The peer takes too little of what is sent.
    TooSlow,
    /// The peer does not finish a message in time, or sends too little of it.
    Unfinished,
    /// The connection has reached its maximum lifetime.
    Lifetime,
    /// A handler has delayed the answer to the end of what the peer sent for too long.
    NotAnswered,
    /// The closing handshake took too long.
    NotClosed,
}

/// How often a peer is looked at within the time in which it must do something. What it missed
/// is noticed at most one such interval late.
pub(super) const LOOKS: u8 = 4;

/// How long what a peer still sends is read and dropped after a violation.
const LINGER: Duration = Duration::from_secs(2);

impl Deadlines {
    pub(super) fn new(now: Now, settings: &Settings) -> Self {
        Self {
            ping: now.after(settings.ping_interval),
            pong: Tick::NEVER,
            unanswered: 0,
            idle: now.after(settings.idle_timeout.map(look)),
            quiet: 0,
            pace: None,
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
        if let Some(pace) = &mut self.pace {
            pace.stop_watching_message();
        }
        self.changed = true;
    }

    /// Starts the deadline of the closing handshake, which replaces all others.
    pub(super) fn begin_close(&mut self, now: Now, settings: &Settings) {
        self.stop();
        self.close = now.after(Some(settings.close_timeout));
    }

    /// Our part of the closing handshake is done, and the peer has a moment to read it.
    pub(super) fn linger(&mut self, now: Now) {
        self.close = self.close.min(now.after(Some(LINGER)));
        self.changed = true;
    }

    /// Clears all deadlines.
    pub(super) fn stop(&mut self) {
        self.stop_listening();
        self.pace = None;
        self.lifetime = Tick::NEVER;
        (self.answer, self.close) = (Tick::NEVER, Tick::NEVER);
    }

    /// What to set the timer to, unless it is set to that already.
    #[inline]
    pub(super) fn rearm(&mut self) -> Option<Tick> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let peer = self.ping.min(self.pong).min(self.idle);
        let pace = self.pace.as_ref().map_or(Tick::NEVER, |pace| pace.next());
        let next = peer.min(pace).min(self.lifetime).min(self.answer).min(self.close);
        (std::mem::replace(&mut self.armed, next) != next).then_some(next)
    }

    /// Whether a write is blocked and its deadlines run.
    #[inline]
    pub(super) fn is_blocked(&self) -> bool {
        self.pace.as_ref().is_some_and(|pace| pace.is_blocked())
    }

    /// A write is blocked now, after so many bytes were written. While the connection closes, the
    /// deadline of the closing handshake covers writes too.
    pub(super) fn block(
        &mut self,
        now: Now,
        written: usize,
        on_its_way: u64,
        activity: &mut Activity,
        settings: &Settings,
    ) {
        if !self.close.is_set() {
            self.pace().block(now, written, on_its_way, activity, settings);
            self.changed = true;
        }
    }

    /// No write is blocked any more, after so many bytes were written.
    pub(super) fn unblock(&mut self, written: usize, on_its_way: u64, activity: &mut Activity) {
        self.pace().unblock(written, on_its_way, activity);
        self.changed = true;
        self.forget_pace();
    }

    fn pace(&mut self) -> &mut Pace {
        self.pace.get_or_insert_with(|| Box::new(Pace::new()))
    }

    /// Gives up what watches the peer's pace, if nothing is to be watched any more.
    fn forget_pace(&mut self) {
        self.pace.take_if(|pace| !pace.is_blocked() && !pace.watches_message());
    }

    /// Whether the deadlines of an unfinished message run.
    #[inline]
    pub(super) fn watches_message(&self) -> bool {
        self.pace.as_ref().is_some_and(|pace| pace.watches_message())
    }

    /// Starts the deadlines of an unfinished message, of which so many bytes are held.
    pub(super) fn watch_message(&mut self, now: Now, held: usize, settings: &Settings) {
        self.pace().watch_message(now, held, settings);
        self.changed = true;
    }

    /// Returns one deadline that has passed; to be called until it returns `None`.
    pub(super) fn pass(
        &mut self,
        now: Now,
        progress: &Progress,
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
        if let Some(pace) = &mut self.pace {
            if let due @ Some(_) = pace.pass(now, progress, activity, settings) {
                return due;
            }
            self.forget_pace();
        }
        if self.lifetime.has_come(tick) {
            self.lifetime = Tick::NEVER;
            return Some(Due::Lifetime);
        }
        if self.pong.has_come(tick) {
            self.pong = Tick::NEVER;
            if !activity.received && !activity.stopped {
                return Some(Due::NoPong);
            }
            // Its TCP stack answers for a peer that cannot be heard, if it takes what is sent.
            if !activity.received && progress.on_its_way > 0 {
                if self.unanswered == progress.on_its_way {
                    return Some(Due::NoPong);
                }
                self.unanswered = progress.on_its_way;
                self.pong = now.after(settings.pong_timeout);
            }
        }
        if self.idle.has_come(tick) {
            self.quiet = if activity.take_mark(FOR_IDLE) { 0 } else { self.quiet + 1 };
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
                (activity.received, activity.stopped, self.unanswered) = (false, false, 0);
                self.pong = now.after(settings.pong_timeout);
                return Some(Due::Ping);
            }
        }
        None
    }
}

/// The time between two looks within a timeout.
pub(super) fn look(timeout: Duration) -> Duration {
    timeout / u32::from(LOOKS)
}
