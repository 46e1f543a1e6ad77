//! Whether the peer keeps up: it must take what is sent to it, and finish the messages that it
//! sends.

use std::time::Duration;

use super::deadlines::{Activity, Due, LOOKS, look};
use crate::{
    options::Settings,
    runtime::{Now, Tick},
};

/// Watches a peer while a write is blocked or a message is unfinished. It is told the time and
/// how far the peer has come, and only when a deadline may have passed.
#[derive(Debug)]
pub(super) struct Pace {
    /// When to look next whether the peer takes anything. It is set while a write is blocked.
    write: Tick,
    /// When it has taken nothing for too long.
    stuck: Tick,
    /// When the peer must have taken enough since the last such moment.
    taking: Tick,
    /// What it had taken then, and at the last look.
    taken_before: u64,
    taken: u64,
    /// What was written, and was on its way already, since a write was blocked.
    given: u64,
    /// When the peer must have sent enough of an unfinished message since the last such moment.
    sending: Tick,
    /// How much of the message there was then.
    held_before: usize,
    /// When to look next whether the message is finished.
    message: Tick,
    /// How many of these looks in a row found the same message unfinished.
    old: u8,
}

/// How far the peer has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// How many bytes were written that the peer has not taken. A transport that cannot tell
    /// counts as having delivered everything.
    pub(super) on_its_way: u64,
    /// How much there is of a message that is not complete.
    pub(super) unfinished: Option<usize>,
}

/// The time over which a rate is measured.
const WINDOW: Duration = Duration::from_secs(30);

/// The marks that a message leaves in [`Activity::messages`], one for whoever clears it.
const FOR_RATE: u8 = 2;
const FOR_TIME: u8 = 4;

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            write: Tick::NEVER,
            stuck: Tick::NEVER,
            taking: Tick::NEVER,
            taken_before: 0,
            taken: 0,
            given: 0,
            sending: Tick::NEVER,
            held_before: 0,
            message: Tick::NEVER,
            old: 0,
        }
    }

    /// The nearest deadline.
    pub(super) fn next(&self) -> Tick {
        self.write.min(self.stuck).min(self.taking).min(self.sending).min(self.message)
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.write.is_set()
    }

    pub(super) fn watches_message(&self) -> bool {
        self.sending.is_set() || self.message.is_set()
    }

    /// A write is blocked now, after so many bytes were written.
    pub(super) fn block(
        &mut self,
        now: Now,
        written: usize,
        on_its_way: u64,
        activity: &mut Activity,
        settings: &Settings,
    ) {
        if self.is_blocked() {
            self.given += written as u64;
            self.note_taken(now, on_its_way, activity, settings);
        } else {
            self.given = on_its_way;
            (self.taken, self.taken_before) = (0, 0);
            self.expect_progress(now, settings);
            self.taking = now.after(settings.min_rate.map(|_| WINDOW));
        }
    }

    /// No write is blocked any more, after so many bytes were written.
    pub(super) fn unblock(&mut self, written: usize, on_its_way: u64, activity: &mut Activity) {
        self.given += written as u64;
        activity.received |= self.taken != self.taken_of(on_its_way);
        (self.write, self.stuck, self.taking) = (Tick::NEVER, Tick::NEVER, Tick::NEVER);
    }

    fn taken_of(&self, on_its_way: u64) -> u64 {
        self.given.saturating_sub(on_its_way)
    }

    /// Notes how much the peer has taken while a write is blocked.
    fn note_taken(
        &mut self,
        now: Now,
        on_its_way: u64,
        activity: &mut Activity,
        settings: &Settings,
    ) {
        let taken = self.taken_of(on_its_way);
        if self.taken != taken {
            self.taken = taken;
            activity.received = true;
            self.expect_progress(now, settings);
        }
    }

    fn expect_progress(&mut self, now: Now, settings: &Settings) {
        self.write = now.after(Some(look(settings.write_timeout)));
        self.stuck = now.after(Some(settings.write_timeout));
    }

    /// There is an unfinished message, with so many bytes of it held.
    pub(super) fn watch_message(&mut self, now: Now, held: usize, settings: &Settings) {
        self.sending = now.after(settings.min_rate.map(|_| WINDOW));
        self.held_before = held;
        self.message = now.after(settings.message_timeout.map(look));
        self.old = 0;
    }

    pub(super) fn stop_watching_message(&mut self) {
        (self.sending, self.message) = (Tick::NEVER, Tick::NEVER);
    }

    /// Returns one deadline that the peer has missed; to be called until it returns `None`.
    pub(super) fn pass(
        &mut self,
        now: Now,
        progress: &Progress,
        activity: &mut Activity,
        settings: &Settings,
    ) -> Option<Due> {
        let tick = now.tick();
        if self.is_blocked() {
            self.note_taken(now, progress.on_its_way, activity, settings);
        }
        if self.stuck.has_come(tick) {
            return Some(Due::Stuck);
        }
        if self.write.has_come(tick) {
            self.write = now.after(Some(look(settings.write_timeout)));
        }
        if self.taking.has_come(tick) {
            let since = self.taken.saturating_sub(self.taken_before);
            // Whether a peer may take nothing at all is up to the write timeout.
            if since > 0 && is_too_little(since, settings) {
                return Some(Due::TooSlow);
            }
            self.taken_before = self.taken;
            self.taking = now.after(Some(WINDOW));
        }
        if self.watches_message() {
            return self.pass_message(now, progress.unfinished, activity, settings);
        }
        None
    }

    fn pass_message(
        &mut self,
        now: Now,
        unfinished: Option<usize>,
        activity: &mut Activity,
        settings: &Settings,
    ) -> Option<Due> {
        let Some(held) = unfinished else {
            self.stop_watching_message();
            return None;
        };
        let tick = now.tick();
        let mut is_due = false;
        if self.sending.has_come(tick) {
            let since = held.saturating_sub(self.held_before) as u64;
            is_due = !activity.take_mark(FOR_RATE) && is_too_little(since, settings);
            self.held_before = held;
            self.sending = now.after(Some(WINDOW));
        }
        if self.message.has_come(tick) {
            self.old = if activity.take_mark(FOR_TIME) { 0 } else { self.old + 1 };
            is_due |= self.old >= LOOKS;
            self.message = now.after(settings.message_timeout.map(look));
        }
        is_due.then(|| {
            self.stop_watching_message();
            Due::Unfinished
        })
    }
}

fn is_too_little(bytes: u64, settings: &Settings) -> bool {
    settings.min_rate.is_some_and(|rate| bytes < rate.saturating_mul(WINDOW.as_secs()))
}
