//! The load generator: one thread, raw epoll, frames made beforehand, so that it costs less
//! than any server it drives.

mod connect;
mod deflate;
mod echo;
mod frames;
mod handshakes;
mod payloads;
mod poll;
mod room;

use std::time::Duration;

pub(crate) use self::{
    connect::Target,
    deflate::compressed,
    echo::{Echo, Pace},
    frames::{Frames, Opcode},
    handshakes::Handshakes,
    payloads::{binary, json, text},
    room::{Broadcast, Chat},
};
use crate::Result;

/// Work that goes on until it is told to stop.
pub(crate) trait Load {
    /// Works for this long and says how much was done.
    fn run(&mut self, time: Duration) -> Result<u64>;
}
