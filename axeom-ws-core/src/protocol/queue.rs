use std::{collections::VecDeque, io::IoSlice, mem};

use bytes::{Buf, Bytes};

/// Encoded frames on their way to the peer, in order.
///
/// Small pieces are copied behind one another, so that many frames leave in one
/// write; large payloads stay where they are and are shared.
#[derive(Debug, Default)]
pub struct FrameQueue {
    /// What goes first: shared payloads, and the copied bytes between them.
    chunks: VecDeque<Bytes>,
    /// What goes last: copied bytes. `tail[..start]` was taken already.
    tail: Vec<u8>,
    start: usize,
    len: usize,
}

/// A payload of up to this many bytes is copied rather than shared: below it, a
/// copy costs less than one more slice in the write.
const COPY_UP_TO: usize = 2 * 1024;

impl FrameQueue {
    /// Bytes in the queue.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The front of the queue as slices for a vectored write; returns how many of
    /// `slices` were set.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = self.chunks.iter().map(|chunk| &chunk[..]).chain([&self.tail[self.start..]]);
        let mut count = 0;
        for (slot, piece) in slices.iter_mut().zip(pieces.filter(|piece| !piece.is_empty())) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    /// Takes `n` bytes off the front; all of them, if there are not that many.
    pub fn advance(&mut self, n: usize) {
        let mut n = n.min(self.len);
        self.len -= n;
        while let Some(chunk) = self.chunks.front_mut() {
            if n < chunk.len() {
                chunk.advance(n);
                return;
            }
            n -= chunk.len();
            self.chunks.pop_front();
        }
        self.start += n;
        if self.start == self.tail.len() {
            self.tail.clear();
            self.start = 0;
        }
    }

    /// A copy of everything in the queue.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len);
        for chunk in &self.chunks {
            all.extend_from_slice(chunk);
        }
        all.extend_from_slice(&self.tail[self.start..]);
        all
    }

    /// Appends bytes that `write` puts at the end of a buffer.
    pub(super) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.tail.len();
        write(&mut self.tail);
        self.len += self.tail.len() - before;
    }

    /// Appends a payload, copied or shared by its size.
    pub(super) fn push(&mut self, payload: &Bytes) {
        if payload.len() <= COPY_UP_TO {
            self.write(|tail| tail.extend_from_slice(payload));
            return;
        }
        if self.start < self.tail.len() {
            let mut sealed = Bytes::from(mem::take(&mut self.tail));
            sealed.advance(mem::take(&mut self.start));
            self.chunks.push_back(sealed);
        }
        self.chunks.push_back(payload.clone());
        self.len += payload.len();
    }
}
