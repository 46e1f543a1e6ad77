//! What is measured: the engine's parts by themselves, and connections over streams in memory,
//! which cost no system call and are polled by hand. `micro` takes the time of each case,
//! `instructions` counts the instructions of some.
#![allow(dead_code, reason = "each of the two uses its own part of this")]

mod connection;
mod handshake;
mod messages;
mod protocol;
mod topics;

/// Something to measure.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Makes all that is not measured.
    pub(crate) setup: Box<dyn Fn() -> Work>,
    /// How many batches are counted, if instructions are.
    pub(crate) batches: Option<usize>,
}

/// What a case does again and again.
pub(crate) struct Work {
    /// How many operations a batch has.
    pub(crate) operations: usize,
    pub(crate) batch: Box<dyn FnMut()>,
}

impl Case {
    /// Timed only: it takes too much memory or too many instructions to set up.
    fn timed(name: &'static str, setup: impl Fn() -> Work + 'static) -> Self {
        Self { name, setup: Box::new(setup), batches: None }
    }

    /// Timed, and its instructions counted over so many batches.
    fn counted(name: &'static str, batches: usize, setup: impl Fn() -> Work + 'static) -> Self {
        Self { batches: Some(batches), ..Self::timed(name, setup) }
    }
}

impl Work {
    fn new(operations: usize, batch: impl FnMut() + 'static) -> Self {
        Self { operations, batch: Box::new(batch) }
    }
}

pub(crate) fn all() -> Vec<Case> {
    let mut cases = protocol::cases();
    cases.extend(handshake::cases());
    cases.extend(messages::cases());
    cases.extend(topics::cases());
    cases
}
