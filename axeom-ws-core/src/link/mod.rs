//! What a connection's task shares with the handles that send on it: the outgoing frames, the
//! lifecycle, and the waker of the task.

mod flags;
mod id;
mod lifecycle;
mod traffic;
mod wakers;

use std::{fmt, sync::Arc, task::Waker};

use event_listener::Event;

pub use self::id::ConnectionId;
pub(crate) use self::{flags::Flags, lifecycle::Phase, traffic::Sending, wakers::Wakers};
use self::{
    flags::{AWAKE, CONGESTED, QUEUED, SharedFlags, WAITED_FOR},
    lifecycle::Lifecycle,
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
    state: Mutex<State>,
    /// Notified when waiting senders should try again.
    writable: Event,
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
    /// Notified when the connection begins to end; made when somebody waits for that.
    ending: Option<Arc<Event>>,
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
        let state = State {
            frames: Frames::new(role),
            close_frame: None,
            elsewhere: 0,
            ending: None,
            waker: None,
        };
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
        let ending = if after == Phase::Open { None } else { state.ending.take() };
        // Payloads are dropped without the lock: what owns them may be the program's own type.
        let _unsent = after.is_gone().then(|| self.empty(&mut state));
        self.note_queued(&state);
        self.wake(state);
        self.notify_waiting();
        if let Some(ending) = ending {
            ending.notify(usize::MAX);
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

    /// Must be called, without the lock, after anything that may have freed room for waiting
    /// senders or ended their wait.
    fn notify_waiting(&self) {
        // A sender sets the flag before it locks the state and finds that it must wait, so the
        // lock makes the flag visible here.
        if self.flags.load(Ordering::Relaxed).is_waited_for() {
            self.flags.clear(WAITED_FOR, Ordering::Acquire);
            self.writable.notify(usize::MAX);
        }
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
    fn wake(&self, state: MutexGuard<'_, State>) {
        if !self.flags().is_awake() {
            if let Some(waker) = self.take_waker(state) {
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
