//! What a connection's task shares with everyone who sends to it: its outgoing frames, its
//! lifecycle, and the waker of the task.

mod flags;
mod id;
mod lifecycle;
mod send;
mod wakers;

use std::{fmt, sync::Arc, task::Waker};

use bytes::Bytes;
use event_listener::{Event, EventListener};

pub use self::id::ConnectionId;
pub(crate) use self::{flags::Flags, lifecycle::Phase, send::Sending, wakers::Wakers};
use self::{
    flags::{AWAKE, CONGESTED, DUE, QUEUED, SharedFlags, WAITED_FOR},
    lifecycle::Lifecycle,
};
use crate::{
    close::{CloseCode, CloseFrame},
    compression::DeflateParams,
    error::SendStatus,
    options::Settings,
    protocol::{Deflater, FrameQueue, Frames, Outgoing, Role},
    sync::{Mutex, MutexGuard, atomic::Ordering, lock},
    telemetry,
};

/// Handles push frames here, and the connection's task takes and writes them.
///
/// Under the lock of its state there is no I/O, no user code, no compression, no other lock,
/// and nobody is woken.
pub(crate) struct Link {
    id: ConnectionId,
    settings: Arc<Settings>,
    flags: SharedFlags,
    state: Mutex<State>,
    /// Notified when waiting senders should look again.
    writable: Event,
    /// With permessage-deflate.
    deflater: Option<Box<Deflater>>,
}

struct State {
    frames: Frames,
    /// The close frame of the [`Lifecycle`], whose phase is among the flags.
    close_frame: Option<Box<CloseFrame>>,
    /// Bytes that are on their way without being in `frames`: the task took them and the
    /// kernel has not accepted them, or they are being compressed.
    elsewhere: usize,
    /// The task; whoever gives it work while it is not `AWAKE` takes this, and wakes it.
    waker: Option<Waker>,
}

/// Why a message was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotQueued {
    /// It does not fit now.
    Full,
    /// It never will.
    Closed,
}

/// How much a message that is offered to a link may fill it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fill {
    /// Up to the send limit.
    ToLimit,
    /// Only while the connection is not congested.
    ToMark,
}

impl Link {
    pub(crate) fn new(role: Role, settings: Arc<Settings>, deflate: Option<DeflateParams>) -> Self {
        let deflater = deflate.zip(settings.compression.as_ref());
        let deflater = deflater.map(|(params, own)| Box::new(Deflater::new(role, params, own)));
        let state =
            State { frames: Frames::new(role), close_frame: None, elsewhere: 0, waker: None };
        Self {
            id: ConnectionId::next(),
            settings,
            flags: SharedFlags::new(),
            state: Mutex::new(state),
            writable: Event::new(),
            deflater,
        }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What there is to know without a lock.
    #[inline]
    pub(crate) fn flags(&self) -> Flags {
        self.flags.load(Ordering::Acquire)
    }
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

    /// Queues a message, unless the connection is congested: then it is
    /// [`Full`](NotQueued::Full) until a [listener](Self::listen) is told.
    pub(crate) fn offer_below_mark(&self, message: &mut Outgoing<'_>) -> Result<(), NotQueued> {
        self.offer(message, Fill::ToMark).map(drop)
    }

    /// As [`try_send`](Self::try_send), for a caller that holds a lock: whom it has to wake is
    /// added to `wakers`. `None` leaves it to `try_send`, once there is no lock: the message
    /// is to be compressed first, or the connection to be closed.
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

    /// Is told when waiting senders should look again.
    pub(crate) fn listen(&self) -> EventListener {
        let listener = self.writable.listen();
        // Whoever takes the flag away notifies this listener too.
        self.flags.set(WAITED_FOR, Ordering::Release);
        listener
    }

    /// Waits until the connection is not congested.
    pub(crate) async fn ready(&self) -> Result<(), NotQueued> {
        loop {
            let listener = self.listen();
            {
                // Under the lock, for the flags change there.
                let _state = lock(&self.state);
                let flags = self.flags();
                if !flags.phase().may_send() {
                    return Err(NotQueued::Closed);
                }
                if !flags.is_congested() {
                    return Ok(());
                }
            }
            listener.await;
        }
    }

    /// Bytes that are queued and not yet accepted by the kernel.
    pub(crate) fn buffered_amount(&self) -> usize {
        lock(&self.state).buffered()
    }

    /// Sends a ping; `false` if nothing may be sent any more.
    pub(crate) fn ping(&self, payload: &Bytes) -> bool {
        let mut state = lock(&self.state);
        let may_send = self.flags().phase().may_send();
        if may_send {
            state.frames.ping(payload);
            self.note_queued(&state);
        }
        self.wake(state);
        may_send
    }

    /// Starts the closing handshake, unless the connection is ending already.
    pub(crate) fn close(&self, frame: CloseFrame) {
        let frame = frame.sendable();
        self.change(|lifecycle, frames| {
            if lifecycle.close(&frame) {
                frames.close(frame);
            }
        });
    }

    /// Gives the stream up at once: what is queued is lost.
    pub(crate) fn cut(&self) {
        self.change(|lifecycle, _| lifecycle.cut());
    }

    /// Ends the task, whatever it waits for.
    pub(crate) fn abandon(&self) {
        self.change(|lifecycle, _| lifecycle.abandon());
    }

    /// A deadline of the connection has passed.
    pub(crate) fn deadline_passed(&self) {
        let state = lock(&self.state);
        self.flags.set(DUE, Ordering::Release);
        self.wake(state);
    }

    /// Queues a message if there is room for it.
    #[inline]
    fn offer(&self, message: &mut Outgoing<'_>, fill: Fill) -> Result<SendStatus, NotQueued> {
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

    /// The same, compressed, without the lock while that takes its time.
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
            // Its room is taken. Once it is compressed with takeover it must be sent.
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

    /// Whether there is room for a message of so many bytes. `flags` are those at the time of
    /// the lock, as for what follows.
    #[inline]
    fn admit(&self, state: &State, flags: Flags, len: usize, fill: Fill) -> Result<(), NotQueued> {
        if !flags.is_open() {
            return Err(NotQueued::Closed);
        }
        let buffered = state.buffered();
        let room = self.settings.send_limit.saturating_sub(buffered);
        // An empty message has a frame too, for which there must be some room.
        let is_full = buffered > 0 && (len > room || room == 0);
        if is_full || (fill == Fill::ToMark && flags.is_congested()) {
            return Err(NotQueued::Full);
        }
        Ok(())
    }

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

impl Link {
    /// Changes the lifecycle, and lets everyone know who has to.
    fn change(&self, change: impl FnOnce(&mut Lifecycle<'_>, &mut Frames)) {
        let mut state = lock(&self.state);
        let State { frames, close_frame, .. } = &mut *state;
        let before = self.flags().phase();
        let mut lifecycle = Lifecycle { phase: before, frame: close_frame };
        change(&mut lifecycle, frames);
        let after = lifecycle.phase;
        self.flags.enter(before, after);
        if after.is_gone() {
            self.empty(&mut state);
        }
        self.note_queued(&state);
        self.wake(state);
        self.notify_waiting();
    }

    /// Nothing that is queued will be sent, and backpressure ends without a `drain`: there is
    /// nothing to go on with.
    fn empty(&self, state: &mut State) {
        state.frames.take();
        state.elsewhere = 0;
        self.flags.clear(CONGESTED | QUEUED, Ordering::Release);
    }

    /// To be called, without a lock, after whatever may give waiting senders room or end
    /// their wait.
    fn notify_waiting(&self) {
        // A sender sets the flag before it finds, under the lock, that it must wait.
        if self.flags.load(Ordering::Relaxed).is_waited_for() {
            self.flags.clear(WAITED_FOR, Ordering::Acquire);
            self.writable.notify(usize::MAX);
        }
    }

    /// To be called after whatever may have queued a frame.
    #[inline]
    fn note_queued(&self, state: &State) {
        if !self.flags().is_queued() && !state.frames.is_empty() {
            self.flags.set(QUEUED, Ordering::Release);
        }
    }

    /// Unlocks, and wakes the task if it waits.
    #[inline]
    fn wake(&self, state: MutexGuard<'_, State>) {
        if !self.flags().is_awake() {
            if let Some(waker) = self.take_waker(state) {
                waker.wake();
            }
        }
    }

    /// As [`wake`](Self::wake), for frames.
    #[inline]
    fn wake_to_write(&self, state: MutexGuard<'_, State>, flags: Flags) {
        if let Some(waker) = self.waker_to_write(state, flags) {
            waker.wake();
        }
    }

    /// Unlocks, and says whom to wake so that frames are written. A task that waits for the
    /// peer to take some could not write them anyway.
    #[inline]
    fn waker_to_write(&self, state: MutexGuard<'_, State>, flags: Flags) -> Option<Waker> {
        if flags.is_awake() || state.frames.is_blocked() {
            return None;
        }
        self.take_waker(state)
    }

    #[cold]
    fn take_waker(&self, mut state: MutexGuard<'_, State>) -> Option<Waker> {
        self.flags.set(AWAKE, Ordering::Relaxed);
        state.waker.take()
    }
}

impl State {
    fn buffered(&self) -> usize {
        self.frames.len() + self.elsewhere
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("id", &self.id).finish_non_exhaustive()
    }
}
