//! What a connection's task shares with the handles that send on it: the outgoing frames, the
//! lifecycle, and the waker of the task.

mod flags;
mod id;
mod lifecycle;
mod traffic;
mod waiting;
mod wakers;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU32},
    task::Waker,
};

pub use self::id::ConnectionId;
pub(crate) use self::{flags::Flags, lifecycle::Phase, waiting::Sending, wakers::Wakers};
use self::{
    flags::{AWAKE, CONGESTED, QUEUED, SharedFlags},
    lifecycle::Lifecycle,
    waiting::{Ticket, Waiting},
};
use crate::{
    close::CloseFrame,
    compression::DeflateParams,
    options::Settings,
    protocol::{Deflater, FrameQueue, Frames, Role},
    sync::{Mutex, MutexGuard, atomic::Ordering, lock},
};

/// Handles queue frames here, and the connection's task takes and writes them.
///
/// While its state is locked, there is no I/O, no user code and no compression, no other lock is
/// taken, and no task is woken.
pub(crate) struct Link {
    id: ConnectionId,
    settings: Arc<Settings>,
    flags: SharedFlags,
    /// For the [`Timers`](crate::runtime::Timers) of the server. It is here because it fits into the
    /// gap behind the flags.
    timer_place: AtomicU32,
    state: Mutex<State>,
    /// Present if permessage-deflate was negotiated.
    deflater: Option<Box<Deflater>>,
}

struct State {
    frames: Frames,
    /// The close frame of the [`Lifecycle`]; its phase is kept in the flags.
    close_frame: Option<Box<CloseFrame>>,
    /// Bytes that count as queued without being in `frames`: those that the task took and the
    /// transport has not accepted yet, and those that are being compressed.
    elsewhere: usize,
    /// The senders and others that wait, if anyone does.
    waiting: Option<Box<Waiting>>,
    /// Wakes the task. Code that has work for the task while it is not `AWAKE` takes this.
    waker: Option<Waker>,
}

/// Why a message was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotQueued {
    /// It does not fit at the moment.
    Full,
    /// Nothing can be sent any more.
    Closed,
}

impl Link {
    pub(crate) fn new(role: Role, settings: Arc<Settings>, deflate: Option<DeflateParams>) -> Self {
        let deflater = deflate.zip(settings.compression.as_ref());
        let deflater = deflater.map(|(params, own)| Box::new(Deflater::new(role, params, own)));
        let frames = Frames::new(role);
        let state = State { frames, close_frame: None, elsewhere: 0, waiting: None, waker: None };
        Self {
            id: ConnectionId::next(),
            settings,
            flags: SharedFlags::new(),
            timer_place: AtomicU32::new(0),
            state: Mutex::new(state),
            deflater,
        }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn timer_place(&self) -> &AtomicU32 {
        &self.timer_place
    }

    /// What can be known about the connection without a lock.
    #[inline]
    pub(crate) fn flags(&self) -> Flags {
        self.flags.load(Ordering::Acquire)
    }
}

impl Link {
    /// Changes the lifecycle, then wakes the task and all waiting senders.
    fn change<T>(&self, change: impl FnOnce(&mut Lifecycle<'_>, &mut Frames) -> T) -> T {
        let mut state = lock(&self.state);
        let State { frames, close_frame, .. } = &mut *state;
        let before = self.flags().phase();
        let mut lifecycle = Lifecycle { phase: before, frame: close_frame };
        let changed = change(&mut lifecycle, frames);
        let after = lifecycle.phase;
        self.flags.enter(before, after);
        // Payloads are dropped without the lock: what owns them may be the program's own type.
        let _unsent = after.is_gone().then(|| self.empty(&mut state));
        self.note_queued(&state);
        let task = if self.flags().is_awake() { None } else { self.take_waker(&mut state) };
        self.wake_waiting(state);
        if let Some(task) = task {
            task.wake();
        }
        changed
    }

    /// Takes everything that is queued out, to be dropped. Backpressure ends without a `drain`,
    /// because nothing more can be sent.
    fn empty(&self, state: &mut State) -> FrameQueue {
        state.elsewhere = 0;
        self.flags.clear(CONGESTED | QUEUED, Ordering::Release);
        state.frames.take()
    }

    /// Must be called after anything that may have queued a frame.
    #[inline]
    fn note_queued(&self, state: &State) {
        if !self.flags().is_queued() && !state.frames.is_empty() {
            self.flags.set(QUEUED, Ordering::Release);
        }
    }

    /// Unlocks the state, and wakes the task if it waits.
    #[inline]
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        if !self.flags().is_awake() {
            let waker = self.take_waker(&mut state);
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Unlocks the state, and wakes the task if it waits and can write frames.
    #[inline]
    fn wake_to_write(&self, state: MutexGuard<'_, State>, flags: Flags) {
        if let Some(waker) = self.waker_to_write(state, flags) {
            waker.wake();
        }
    }

    /// Unlocks the state, and returns the waker to call so that frames are written. There is
    /// none if the transport is blocked: the task could not write them anyway.
    #[inline]
    fn waker_to_write(&self, mut state: MutexGuard<'_, State>, flags: Flags) -> Option<Waker> {
        if flags.is_awake() || state.frames.is_blocked() {
            return None;
        }
        self.take_waker(&mut state)
    }

    #[cold]
    fn take_waker(&self, state: &mut State) -> Option<Waker> {
        self.flags.set(AWAKE, Ordering::Relaxed);
        state.waker.take()
    }
}

impl State {
    fn buffered(&self) -> usize {
        self.frames.len() + self.elsewhere
    }

    fn is_turn_of(&self, sender: Ticket) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.is_first(sender))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("id", &self.id).finish_non_exhaustive()
    }
}
