//! The load generator: one thread, raw epoll, frames made beforehand, so that it costs less
//! than any server it drives.

mod connect;
mod echo;
mod frames;
mod poll;

use std::time::Duration;

pub(crate) use self::{
    connect::Target,
    echo::{Echo, Pace},
    frames::{Frames, Opcode, binary, text},
};
use crate::Result;

/// Work that goes on until it is told to stop.
pub(crate) trait Load {
    /// Works for this long and says how much was done.
    fn run(&mut self, time: Duration) -> Result<u64>;
}
