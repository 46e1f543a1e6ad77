//! The synchronization types for all state that threads share: those of the standard library,
//! or, in the loom models, those of loom, which explores every order of events.

#[cfg(not(all(test, loom)))]
pub(crate) use std::{
    hash::RandomState,
    sync::{Mutex, MutexGuard, atomic},
};

#[cfg(all(test, loom))]
pub(crate) use {
    crate::loom_support::RandomState,
    loom::sync::{Mutex, MutexGuard, atomic},
};

/// Locks a mutex even if it is poisoned. No code in this crate can panic halfway through a change
/// under a lock, so the contents are sound.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
