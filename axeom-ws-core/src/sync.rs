//! What threads share is made of these: the standard library's types, or, in the models,
//! those of loom, which lets everything happen in every order.

#[cfg(not(all(test, loom)))]
pub(crate) use std::{
    hash::RandomState,
    sync::{Mutex, MutexGuard, atomic},
};

#[cfg(all(test, loom))]
pub(crate) use {
    crate::model::RandomState,
    loom::sync::{Mutex, MutexGuard, atomic},
};
