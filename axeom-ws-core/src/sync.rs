//! What threads share is made of these: the standard library's types, or, in the loom models,
//! those of loom, which lets everything happen in every order.

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

/// Locks a mutex whether or not a thread panicked while it held it: nothing of ours runs code
/// under a lock that could panic halfway through a change.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
