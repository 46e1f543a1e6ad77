//! permessage-deflate for single messages (RFC 7692 §7.2).

use std::cell::{Cell, RefCell};

use bytes::Bytes;
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Status};

use super::{
    Role,
    outgoing::{CompressorKey, Outgoing},
};
use crate::{
    compression::{Compression, DeflateParams},
    sync::{Mutex, MutexGuard, lock},
    violation::Violation,
};

/// The last bytes of a flushed block. They are removed from a message before it is sent, and
/// added again before it is decompressed (RFC 7692 §7.2.1 and §7.2.2).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// How much output one step of compression or decompression can produce, in bytes.
const STEP: usize = 16 * 1024;

thread_local! {
    /// The buffer for the output of a step, while no step uses it.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Runs a step with the thread's buffer for its output.
fn with_room<T>(step: impl FnOnce(&mut [u8]) -> T) -> T {
    // If the thread is ending, its buffer is gone and a new one is made.
    let mut room = ROOM.try_with(Cell::take).unwrap_or_default();
    room.resize(STEP, 0);
    let done = step(&mut room);
    let _ = ROOM.try_with(|slot| slot.set(room));
    done
}

fn compressor(key: CompressorKey) -> Deflate {
    Deflate::new_with_config(DeflateConfig {
        level: i32::from(key.level),
        // A negative number means that there is no zlib header.
        window_bits: i32::from(key.window_bits).saturating_neg(),
        mem_level: i32::from(key.mem_level),
        ..DeflateConfig::default()
    })
}

/// Compresses the messages of one connection.
pub(crate) struct Deflater {
    key: CompressorKey,
    threshold: usize,
    /// The connection's compressor, if there is context takeover and once it is needed. A sender
    /// holds this lock from compressing a message until the message is queued, because the peer
    /// must decompress the messages in the order in which they were compressed.
    own: Option<Mutex<Option<Box<Deflate>>>>,
}

/// The right to compress the next message of a connection and to queue it.
pub(crate) struct Turn<'a> {
    key: CompressorKey,
    own: Option<MutexGuard<'a, Option<Box<Deflate>>>>,
}

thread_local! {
    /// The compressors and the decompressor for connections without context takeover, which
    /// use them for one message at a time.
    static DEFLATE: RefCell<Vec<(CompressorKey, Deflate)>> = const { RefCell::new(Vec::new()) };
    static INFLATE: RefCell<Option<Inflate>> = const { RefCell::new(None) };
}

impl Deflater {
    pub(crate) fn new(role: Role, params: DeflateParams, own: &Compression) -> Self {
        let (no_takeover, window_bits) = match role {
            Role::Server => (params.server_no_context_takeover, params.server_max_window_bits),
            Role::Client => (params.client_no_context_takeover, params.client_max_window_bits),
        };
        Self {
            key: CompressorKey { level: own.level, window_bits, mem_level: own.mem_level },
            threshold: own.threshold,
            own: (!no_takeover).then(Mutex::default),
        }
    }

    /// Whether the message is to be compressed.
    pub(crate) fn wants(&self, outgoing: &Outgoing<'_>) -> bool {
        outgoing.compress.unwrap_or(outgoing.len() >= self.threshold)
    }

    /// Waits until the messages that other threads compress are queued.
    pub(crate) fn turn(&self) -> Turn<'_> {
        Turn { key: self.key, own: self.own.as_ref().map(lock) }
    }
}

impl Turn<'_> {
    /// The compressed message, or `None` if it should be sent uncompressed. With context
    /// takeover, the result must be sent.
    pub(crate) fn compress(&mut self, outgoing: &mut Outgoing<'_>) -> Option<Bytes> {
        match &mut self.own {
            Some(own) => {
                let own = own.get_or_insert_with(|| Box::new(compressor(self.key)));
                deflate(own, outgoing.message.as_bytes())
            }
            None => {
                outgoing.compressed_alone(self.key, |payload| compress_alone(self.key, payload))
            }
        }
    }
}

impl std::fmt::Debug for Deflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deflater").field("key", &self.key).finish_non_exhaustive()
    }
}

fn compress_alone(key: CompressorKey, payload: &[u8]) -> Option<Bytes> {
    let shared = DEFLATE.try_with(|shared| {
        let mut shared = shared.borrow_mut();
        if !shared.iter().any(|(with, _)| *with == key) {
            shared.push((key, compressor(key)));
        }
        let (_, deflater) = shared.iter_mut().find(|(with, _)| *with == key)?;
        let done = deflate(deflater, payload);
        deflater.reset();
        done
    });
    // If the thread is ending, its compressors are gone.
    shared.unwrap_or_else(|_| deflate(&mut compressor(key), payload))
}

/// `None` if zlib fails, which it does only when it has no memory.
fn deflate(deflate: &mut Deflate, payload: &[u8]) -> Option<Bytes> {
    // Flushing an empty message right after another flush outputs nothing, so this is the empty
    // block of RFC 7692 §7.2.3.6.
    if payload.is_empty() {
        return Some(Bytes::from_static(&[0]));
    }
    let mut out = Vec::new();
    let mut rest = payload;
    with_room(|room| {
        loop {
            let (before_in, before_out) = (deflate.total_in(), deflate.total_out());
            let status = deflate.compress(rest, room, DeflateFlush::SyncFlush).ok()?;
            rest = rest.get(since(before_in, deflate.total_in())..)?;
            let written = room.get(..since(before_out, deflate.total_out()))?;
            // If there is room left, the flush is complete.
            let complete = written.len() < room.len() || status == Status::BufError;
            out.extend_from_slice(written);
            if rest.is_empty() && complete {
                return Some(());
            }
        }
    })?;
    out.truncate(out.len().checked_sub(TAIL.len())?);
    out.shrink_to_fit();
    Some(Bytes::from(out))
}

/// How far one of zlib's totals has moved in a step, which takes and makes no more bytes than there
/// are in memory.
fn since(before: u64, now: u64) -> usize {
    now.wrapping_sub(before) as usize
}

/// Decompresses the messages of one connection.
pub(super) struct Inflater {
    takeover: bool,
    window_bits: u8,
    own: Option<Box<Inflate>>,
}

impl Inflater {
    pub(super) fn new(role: Role, params: DeflateParams) -> Self {
        // This side decompresses what the other side compressed.
        let (no_takeover, window_bits) = match role {
            Role::Server => (params.client_no_context_takeover, params.client_max_window_bits),
            Role::Client => (params.server_no_context_takeover, params.server_max_window_bits),
        };
        Self { takeover: !no_takeover, window_bits, own: None }
    }

    /// Decompresses the payload of a whole message.
    pub(super) fn decompress(&mut self, payload: &[u8], limit: usize) -> Result<Bytes, Violation> {
        if self.takeover {
            let bits = self.window_bits;
            let own = self.own.get_or_insert_with(|| Box::new(Inflate::new(false, bits)));
            return inflate(own, payload, limit);
        }
        let shared = INFLATE.try_with(|shared| {
            let mut shared = shared.borrow_mut();
            // The largest window also works for smaller ones, and `reset` falls back to it.
            let inflater = shared.get_or_insert_with(|| Inflate::new(false, 15));
            let done = inflate(inflater, payload, limit);
            inflater.reset(false);
            done
        });
        shared.unwrap_or_else(|_| inflate(&mut Inflate::new(false, 15), payload, limit))
    }
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").field("takeover", &self.takeover).finish_non_exhaustive()
    }
}

fn inflate(inflate: &mut Inflate, payload: &[u8], limit: usize) -> Result<Bytes, Violation> {
    with_room(|room| {
        let mut message = Inflated { room, out: Vec::new(), limit, streams: 0 };
        message.feed(inflate, payload, payload.len(), InflateFlush::SyncFlush)?;
        // The extra byte behind the tail tells whether the stream is whole. If it is, the tail ends
        // a block, and `Block` stops right there. If it was cut, the extra byte is consumed too.
        let probe = [TAIL[0], TAIL[1], TAIL[2], TAIL[3], 0];
        let taken = message.feed(inflate, &probe, TAIL.len(), InflateFlush::Block)?;
        if taken != TAIL.len() {
            return Err(Violation::BadDeflate);
        }
        message.out.shrink_to_fit();
        Ok(Bytes::from(message.out))
    })
}

/// The most final blocks in a message. Even one is rare, but each costs a reset, and a hostile
/// peer could send nothing else.
const MOST_STREAMS: u32 = 4096;

struct Inflated<'a> {
    /// The buffer for the output of one step.
    room: &'a mut [u8],
    out: Vec<u8>,
    limit: usize,
    /// Final blocks so far.
    streams: u32,
}

impl Inflated<'_> {
    /// Decompresses at least `stop` bytes of `input`, and returns how many were taken.
    fn feed(
        &mut self,
        inflate: &mut Inflate,
        input: &[u8],
        stop: usize,
        flush: InflateFlush,
    ) -> Result<usize, Violation> {
        let mut rest = input;
        loop {
            let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
            let status =
                inflate.decompress(rest, self.room, flush).map_err(|_| Violation::BadDeflate)?;
            let read = since(before_in, inflate.total_in());
            let written = self.room.get(..since(before_out, inflate.total_out()));
            let (Some(written), Some(left)) = (written, rest.get(read..)) else {
                return Err(Violation::BadDeflate);
            };
            rest = left;
            let taken = input.len().saturating_sub(rest.len());
            if written.len() > self.limit.saturating_sub(self.out.len()) {
                return Err(Violation::MessageTooBig { limit: self.limit });
            }
            self.out.extend_from_slice(written);
            let stuck = read == 0 && written.is_empty();
            if status == Status::StreamEnd {
                // What follows a final block is a new stream (RFC 7692 §7.2.3.4).
                inflate.reset(false);
                self.streams = self.streams.saturating_add(1);
                if self.streams > MOST_STREAMS {
                    return Err(Violation::BadDeflate);
                }
                continue;
            }
            if written.len() == self.room.len() {
                continue;
            }
            // There is room left, so all output is out. What remains is input: the rest of it, or,
            // if `Block` stopped here, the next block.
            if rest.is_empty() || taken >= stop || stuck {
                return Ok(taken);
            }
        }
    }
}
