//! What goes through a link: handles offer messages to it, and the connection's task takes the
//! frames.

use std::task::Waker;

use bytes::Bytes;

use super::{
    Link, NotQueued, Phase, State, Wakers,
    flags::{AWAKE, CONGESTED, DUE, Flags, QUEUED},
    waiting::Ticket,
};
use crate::{
    close::{CloseCode, CloseFrame},
    error::SendStatus,
    protocol::{Deflater, FrameQueue, Outgoing},
    sync::{atomic::Ordering, lock},
    telemetry,
};

/// How far a message may fill the queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    /// Up to the send limit, past senders that wait.
    ToLimit,
    /// Only while the connection is not congested and no sender waits.
    ToMark,
    /// Only while the connection is not congested, and in the turn of a sender that waits.
    InTurn(Ticket),
}

/// For handles, on any thread.
impl Link {
    /// Queues a message unless that would exceed the send limit.
    pub(crate) fn try_send(&self, message: &mut Outgoing<'_>) -> Result<SendStatus, NotQueued> {
        let sent = self.offer(message, Fill::ToLimit);
        if sent == Err(NotQueued::Full) && self.settings.close_on_full {
            self.close(CloseFrame::new(CloseCode::TRY_AGAIN_LATER, "too slow to read"));
        }
        sent
    }

    /// Does the same as [`try_send`](Self::try_send) for a caller that holds a lock: the waker of
    /// the task goes to `wakers` instead of being called. `None` means that the message must be
    /// compressed first or the connection be closed; the caller then calls `try_send` after it
    /// has released its lock.
    #[inline]
    pub(crate) fn try_send_under_lock(
        &self,
        message: &Outgoing<'_>,
        wakers: &mut Wakers,
    ) -> Option<Result<SendStatus, NotQueued>> {
        if self.deflater.as_ref().is_some_and(|deflater| deflater.wants(message)) {
            return None;
        }
        let mut state = lock(&self.state);
        let flags = self.flags();
        match self.admit(&state, flags, message.len(), Fill::ToLimit) {
            Ok(()) => {}
            Err(NotQueued::Full) if self.settings.close_on_full => return None,
            Err(not_queued) => return Some(Err(not_queued)),
        }
        let status = self.queue(&mut state, flags, message, None);
        if let Some(waker) = self.waker_to_write(state, flags) {
            wakers.push(waker);
        }
        Some(Ok(status))
    }

    /// How many bytes are queued and not yet accepted by the transport.
    pub(crate) fn buffered_amount(&self) -> usize {
        lock(&self.state).buffered()
    }

    /// Sends a ping; `false` if nothing may be sent any more. A peer that is behind by more than
    /// the send limit gets none: pings must not grow the queue without end.
    pub(crate) fn ping(&self, payload: &Bytes) -> bool {
        let mut state = lock(&self.state);
        let is_open = self.flags().is_open();
        if is_open && state.buffered() <= self.settings.send_limit {
            state.frames.ping(payload);
            self.note_queued(&state);
            self.wake(state);
        }
        is_open
    }

    /// Starts the closing handshake, unless the connection is closing already.
    pub(crate) fn close(&self, frame: CloseFrame) {
        let frame = frame.sendable();
        self.change(|lifecycle, frames| {
            if lifecycle.close(&frame) {
                frames.close(frame);
            }
        });
    }

    /// Gives up the transport at once. What is queued is lost.
    pub(crate) fn cut(&self) {
        self.change(|lifecycle, _| lifecycle.cut());
    }

    /// Ends the task, whatever it is waiting for.
    pub(crate) fn abandon(&self) {
        self.change(|lifecycle, _| lifecycle.abandon());
    }

    /// Tells the task that a deadline of the connection may have passed.
    pub(crate) fn deadline_passed(&self) {
        let state = lock(&self.state);
        self.flags.set(DUE, Ordering::Release);
        self.wake(state);
    }

    /// Queues a message if there is room for it.
    #[inline]
    pub(super) fn offer(
        &self,
        message: &mut Outgoing<'_>,
        fill: Fill,
    ) -> Result<SendStatus, NotQueued> {
        if let Some(deflater) = self.deflater.as_ref().filter(|deflater| deflater.wants(message)) {
            return self.offer_compressed(deflater, message, fill);
        }
        let mut state = lock(&self.state);
        let flags = self.flags();
        self.admit(&state, flags, message.len(), fill)?;
        let status = self.queue(&mut state, flags, message, None);
        self.wake_to_write(state, flags);
        Ok(status)
    }

    /// Compresses a message and queues it if there is room for it. The state is not locked while
    /// the compression runs.
    #[inline(never)]
    fn offer_compressed(
        &self,
        deflater: &Deflater,
        message: &mut Outgoing<'_>,
        fill: Fill,
    ) -> Result<SendStatus, NotQueued> {
        let mut turn = deflater.turn();
        {
            let mut state = lock(&self.state);
            self.admit(&state, self.flags(), message.len(), fill)?;
            // The room is reserved now, because a message that was compressed with context
            // takeover must be sent.
            state.elsewhere += message.len();
        }
        let compressed = turn.compress(message);
        let mut state = lock(&self.state);
        state.elsewhere = state.elsewhere.saturating_sub(message.len());
        let flags = self.flags();
        if !flags.is_open() {
            return Err(NotQueued::Closed);
        }
        let status = self.queue(&mut state, flags, message, compressed.as_ref());
        self.wake_to_write(state, flags);
        Ok(status)
    }

    /// Checks that there is room for a message of `len` bytes. `flags` were read under the lock.
    #[inline]
    pub(super) fn admit(
        &self,
        state: &State,
        flags: Flags,
        len: usize,
        fill: Fill,
    ) -> Result<(), NotQueued> {
        if !flags.is_open() {
            return Err(NotQueued::Closed);
        }
        let buffered = state.buffered();
        let room = self.settings.send_limit.saturating_sub(buffered);
        // The frame of an empty message needs room too.
        let is_full = buffered > 0 && (len > room || room == 0);
        let must_wait = match fill {
            Fill::ToLimit => false,
            Fill::ToMark => flags.is_congested_or_waited_for(),
            Fill::InTurn(ticket) => flags.is_congested() || !state.is_turn_of(ticket),
        };
        if is_full || must_wait { Err(NotQueued::Full) } else { Ok(()) }
    }

    /// Queues a message that was admitted. `flags` were read under the lock.
    #[inline]
    fn queue(
        &self,
        state: &mut State,
        flags: Flags,
        message: &Outgoing<'_>,
        compressed: Option<&Bytes>,
    ) -> SendStatus {
        state.frames.message(message, compressed);
        if !flags.is_queued() {
            self.flags.set(QUEUED, Ordering::Release);
        }
        telemetry::sent(message.len());
        if flags.is_congested() {
            return SendStatus::Backpressure;
        }
        if state.buffered() <= self.settings.high_water_mark {
            return SendStatus::Sent;
        }
        self.flags.set(CONGESTED, Ordering::Release);
        telemetry::backpressure();
        SendStatus::Backpressure
    }
}

/// For the task.
impl Link {
    /// The frame for the `close` handler: 1006 if no close frame decided how the connection
    /// ends.
    pub(crate) fn close_frame(&self) -> CloseFrame {
        let frame = lock(&self.state).close_frame.as_deref().cloned();
        frame.unwrap_or_else(CloseFrame::abnormal)
    }

    /// Notes that the peer will send nothing more, while what it sent before is being handled.
    pub(crate) fn half_close(&self) {
        self.change(|lifecycle, _| lifecycle.half_close());
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
    pub(crate) fn fail(&self, frame: Option<CloseFrame>) -> bool {
        let frame = frame.map(CloseFrame::sendable);
        self.change(|lifecycle, frames| {
            let failed = lifecycle.fail(frame.as_ref());
            if let Some(frame) = frame.filter(|_| failed) {
                frames.close(frame);
            }
            failed
        })
    }

    /// Gives up a closing handshake that the peer did not finish in time. `false` if we did not
    /// start one.
    pub(crate) fn give_up(&self) -> bool {
        self.change(|lifecycle, _| lifecycle.give_up())
    }

    /// Marks the connection as over. The frame for the `close` handler stays as it is.
    pub(crate) fn end(&self) {
        self.change(|lifecycle, _| lifecycle.end());
    }

    /// Drops what is queued, because it cannot be sent.
    pub(crate) fn drop_queued(&self) {
        let mut state = lock(&self.state);
        // Dropped after the state is unlocked.
        let _unsent = self.empty(&mut state);
        self.wake_waiting(state);
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
        if relieved || buffered == 0 {
            self.wake_waiting(state);
        }
        relieved
    }

    /// Answers a ping. Only the task calls this, so it need not be woken.
    pub(crate) fn pong(&self, payload: Bytes) {
        let mut state = lock(&self.state);
        if self.flags().is_open() {
            state.frames.pong(payload);
            self.note_queued(&state);
        }
    }
}
