//! permessage-deflate on single messages (RFC 7692 §7.2).

use std::cell::{Cell, RefCell};

use bytes::Bytes;
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Status};

use super::{Role, outgoing::Outgoing};
use crate::{
    compression::{Compression, DeflateParams},
    sync::{Mutex, MutexGuard, lock},
    violation::Violation,
};

/// What a flushed block ends with. A message is sent without it, and it is put back before
/// decompression.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// How much room a step of either direction has for its output, in bytes.
const STEP: usize = 16 * 1024;

thread_local! {
    /// That room, while nobody is in it.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends the thread's room for the output of a step.
fn with_room<T>(step: impl FnOnce(&mut [u8]) -> T) -> T {
    // On a thread that is ending it is made anew.
    let mut room = ROOM.try_with(Cell::take).unwrap_or_default();
    room.resize(STEP, 0);
    let done = step(&mut room);
    let _ = ROOM.try_with(|slot| slot.set(room));
    done
}

/// The parameters of a compressor. Two messages of the same text that were compressed
/// alone with the same ones are the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CompressorKey {
    level: u8,
    window_bits: u8,
    mem_level: u8,
}

impl CompressorKey {
    fn deflate(self) -> Deflate {
        Deflate::new_with_config(DeflateConfig {
            level: i32::from(self.level),
            // Negative: without a zlib header.
            window_bits: -i32::from(self.window_bits),
            mem_level: i32::from(self.mem_level),
            ..DeflateConfig::default()
        })
    }
}

/// Compresses the messages of one connection.
pub(crate) struct Deflater {
    key: CompressorKey,
    threshold: usize,
    /// With context takeover: the connection's own compressor, once it needs one. Whoever
    /// compresses a message holds this lock until it is queued, for the peer decompresses
    /// messages in the order in which they were compressed.
    own: Option<Mutex<Option<Box<Deflate>>>>,
}

/// The right to compress the next message of a connection and to queue it.
pub(crate) struct Turn<'a> {
    key: CompressorKey,
    own: Option<MutexGuard<'a, Option<Box<Deflate>>>>,
}

thread_local! {
    /// The compressors and the decompressor of connections without context takeover, which
    /// need one for the length of a message.
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

    /// Waits until the messages that others compress are queued.
    pub(crate) fn turn(&self) -> Turn<'_> {
        Turn { key: self.key, own: self.own.as_ref().map(lock) }
    }
}

impl Turn<'_> {
    /// The message compressed, or `None` if it is to be sent as it is. With context takeover,
    /// what this returns must be sent.
    pub(crate) fn compress(&mut self, outgoing: &mut Outgoing<'_>) -> Option<Bytes> {
        match &mut self.own {
            Some(own) => {
                let own = own.get_or_insert_with(|| Box::new(self.key.deflate()));
                deflate(own, outgoing.message.as_bytes())
            }
            None => outgoing.compressed_alone(self.key),
        }
    }
}

impl std::fmt::Debug for Deflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deflater").field("key", &self.key).finish_non_exhaustive()
    }
}

pub(super) fn compress_alone(key: CompressorKey, payload: &[u8]) -> Option<Bytes> {
    let shared = DEFLATE.try_with(|shared| {
        let mut shared = shared.borrow_mut();
        let at = shared.iter().position(|(with, _)| *with == key).unwrap_or_else(|| {
            shared.push((key, key.deflate()));
            shared.len() - 1
        });
        let deflater = &mut shared[at].1;
        let done = deflate(deflater, payload);
        deflater.reset();
        done
    });
    // On a thread that is ending.
    shared.unwrap_or_else(|_| deflate(&mut key.deflate(), payload))
}

/// `None` only if zlib fails, which it does for want of memory alone.
fn deflate(deflate: &mut Deflate, payload: &[u8]) -> Option<Bytes> {
    // A flush of nothing after a flush makes no block: this is one (RFC 7692 §7.2.3.6).
    if payload.is_empty() {
        return Some(Bytes::from_static(&[0]));
    }
    let mut out = Vec::new();
    let mut rest = payload;
    with_room(|room| {
        loop {
            let (before_in, before_out) = (deflate.total_in(), deflate.total_out());
            let status = deflate.compress(rest, room, DeflateFlush::SyncFlush).ok()?;
            rest = &rest[(deflate.total_in() - before_in) as usize..];
            let written = &room[..(deflate.total_out() - before_out) as usize];
            // Room left over means that the flush is complete.
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

/// Decompresses the messages of one connection.
pub(super) struct Inflater {
    takeover: bool,
    window_bits: u8,
    own: Option<Box<Inflate>>,
}

impl Inflater {
    pub(super) fn new(role: Role, params: DeflateParams) -> Self {
        // What this side decompresses is what the other compressed.
        let (no_takeover, window_bits) = match role {
            Role::Server => (params.client_no_context_takeover, params.client_max_window_bits),
            Role::Client => (params.server_no_context_takeover, params.server_max_window_bits),
        };
        Self { takeover: !no_takeover, window_bits, own: None }
    }

    /// The whole message that `payload` is the compressed form of.
    pub(super) fn decompress(&mut self, payload: &[u8], limit: usize) -> Result<Bytes, Violation> {
        if self.takeover {
            let bits = self.window_bits;
            let own = self.own.get_or_insert_with(|| Box::new(Inflate::new(false, bits)));
            return inflate(own, payload, limit);
        }
        let shared = INFLATE.try_with(|shared| {
            let mut shared = shared.borrow_mut();
            // The largest window takes every smaller one, and is what `reset` falls back to.
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
        // One byte past the tail: a stream that is whole ends a block right before it, where
        // `Block` stops; one that was cut takes it for its own.
        let probe = [TAIL[0], TAIL[1], TAIL[2], TAIL[3], 0];
        let taken = message.feed(inflate, &probe, TAIL.len(), InflateFlush::Block)?;
        if taken != TAIL.len() {
            return Err(Violation::BadDeflate);
        }
        message.out.shrink_to_fit();
        Ok(Bytes::from(message.out))
    })
}

/// The most final blocks in a message. One is rare; each costs a reset, and a peer could
/// send nothing but them.
const MOST_STREAMS: u32 = 4096;

struct Inflated<'a> {
    /// Where each step puts what it has.
    room: &'a mut [u8],
    out: Vec<u8>,
    limit: usize,
    /// Final blocks so far.
    streams: u32,
}

impl Inflated<'_> {
    /// Decompresses at least `stop` bytes of `input`, and says how much of it was taken.
    fn feed(
        &mut self,
        inflate: &mut Inflate,
        input: &[u8],
        stop: usize,
        flush: InflateFlush,
    ) -> Result<usize, Violation> {
        let mut taken = 0;
        loop {
            let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
            let status = inflate
                .decompress(&input[taken..], self.room, flush)
                .map_err(|_| Violation::BadDeflate)?;
            let read = (inflate.total_in() - before_in) as usize;
            let written = &self.room[..(inflate.total_out() - before_out) as usize];
            taken += read;
            if written.len() > self.limit - self.out.len() {
                return Err(Violation::MessageTooBig { limit: self.limit });
            }
            self.out.extend_from_slice(written);
            let stuck = read == 0 && written.is_empty();
            if status == Status::StreamEnd {
                // A final block: what follows starts anew (RFC 7692 §7.2.3.4).
                inflate.reset(false);
                self.streams += 1;
                if self.streams > MOST_STREAMS {
                    return Err(Violation::BadDeflate);
                }
                continue;
            }
            if written.len() == self.room.len() {
                continue;
            }
            // With room left, nothing is pending but input: the rest of it, or, where `Block`
            // stopped, the next block.
            if taken == input.len() || taken >= stop || stuck {
                return Ok(taken);
            }
        }
    }
}
