//! What the task of a connection does with the link.

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
    /// The frame for the `close` handler: 1006 if no close frame decided how the connection
    /// ends.
    pub(crate) fn close_frame(&self) -> CloseFrame {
        let frame = lock(&self.state).close_frame.as_deref().cloned();
        frame.unwrap_or_else(CloseFrame::abnormal)
    }

    /// Answers the peer's close frame, unless the connection is closing already.
    pub(crate) fn answer(&self, frame: CloseFrame) {
        let frame = frame.sendable();
        self.change(|lifecycle, frames| {
            if lifecycle.answer(&frame) {
                frames.close(frame);
            }
        });
    }

    /// Ends sending because something went wrong. What is queued is still sent, and after it
    /// `frame`, if there is one.
    pub(crate) fn fail(&self, frame: Option<CloseFrame>) {
        self.change(|lifecycle, frames| {
            let may_send = lifecycle.fail(frame.as_ref());
            if let Some(frame) = frame.filter(|_| may_send) {
                frames.close(frame);
            }
        });
    }

    /// Marks the connection as over. The frame for the `close` handler stays as it is.
    pub(crate) fn end(&self) {
        self.change(|lifecycle, _| lifecycle.end());
    }

    /// Drops what is queued, because it cannot be sent.
    pub(crate) fn drop_queued(&self) {
        let mut state = lock(&self.state);
        self.empty(&mut state);
        drop(state);
        self.notify_waiting();
    }

    /// Notes that the task runs and need not be woken.
    pub(crate) fn unpark(&self) {
        self.flags.set(AWAKE, Ordering::Relaxed);
    }

    /// Whether a deadline may have passed since the last call.
    pub(crate) fn take_due(&self) -> bool {
        let due = self.flags().is_due();
        if due {
            self.flags.clear(DUE, Ordering::Relaxed);
        }
        due
    }

    /// Registers the waker of a task that is about to wait. `false` if there is work for the
    /// task after all: frames to write, unless it is `blocked`; a phase other than the one it has
    /// `seen`; or, if it is `timed`, a deadline that may have passed.
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

    /// Notes that the transport accepted `n` of the bytes that were taken, and whether it is
    /// `blocked` now. Returns whether this ended congestion.
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

    /// Answers a ping. Only the task calls this, so it need not be woken.
    pub(crate) fn pong(&self, payload: Bytes) {
        let mut state = lock(&self.state);
        if self.flags().phase().may_send() {
            state.frames.pong(payload);
            self.note_queued(&state);
        }
    }
}
