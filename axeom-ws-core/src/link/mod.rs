//! What a connection's task shares with everyone who sends to it: its outgoing frames, its
//! lifecycle, and the waker of the task.

mod flags;
mod id;
mod lifecycle;
mod offer;
mod sending;
mod wakers;
mod writer;

use std::{fmt, sync::Arc, task::Waker};

use event_listener::Event;

pub use self::id::ConnectionId;
pub(crate) use self::{flags::Flags, lifecycle::Phase, sending::Sending, wakers::Wakers};
use self::{
    flags::{AWAKE, CONGESTED, QUEUED, SharedFlags, WAITED_FOR},
    lifecycle::Lifecycle,
};
use crate::{
    close::CloseFrame,
    compression::DeflateParams,
    options::Settings,
    protocol::{Deflater, Frames, Role},
    sync::{Mutex, MutexGuard, atomic::Ordering, lock},
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
