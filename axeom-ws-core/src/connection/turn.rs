//! How much the task of a connection does before the other tasks of its thread run.

use crate::runtime::Now;

/// The work that a task has done since it last waited. An event is one unit, and more if it is
/// large; a read or a write is as many as take about the same time.
///
/// Handlers take time that cannot be known from their number, so the clock counts as well. It is
/// looked at after few events at first and while they take long, and otherwise seldom, since a look
/// may cost as much as a small message.
#[derive(Debug)]
pub(super) struct Turn {
    work: u16,
    /// How much work there is when the clock is looked at next, or the turn is over.
    look_at: u16,
    /// How many events there are between two looks.
    stride: u16,
    /// When the clock was looked at first, once it was.
    began: Option<Now>,
}

/// The most work in a turn.
const MOST_WORK: u16 = 512;
/// How long a turn may take, in microseconds, as far as looks at the clock can tell.
const MOST_MICROS: u64 = 1000;
const READ_OR_WRITE: u16 = 32;
/// So many bytes of a message are a unit of work.
const BYTES: usize = 512;
/// The most events between two looks.
const SELDOM: u16 = 16;
/// A task that handles so few events before it waits need not look at the clock.
const FEW: u16 = 2;

impl Turn {
    pub(super) fn new() -> Self {
        Self { work: 0, look_at: FEW, stride: FEW, began: None }
    }

    /// The task waits, so other tasks run.
    #[inline]
    pub(super) fn end(&mut self) {
        self.work = 0;
        self.look_at = self.stride.min(FEW);
        self.began = None;
    }

    /// Counts an event with a payload of so many bytes.
    #[inline]
    pub(super) fn count_event(&mut self, bytes: usize) {
        self.work = self.work.saturating_add(1);
        if bytes >= BYTES {
            self.count_work(u16::try_from(bytes / BYTES).unwrap_or(u16::MAX));
        }
    }

    #[inline]
    pub(super) fn count_io(&mut self) {
        self.count_work(READ_OR_WRITE);
    }

    /// Counts work that is no reason to look at the clock sooner.
    #[inline]
    fn count_work(&mut self, work: u16) {
        self.work = self.work.saturating_add(work);
        self.look_at = self.look_at.saturating_add(work).min(MOST_WORK);
    }

    /// Whether other tasks should run first.
    #[inline]
    pub(super) fn is_over(&mut self, now: impl FnOnce() -> Now) -> bool {
        self.work >= self.look_at && self.look(now)
    }

    #[cold]
    fn look(&mut self, now: impl FnOnce() -> Now) -> bool {
        if self.work >= MOST_WORK {
            return true;
        }
        let now = now();
        match self.began {
            None => self.began = Some(now),
            Some(began) if now.micros_since(began) >= MOST_MICROS => {
                self.stride = 1;
                return true;
            }
            Some(_) => self.stride = (2 * self.stride).min(SELDOM),
        }
        self.look_at = (self.work + self.stride).min(MOST_WORK);
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// How many events a turn has, if each takes `micros` and has `bytes`, and how often the clock
    /// is looked at.
    fn events(turn: &mut Turn, micros: u64, bytes: usize) -> (u32, u32) {
        let start = Instant::now();
        let (mut events, mut looks) = (0, 0);
        turn.end();
        turn.count_io();
        loop {
            let time = start + Duration::from_micros(micros) * events;
            let over = turn.is_over(|| {
                looks += 1;
                Now::of(time, start)
            });
            if over {
                return (events, looks);
            }
            turn.count_event(bytes);
            events += 1;
        }
    }

    #[test]
    fn cheap_events_end_a_turn_by_their_number_and_seldom_need_the_clock() {
        let turn = &mut Turn::new();
        for more in [3, 0, 0] {
            let (events, looks) = events(turn, 0, 20);
            assert!((450..=520).contains(&events), "{events}");
            assert!(looks <= events / u32::from(SELDOM) + 1 + more, "{looks} looks");
        }
    }

    #[test]
    fn expensive_events_end_a_turn_by_their_time() {
        let turn = &mut Turn::new();
        // The first turn too: of many new connections, each has one.
        assert!(events(turn, 1000, 20).0 <= u32::from(2 * FEW));
        for _ in 0..3 {
            assert!(events(turn, 1000, 20).0 <= 2);
        }
        assert!(events(turn, 100, 20).0 <= u32::from(10 + SELDOM + FEW));
        // Cheap ones are soon looked at seldom again.
        events(turn, 0, 20);
        assert!(events(turn, 0, 20).1 <= u32::from(512 / SELDOM + 1));
    }

    #[test]
    fn large_events_end_a_turn_by_their_size() {
        let turn = &mut Turn::new();
        assert_eq!(events(turn, 0, 16 * 1024 * 1024).0, 1);
        assert!(events(turn, 0, 64 * 1024).0 <= 4);
        assert_eq!(events(turn, 0, usize::MAX).0, 1);
    }

    #[test]
    fn a_task_that_handles_one_message_at_a_time_never_looks_at_the_clock() {
        let turn = &mut Turn::new();
        for _ in 0..100 {
            turn.count_io();
            assert!(!turn.is_over(|| unreachable!()));
            turn.count_event(100);
            assert!(!turn.is_over(|| unreachable!()));
            turn.count_io();
            turn.end();
        }
    }
}
