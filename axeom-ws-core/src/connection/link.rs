use std::{
    fmt,
    sync::{Arc, PoisonError, atomic::AtomicU64},
    task::Waker,
};

use bytes::Bytes;
use event_listener::{Event, EventListener};

use crate::{
    CloseCode, CloseFrame, DeflateParams, SendStatus,
    options::Settings,
    protocol::{FrameQueue, Outbound, Outgoing, Role},
    pubsub::Subscriptions,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU8, Ordering},
    },
    telemetry,
};

/// Identifies a connection; unique within the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

impl ConnectionId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a connection's task shares with everybody else: its outgoing frames and the
/// wish to end it. Handles push, the task takes and writes.
pub(crate) struct Link {
    id: ConnectionId,
    settings: Arc<Settings>,
    /// What the task should know without a lock. Changed only while `state` is locked, but
    /// for `AWAKE`, which the task sets when it likes.
    flags: AtomicU8,
    state: Mutex<State>,
    /// Notified when waiting senders should look again.
    writable: Event,
    pub(crate) subscriptions: Subscriptions,
}

struct State {
    outbound: Outbound,
    /// Bytes the task took and the kernel has not accepted yet.
    in_flight: usize,
    /// The close frame this side started the closing handshake with.
    closing: Option<Box<CloseFrame>>,
    /// The task; whoever gives it work while it is not `AWAKE` takes this, and wakes it.
    waker: Option<Waker>,
}

/// This side wants the connection closed.
const CLOSING: u8 = 1;
/// This side wants the connection gone.
const CUT: u8 = 2;
/// The high-water mark was crossed, and the low-water mark not reached since.
const CONGESTED: u8 = 4;
/// The task runs, or was woken: it will look for work before it waits.
const AWAKE: u8 = 8;
/// There are frames for the task to take.
const QUEUED: u8 = 16;
/// The server this connection belongs to is gone.
const ABORTED: u8 = 32;
/// A deadline may have passed.
const DUE: u8 = 64;
/// Somebody listens for room.
const WAITED_FOR: u8 = 128;

/// What a link's flags say at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flags(u8);

impl Flags {
    /// A close, or a cut, was asked for.
    pub(crate) fn ending(self) -> bool {
        self.0 & (CLOSING | CUT) != 0
    }

    pub(crate) fn cut(self) -> bool {
        self.0 & CUT != 0
    }

    pub(crate) fn congested(self) -> bool {
        self.0 & CONGESTED != 0
    }

    /// The task is to end as if it had been dropped.
    pub(crate) fn aborted(self) -> bool {
        self.0 & ABORTED != 0
    }

    /// The task has not said that it waits.
    pub(crate) fn awake(self) -> bool {
        self.0 & AWAKE != 0
    }

    /// There are frames to [take](Link::take).
    pub(crate) fn queued(self) -> bool {
        self.0 & QUEUED != 0
    }
}

/// Why a message was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It does not fit now.
    Full,
    /// It never will.
    Closed,
}

impl Link {
    pub(crate) fn new(role: Role, settings: Arc<Settings>, deflate: Option<DeflateParams>) -> Self {
        let mut outbound = Outbound::new(role);
        if let (Some(params), Some(own)) = (deflate, &settings.compression) {
            outbound = outbound.with_deflate(params, own);
        }
        Self {
            id: ConnectionId::next(),
            settings,
            flags: AtomicU8::new(AWAKE),
            state: Mutex::new(State { outbound, in_flight: 0, closing: None, waker: None }),
            writable: Event::new(),
            subscriptions: Subscriptions::default(),
        }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    // For handles, on any thread.

    /// Queues a message unless that would exceed the send limit.
    pub(crate) fn try_send(&self, message: &mut Outgoing<'_>) -> Result<SendStatus, Refused> {
        let mut state = self.lock();
        let status = self.offer(&mut state, message, false);
        if status == Err(Refused::Full) && self.settings.close_on_full {
            let frame = CloseFrame::new(CloseCode::TRY_AGAIN_LATER, "too slow to read");
            self.begin_close(&mut state, frame);
        }
        self.wake_to_write(state);
        status
    }

    /// Queues a message, unless the connection is congested: then it is
    /// [`Full`](Refused::Full) until a [listener](Self::listen) is told.
    pub(crate) fn offer_below_mark(&self, message: &mut Outgoing<'_>) -> Result<(), Refused> {
        let mut state = self.lock();
        let status = self.offer(&mut state, message, true);
        self.wake_to_write(state);
        status.map(drop)
    }

    /// Hears of it when waiting senders should look again.
    pub(crate) fn listen(&self) -> EventListener {
        let listener = self.writable.listen();
        // Whoever takes the flag away notifies this listener too.
        self.flags.fetch_or(WAITED_FOR, Ordering::Release);
        listener
    }

    /// Waits until the connection is not congested.
    pub(crate) async fn ready(&self) -> Result<(), Refused> {
        loop {
            let listener = self.listen();
            {
                let state = self.lock();
                if state.outbound.is_closed() {
                    return Err(Refused::Closed);
                }
                if !self.flags().congested() {
                    return Ok(());
                }
            }
            listener.await;
        }
    }

    pub(crate) fn buffered_amount(&self) -> usize {
        self.lock().buffered()
    }

    pub(crate) fn ping(&self, payload: &Bytes) -> bool {
        let mut state = self.lock();
        let queued = state.outbound.ping(payload);
        self.note_queued(&state);
        self.wake(state);
        queued
    }

    /// Starts the closing handshake, unless either side has already.
    pub(crate) fn close(&self, frame: CloseFrame) {
        let mut state = self.lock();
        self.begin_close(&mut state, frame);
        self.wake(state);
    }

    pub(crate) fn terminate(&self) {
        let mut state = self.lock();
        state.outbound.close(CloseFrame::no_status());
        self.note_queued(&state);
        self.flags.fetch_or(CUT, Ordering::Release);
        self.wake(state);
        self.notify_waiting();
    }

    /// A deadline of the connection has passed.
    pub(crate) fn deadline_passed(&self) {
        let state = self.lock();
        self.flags.fetch_or(DUE, Ordering::Release);
        self.wake(state);
    }

    /// Ends the task, whatever it waits for.
    pub(crate) fn abort(&self) {
        let state = self.lock();
        self.flags.fetch_or(ABORTED, Ordering::Release);
        self.wake(state);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().outbound.is_closed()
    }

    /// Queues a message if there is room; with `below_mark`, only while the
    /// connection is not congested.
    #[inline]
    fn offer(
        &self,
        state: &mut State,
        message: &mut Outgoing<'_>,
        below_mark: bool,
    ) -> Result<SendStatus, Refused> {
        if state.outbound.is_closed() {
            return Err(Refused::Closed);
        }
        let buffered = state.buffered();
        let room = self.settings.send_limit.saturating_sub(buffered);
        let congested = self.flags().congested();
        if (buffered > 0 && message.len() > room) || (below_mark && congested) {
            return Err(Refused::Full);
        }
        state.outbound.outgoing(message);
        self.note_queued(state);
        telemetry::sent(message.len());
        if congested {
            return Ok(SendStatus::Backpressure);
        }
        if state.buffered() <= self.settings.high_water_mark {
            return Ok(SendStatus::Sent);
        }
        self.flags.fetch_or(CONGESTED, Ordering::Release);
        telemetry::backpressure();
        Ok(SendStatus::Backpressure)
    }

    fn begin_close(&self, state: &mut State, frame: CloseFrame) {
        if state.outbound.close(frame.clone()) {
            state.closing = Some(Box::new(frame.sendable()));
            self.note_queued(state);
            self.flags.fetch_or(CLOSING, Ordering::Release);
            self.notify_waiting();
        }
    }

    /// To be called after whatever may give waiting senders room, or end their wait.
    fn notify_waiting(&self) {
        // Who listens has said so before it found, under the lock, that it must wait.
        if self.flags.load(Ordering::Relaxed) & WAITED_FOR != 0 {
            self.flags.fetch_and(!WAITED_FOR, Ordering::Acquire);
            self.writable.notify(usize::MAX);
        }
    }

    /// To be called after whatever may have queued a frame.
    #[inline]
    fn note_queued(&self, state: &State) {
        if !self.flags().queued() && !state.outbound.is_empty() {
            self.flags.fetch_or(QUEUED, Ordering::Release);
        }
    }

    // For the task.

    /// Cheap.
    pub(crate) fn flags(&self) -> Flags {
        Flags(self.flags.load(Ordering::Acquire))
    }

    /// The close frame this side started the closing handshake with.
    pub(crate) fn closing(&self) -> Option<CloseFrame> {
        self.lock().closing.as_deref().cloned()
    }

    /// The task runs: no need to wake it.
    pub(crate) fn unpark(&self) {
        self.flags.fetch_or(AWAKE, Ordering::Relaxed);
    }

    /// Whether a deadline has passed since this was asked last.
    pub(crate) fn take_due(&self) -> bool {
        let due = self.flags.load(Ordering::Acquire) & DUE != 0;
        if due {
            self.flags.fetch_and(!DUE, Ordering::Relaxed);
        }
        due
    }

    /// The task is about to wait. `false` if there is work for it after all: frames
    /// that are not `blocked`, or an end that it has not `seen`.
    pub(crate) fn park(&self, waker: &Waker, blocked: bool, seen: Flags) -> bool {
        let mut state = self.lock();
        let unseen = self.flags().0 & !seen.0 & (CLOSING | CUT | ABORTED | DUE);
        if (!blocked && !state.outbound.is_empty()) || unseen != 0 {
            return false;
        }
        if !state.waker.as_ref().is_some_and(|last| last.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        self.flags.fetch_and(!AWAKE, Ordering::Relaxed);
        true
    }

    /// Takes the queued frames, which are in flight from now on.
    pub(crate) fn take(&self) -> FrameQueue {
        let mut state = self.lock();
        state.outbound.set_blocked(false);
        let frames = state.outbound.take();
        self.flags.fetch_and(!QUEUED, Ordering::Relaxed);
        state.in_flight += frames.len();
        frames
    }

    /// The kernel accepted `n` bytes that were in flight; `blocked` if it takes no
    /// more now. Whether that ends congestion.
    pub(crate) fn written(&self, n: usize, blocked: bool) -> bool {
        let mut state = self.lock();
        state.in_flight -= n.min(state.in_flight);
        state.outbound.set_blocked(blocked);
        let buffered = state.buffered();
        let relieved = self.flags().congested() && buffered <= self.settings.low_water_mark;
        if relieved {
            self.flags.fetch_and(!CONGESTED, Ordering::Release);
        }
        drop(state);
        if relieved || buffered == 0 {
            self.notify_waiting();
        }
        relieved
    }

    pub(crate) fn pong(&self, payload: Bytes) {
        let mut state = self.lock();
        state.outbound.pong(payload);
        self.note_queued(&state);
    }

    /// Answers the peer's close frame; nothing happens if this side was first.
    pub(crate) fn answer_close(&self, frame: CloseFrame) {
        let mut state = self.lock();
        state.outbound.close(frame);
        self.note_queued(&state);
        drop(state);
        self.notify_waiting();
    }

    /// The stream is gone: nothing can be sent, and nothing is owed.
    pub(crate) fn shut(&self) {
        let mut state = self.lock();
        state.outbound.close(CloseFrame::no_status());
        state.outbound.take();
        state.in_flight = 0;
        state.waker = None;
        // Backpressure ends without a `drain`: there is nothing to go on with.
        self.flags.fetch_and(!(CONGESTED | QUEUED), Ordering::Release);
        drop(state);
        self.notify_waiting();
    }

    /// Unlocks, and wakes the task if it waits.
    #[inline]
    fn wake(&self, state: MutexGuard<'_, State>) {
        if !self.flags().awake() {
            self.wake_up(state);
        }
    }

    #[cold]
    fn wake_up(&self, mut state: MutexGuard<'_, State>) {
        self.flags.fetch_or(AWAKE, Ordering::Relaxed);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// As [`wake`](Self::wake), for frames: a task that waits for the peer cannot write
    /// them anyway.
    #[inline]
    fn wake_to_write(&self, state: MutexGuard<'_, State>) {
        if !self.flags().awake() && (!state.outbound.is_blocked() || state.outbound.is_closed()) {
            self.wake_up(state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that could panic halfway through a change runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn buffered(&self) -> usize {
        self.outbound.len() + self.in_flight
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("id", &self.id).finish_non_exhaustive()
    }
}
