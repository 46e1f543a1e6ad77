//! Frames on their way to the peer: how they are queued, and what is written.

use std::{cell::Cell, collections::VecDeque, io::IoSlice, mem};

use bytes::{Buf, Bytes};

use super::{
    Role,
    header::{Encoded, MAX_CONTROL, Opcode},
    mask::Mask,
    outgoing::Outgoing,
};
use crate::{close::CloseFrame, contained::Contained};

/// The frames that one side sends, encoded in the order in which they are queued. The owner
/// decides whether a frame may still be sent.
#[derive(Debug)]
pub(crate) struct Frames {
    role: Role,
    queue: FrameQueue,
    /// Whether the transport accepts nothing at the moment.
    blocked: bool,
    /// The pong to send when the transport accepts bytes again.
    held_pong: Option<Box<Bytes>>,
    /// How many copied bytes were taken last time.
    last_taken: u32,
}

impl Frames {
    /// `role` is the sender's.
    pub(crate) fn new(role: Role) -> Self {
        Self { role, queue: FrameQueue::default(), blocked: false, held_pong: None, last_taken: 0 }
    }

    /// Queues a message, with its compressed payload if it was compressed.
    #[inline]
    pub(crate) fn message(&mut self, outgoing: &Outgoing<'_>, compressed: Option<&Bytes>) {
        let opcode = if outgoing.message.is_text() { Opcode::Text } else { Opcode::Binary };
        let payload = compressed.unwrap_or(outgoing.message.as_bytes());
        self.frame(opcode, compressed.is_some(), payload);
    }

    /// Queues a ping. A longer payload is cut to 125 bytes.
    pub(crate) fn ping(&mut self, payload: &Bytes) {
        self.frame(Opcode::Ping, false, &payload.slice(..payload.len().min(MAX_CONTROL as usize)));
    }

    /// Queues the answer to a ping. While the transport is blocked, only the answer to the latest
    /// ping is kept (RFC 6455 §5.5.3), so that a flood of pings occupies no memory.
    pub(crate) fn pong(&mut self, payload: Bytes) {
        if self.blocked {
            self.held_pong = Some(Box::new(payload));
        } else {
            self.frame(Opcode::Pong, false, &payload);
        }
    }

    /// Queues the close frame, which must be the last one (RFC 6455 §5.5.1), so a pong that is
    /// held back is dropped. 1005 is sent as an empty frame, another code that must not be sent
    /// becomes 1011, and the reason is cut to 123 bytes.
    pub(crate) fn close(&mut self, frame: CloseFrame) {
        let mut body = Vec::new();
        if frame.code.is_sendable() {
            body.extend_from_slice(&frame.code.as_u16().to_be_bytes());
            body.extend_from_slice(frame.reason.as_bytes());
        }
        self.frame(Opcode::Close, false, &Bytes::from(body));
        self.held_pong = None;
    }

    /// How many bytes are queued and not taken yet.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether there is nothing to take, not even a pong that is held back.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.held_pong.is_none()
    }

    /// Sets whether the transport is blocked; see [`pong`](Self::pong).
    pub(crate) fn set_blocked(&mut self, blocked: bool) {
        self.blocked = blocked;
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Takes everything that is queued.
    pub(crate) fn take(&mut self) -> FrameQueue {
        if let Some(payload) = self.held_pong.take() {
            self.frame(Opcode::Pong, false, &payload);
        }
        self.last_taken = self.queue.copied();
        mem::take(&mut self.queue)
    }

    #[inline]
    fn frame(&mut self, opcode: Opcode, rsv1: bool, payload: &Bytes) {
        match self.role {
            Role::Server => {
                let header = Encoded::new(opcode, rsv1, payload.len(), None);
                if payload.len() <= FrameQueue::COPY_UP_TO {
                    self.make_room();
                    self.queue.copy(header.as_slice(), payload);
                } else {
                    self.queue.share(header.as_slice(), payload);
                }
            }
            Role::Client => self.masked_frame(opcode, rsv1, payload),
        }
    }

    #[inline]
    fn make_room(&mut self) {
        // While the transport is blocked, frames wait in the queue, so it should not have more
        // room than they need.
        if !self.blocked {
            self.queue.make_room(self.last_taken);
        }
    }

    #[inline(never)]
    fn masked_frame(&mut self, opcode: Opcode, rsv1: bool, payload: &Bytes) {
        self.make_room();
        self.queue.write(|out| {
            let mut mask = Mask::new(rand::random());
            let header = Encoded::new(opcode, rsv1, payload.len(), Some(mask));
            out.extend_from_slice(header.as_slice());
            let start = out.len();
            out.extend_from_slice(payload);
            mask.apply(out.get_mut(start..).unwrap_or_default());
        });
    }
}

/// Encoded frames on their way to the peer, in order.
///
/// Small payloads are copied behind one another, so that one write sends many frames. Large
/// payloads are shared instead of copied.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use std::io::{IoSlice, Write};
///
/// use axeom_ws::protocol::{Outbound, Role};
///
/// let mut outbound = Outbound::new(Role::Server);
/// outbound.message("hello");
/// let mut frames = outbound.take();
///
/// let mut wire = Vec::new();
/// while !frames.is_empty() {
///     let mut slices = [IoSlice::new(&[]); 16];
///     let count = frames.slices(&mut slices);
///     let written = wire.write_vectored(&slices[..count])?;
///     frames.advance(written);
/// }
/// assert_eq!(wire, b"\x81\x05hello");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct FrameQueue {
    /// The front of the queue: shared payloads, whose owners may be the program's own types, and the
    /// copied bytes between them.
    #[expect(clippy::box_collection, reason = "every connection has a queue, and few have any")]
    chunks: Option<Box<VecDeque<Contained<Bytes>>>>,
    /// The back of the queue: copied bytes. `tail[..start]` was taken already.
    tail: Vec<u8>,
    start: usize,
    len: usize,
}

/// A thread keeps a buffer of up to this many bytes for its next queue.
const SPARE: usize = 16 * 1024;

thread_local! {
    static SPARE_TAIL: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl FrameQueue {
    /// Payloads of up to this many bytes are copied, because a copy costs less than one more
    /// slice in the write.
    pub(super) const COPY_UP_TO: usize = 2 * 1024;

    /// How many bytes are in the queue.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets `slices` to the front of the queue, for a vectored write, and returns how many of
    /// them were set.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = self.chunks().map(|chunk| &chunk[..]).chain([self.untaken_tail()]);
        let pieces = pieces.filter(|piece| !piece.is_empty());
        slices.iter_mut().zip(pieces).map(|(slot, piece)| *slot = IoSlice::new(piece)).count()
    }

    /// The whole queue if it is a single slice.
    pub(crate) fn as_slice(&self) -> Option<&[u8]> {
        if self.chunks.is_some() { None } else { self.tail.get(self.start..) }
    }

    /// Removes `n` bytes from the front, or all if there are fewer.
    #[inline]
    pub fn advance(&mut self, n: usize) {
        match self.len.checked_sub(n) {
            Some(left @ 1..) => self.advance_within(n, left),
            _ => self.clear(),
        }
    }

    /// Removes `n` bytes from the front, which leaves this many. Nearly always, a write takes all.
    #[inline(never)]
    fn advance_within(&mut self, mut n: usize, left: usize) {
        self.len = left;
        if let Some(chunks) = &mut self.chunks {
            while let Some(chunk) = chunks.front_mut() {
                let Some(rest) = n.checked_sub(chunk.len()) else {
                    chunk.advance(n);
                    return;
                };
                n = rest;
                chunks.pop_front();
            }
            self.chunks = None;
        }
        self.start = self.start.saturating_add(n);
    }

    fn clear(&mut self) {
        self.chunks = None;
        self.tail.clear();
        self.start = 0;
        self.len = 0;
    }

    /// A copy of everything in the queue.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len);
        for chunk in self.chunks() {
            all.extend_from_slice(chunk);
        }
        all.extend_from_slice(self.untaken_tail());
        all
    }

    /// Frees unused memory, because this queue will wait for a while.
    pub(crate) fn shrink(&mut self) {
        self.tail.shrink_to_fit();
    }

    /// How many bytes at the back of the queue were copied.
    pub(super) fn copied(&self) -> u32 {
        u32::try_from(self.tail.len()).unwrap_or(u32::MAX)
    }

    /// Prepares an empty queue for `usual` bytes, with the thread's spare buffer if there is one.
    /// This is not for a queue that will wait, which should occupy no spare memory.
    #[inline]
    pub(super) fn make_room(&mut self, usual: u32) {
        if self.tail.capacity() == 0 {
            self.take_buffer(usual);
        }
    }

    #[inline(never)]
    fn take_buffer(&mut self, usual: u32) {
        self.tail = SPARE_TAIL.try_with(Cell::take).unwrap_or_default();
        self.tail.reserve_exact(SPARE.min(usual as usize));
    }

    /// Appends the bytes that `write` appends to the buffer.
    pub(super) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.tail.len();
        write(&mut self.tail);
        self.count(self.tail.len().saturating_sub(before));
    }

    /// Appends a copy of a header and a payload.
    #[inline]
    pub(super) fn copy(&mut self, header: &[u8], payload: &Bytes) {
        let size = header.len().saturating_add(payload.len());
        self.tail.reserve(size);
        match header {
            // Nearly all headers have this length, which the compiler turns into two stores.
            [a, b] => self.tail.extend_from_slice(&[*a, *b]),
            longer => self.tail.extend_from_slice(longer),
        }
        self.tail.extend_from_slice(payload);
        self.count(size);
    }

    /// Appends a copy of a header, and a shared payload.
    pub(super) fn share(&mut self, header: &[u8], payload: &Bytes) {
        let sealed = if self.start == self.tail.len() {
            Bytes::copy_from_slice(header)
        } else {
            self.tail.extend_from_slice(header);
            // A short tail is copied, so that its buffer can be used again.
            let sealed = if self.tail.len() <= Self::COPY_UP_TO {
                let copy = Bytes::copy_from_slice(self.untaken_tail());
                self.tail.clear();
                copy
            } else {
                Bytes::from(mem::take(&mut self.tail)).split_off(self.start)
            };
            self.start = 0;
            sealed
        };
        let chunks = self.chunks.get_or_insert_default();
        chunks.push_back(Contained::new(sealed));
        chunks.push_back(Contained::new(payload.clone()));
        self.count(header.len().saturating_add(payload.len()));
    }

    fn count(&mut self, more: usize) {
        self.len = self.len.saturating_add(more);
    }

    #[inline]
    fn untaken_tail(&self) -> &[u8] {
        self.tail.get(self.start..).unwrap_or_default()
    }

    fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        self.chunks.iter().flat_map(|chunks| chunks.iter()).map(|chunk| &**chunk)
    }
}

impl Drop for FrameQueue {
    fn drop(&mut self) {
        if (1..=SPARE).contains(&self.tail.capacity()) {
            let mut tail = mem::take(&mut self.tail);
            tail.clear();
            // If the thread is ending, it has no next queue.
            let _ = SPARE_TAIL.try_with(|spare| spare.set(tail));
        }
    }
}
