//! More than a server can handle.

use std::io::Write;

use super::Siege;
use crate::{
    Result,
    client::{self, PING, TEXT, frame},
};

const FLOODS: usize = 8;

/// More than can be handled in the time of the attack, and no more than soon after it: a server
/// handles what a peer sent before it left.
const TINY: usize = 1500;

pub(super) fn tiny(siege: &Siege) -> Result<u64> {
    flood(siege, frame(TEXT, b"x").repeat(siege.times(TINY)), siege.times(TINY))
}

/// Frames in a row that cost the same.
const RUN: usize = 50;

pub(super) fn uneven(siege: &Siege) -> Result<u64> {
    let runs = [frame(TEXT, b"").repeat(RUN), frame(TEXT, b"x").repeat(RUN)].concat();
    let times = siege.times(TINY) / RUN;
    flood(siege, runs.repeat(times), 2 * RUN * times)
}

fn flood(siege: &Siege, at_once: Vec<u8>, frames: usize) -> Result<u64> {
    siege.each(siege.open_many(FLOODS, "/work")?, |_, mut stream| {
        stream.write_all(&at_once)?;
        siege.count(frames);
        client::wait_for_the_end(stream)
    })
}

/// Pings that are sent in one piece.
const PINGS: usize = 1000;

pub(super) fn pings(siege: &Siege) -> Result<u64> {
    let at_once = frame(PING, &[0; 100]).repeat(PINGS);
    let streams = siege.open_many(FLOODS, "/echo")?;
    streams.iter().try_for_each(client::with_small_buffer)?;
    siege.each(streams, |_, mut stream| {
        loop {
            stream.write_all(&at_once)?;
            siege.count(PINGS);
        }
    })
}
