use std::{
    fmt,
    sync::{Arc, PoisonError, atomic::AtomicU64},
    task::Waker,
};

use bytes::Bytes;
use event_listener::Event;

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
    /// What the task should know without a lock: `CLOSING`, `CUT`, `CONGESTED`. Changed
    /// only while `state` is locked.
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
    /// The task while it waits; whoever gives it work takes and wakes it.
    parked: Option<Waker>,
}

/// This side wants the connection closed.
const CLOSING: u8 = 1;
/// This side wants the connection gone.
const CUT: u8 = 2;
/// The high-water mark was crossed, and the low-water mark not reached since.
const CONGESTED: u8 = 4;

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
            flags: AtomicU8::new(0),
            state: Mutex::new(State { outbound, in_flight: 0, closing: None, parked: None }),
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
        wake_to_write(state);
        status
    }

    /// Queues a message, or, over the high-water mark, waits for room first. A
    /// cancelled wait has queued nothing.
    pub(crate) async fn send(&self, message: &mut Outgoing<'_>) -> Result<(), Refused> {
        loop {
            match self.offer_below_mark(message) {
                Err(Refused::Full) => {}
                done => return done,
            }
            let listener = self.writable.listen();
            match self.offer_below_mark(message) {
                Err(Refused::Full) => listener.await,
                done => return done,
            }
        }
    }

    /// Waits until the connection is not congested.
    pub(crate) async fn ready(&self) -> Result<(), Refused> {
        loop {
            let listener = self.writable.listen();
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
        wake(state);
        queued
    }

    /// Starts the closing handshake, unless either side has already.
    pub(crate) fn close(&self, frame: CloseFrame) {
        let mut state = self.lock();
        self.begin_close(&mut state, frame);
        wake(state);
    }

    pub(crate) fn terminate(&self) {
        let mut state = self.lock();
        state.outbound.close(CloseFrame::no_status());
        self.flags.fetch_or(CUT, Ordering::Release);
        wake(state);
        self.writable.notify(usize::MAX);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().outbound.is_closed()
    }

    fn offer_below_mark(&self, message: &mut Outgoing<'_>) -> Result<(), Refused> {
        let mut state = self.lock();
        let status = self.offer(&mut state, message, true);
        wake_to_write(state);
        status.map(drop)
    }

    /// Queues a message if there is room; with `below_mark`, only while the
    /// connection is not congested.
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
            self.flags.fetch_or(CLOSING, Ordering::Release);
            self.writable.notify(usize::MAX);
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
        self.lock().parked = None;
    }

    /// The task is about to wait. `false` if there is work for it after all: frames
    /// that are not `blocked`, or an end that it has not `seen`.
    pub(crate) fn park(&self, waker: &Waker, blocked: bool, seen: Flags) -> bool {
        let mut state = self.lock();
        let unseen = self.flags().0 & !seen.0 & (CLOSING | CUT);
        let work = (!blocked && !state.outbound.is_empty()) || unseen != 0;
        if !work {
            state.parked = Some(waker.clone());
        }
        !work
    }

    /// Takes the queued frames, which are in flight from now on.
    pub(crate) fn take(&self) -> FrameQueue {
        let mut state = self.lock();
        state.outbound.set_blocked(false);
        let frames = state.outbound.take();
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
            self.writable.notify_relaxed(usize::MAX);
        }
        relieved
    }

    pub(crate) fn pong(&self, payload: Bytes) {
        self.lock().outbound.pong(payload);
    }

    /// Answers the peer's close frame; nothing happens if this side was first.
    pub(crate) fn answer_close(&self, frame: CloseFrame) {
        self.lock().outbound.close(frame);
        self.writable.notify(usize::MAX);
    }

    /// The stream is gone: nothing can be sent, and nothing is owed.
    pub(crate) fn shut(&self) {
        let mut state = self.lock();
        state.outbound.close(CloseFrame::no_status());
        state.outbound.take();
        state.in_flight = 0;
        state.parked = None;
        // Backpressure ends without a `drain`: there is nothing to go on with.
        self.flags.fetch_and(!CONGESTED, Ordering::Release);
        drop(state);
        self.writable.notify(usize::MAX);
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

/// Unlocks, and wakes the task if it waits.
fn wake(mut state: MutexGuard<'_, State>) {
    let parked = state.parked.take();
    drop(state);
    if let Some(waker) = parked {
        waker.wake();
    }
}

/// As [`wake`], for frames: a task that waits for the peer cannot write them anyway.
fn wake_to_write(state: MutexGuard<'_, State>) {
    if !state.outbound.is_blocked() || state.outbound.is_closed() {
        wake(state);
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("id", &self.id).finish_non_exhaustive()
    }
}
