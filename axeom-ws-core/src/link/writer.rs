//! What the task of a connection does with its link.

use std::task::Waker;

use bytes::Bytes;

use super::{
    Link, Phase,
    flags::{AWAKE, CONGESTED, DUE, QUEUED},
};
use crate::{
    close::CloseFrame,
    protocol::FrameQueue,
    sync::{atomic::Ordering, lock},
};

impl Link {
    /// What `close` is told; 1006 if no close frame was first.
    pub(crate) fn close_frame(&self) -> CloseFrame {
        let frame = lock(&self.state).close_frame.as_deref().cloned();
        frame.unwrap_or_else(CloseFrame::abnormal)
    }

    /// Answers the peer's close frame; nothing happens if this side was first.
    pub(crate) fn answer(&self, frame: CloseFrame) {
        let frame = frame.sendable();
        self.change(|lifecycle, frames| {
            if lifecycle.answer(&frame) {
                frames.close(frame);
            }
        });
    }

    /// Something went wrong: after what is queued, nothing can be sent but this close frame,
    /// if there is one.
    pub(crate) fn fail(&self, frame: Option<CloseFrame>) {
        self.change(|lifecycle, frames| {
            let may_send = lifecycle.fail(frame.as_ref());
            if let Some(frame) = frame.filter(|_| may_send) {
                frames.close(frame);
            }
        });
    }

    /// The connection is over, as it was going to be.
    pub(crate) fn end(&self) {
        self.change(|lifecycle, _| lifecycle.end());
    }

    /// Nothing of what is queued can be sent.
    pub(crate) fn drop_queued(&self) {
        let mut state = lock(&self.state);
        self.empty(&mut state);
        drop(state);
        self.notify_waiting();
    }

    /// The task runs: no need to wake it.
    pub(crate) fn unpark(&self) {
        self.flags.set(AWAKE, Ordering::Relaxed);
    }

    /// Whether a deadline has passed since this was asked last.
    pub(crate) fn take_due(&self) -> bool {
        let due = self.flags().is_due();
        if due {
            self.flags.clear(DUE, Ordering::Relaxed);
        }
        due
    }

    /// The task is about to wait. `false` if there is work for it after all: frames that are
    /// not `blocked`, a phase that it has not `seen`, or, while it keeps deadlines, one that
    /// is due.
    pub(crate) fn park(&self, waker: &Waker, blocked: bool, seen: Phase, timed: bool) -> bool {
        let mut state = lock(&self.state);
        let flags = self.flags();
        if (!blocked && flags.is_queued()) || flags.phase() != seen || (timed && flags.is_due()) {
            return false;
        }
        if !state.waker.as_ref().is_some_and(|last| last.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        self.flags.clear(AWAKE, Ordering::Relaxed);
        true
    }

    /// Takes the queued frames.
    pub(crate) fn take(&self) -> FrameQueue {
        let mut state = lock(&self.state);
        state.frames.set_blocked(false);
        let frames = state.frames.take();
        self.flags.clear(QUEUED, Ordering::Relaxed);
        state.elsewhere += frames.len();
        frames
    }

    /// The kernel accepted `n` bytes that were taken; `blocked` if it takes no more now.
    /// Whether that ends congestion.
    pub(crate) fn written(&self, n: usize, blocked: bool) -> bool {
        let mut state = lock(&self.state);
        state.elsewhere -= n.min(state.elsewhere);
        state.frames.set_blocked(blocked);
        let buffered = state.buffered();
        let relieved = self.flags().is_congested() && buffered <= self.settings.low_water_mark;
        if relieved {
            self.flags.clear(CONGESTED, Ordering::Release);
        }
        drop(state);
        if relieved || buffered == 0 {
            self.notify_waiting();
        }
        relieved
    }

    /// Answers a ping.
    pub(crate) fn pong(&self, payload: Bytes) {
        let mut state = lock(&self.state);
        if self.flags().phase().may_send() {
            state.frames.pong(payload);
            self.note_queued(&state);
        }
    }
}
