use super::lifecycle::Phase;
use crate::sync::atomic::{AtomicU8, Ordering};

/// What can be read without locking the link's state: the phase and the flags below. They change
/// only while the state is locked, except that the task sets `AWAKE` and clears `DUE` without the
/// lock.
pub(super) struct SharedFlags(AtomicU8);

/// The high-water mark was crossed, and the low-water mark has not been reached since.
pub(super) const CONGESTED: u8 = 8;
/// The task runs or was woken, so it will look for work before it waits again.
pub(super) const AWAKE: u8 = 16;
/// There are frames for the task to take.
pub(super) const QUEUED: u8 = 32;
/// A deadline may have passed.
pub(super) const DUE: u8 = 64;
/// A sender waits for room.
pub(super) const WAITED_FOR: u8 = 128;

impl SharedFlags {
    /// The flags of an open connection whose task runs.
    pub(super) fn new() -> Self {
        Self(AtomicU8::new(Phase::Open as u8 | AWAKE))
    }

    #[inline]
    pub(super) fn load(&self, ordering: Ordering) -> Flags {
        Flags(self.0.load(ordering))
    }

    #[inline]
    pub(super) fn set(&self, flag: u8, ordering: Ordering) {
        self.0.fetch_or(flag, ordering);
    }

    #[inline]
    pub(super) fn clear(&self, flags: u8, ordering: Ordering) {
        self.0.fetch_and(!flags, ordering);
    }

    /// Changes the phase. The caller has locked the state, so no other thread changes these bits
    /// and flipping those that differ is enough.
    pub(super) fn enter(&self, before: Phase, after: Phase) {
        self.0.fetch_xor(before as u8 ^ after as u8, Ordering::Release);
    }
}

/// A link's flags at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flags(u8);

impl Flags {
    #[inline]
    pub(crate) fn phase(self) -> Phase {
        Phase::from_bits(self.0)
    }

    #[inline]
    pub(crate) fn is_open(self) -> bool {
        Phase::is_open(self.0)
    }

    #[inline]
    pub(crate) fn is_congested(self) -> bool {
        self.0 & CONGESTED != 0
    }

    /// Whether the task has not parked, or was woken since.
    #[inline]
    pub(crate) fn is_awake(self) -> bool {
        self.0 & AWAKE != 0
    }

    /// Whether there are frames to [take](super::Link::take).
    #[inline]
    pub(crate) fn is_queued(self) -> bool {
        self.0 & QUEUED != 0
    }

    #[inline]
    pub(super) fn is_due(self) -> bool {
        self.0 & DUE != 0
    }

    #[inline]
    pub(super) fn is_congested_or_waited_for(self) -> bool {
        self.0 & (CONGESTED | WAITED_FOR) != 0
    }
}
