use std::{cell::Cell, collections::VecDeque, io::IoSlice, mem};

use bytes::{Buf, Bytes};

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
    /// The front of the queue: shared payloads and the copied bytes between them.
    #[expect(clippy::box_collection, reason = "every connection has a queue, and few have any")]
    chunks: Option<Box<VecDeque<Bytes>>>,
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
        let pieces = self.chunks().map(|chunk| &chunk[..]).chain([&self.tail[self.start..]]);
        let mut count = 0;
        for (slot, piece) in slices.iter_mut().zip(pieces.filter(|piece| !piece.is_empty())) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    /// The whole queue if it is a single slice.
    pub(crate) fn as_slice(&self) -> Option<&[u8]> {
        self.chunks.is_none().then(|| &self.tail[self.start..])
    }

    /// Removes `n` bytes from the front, or all if there are fewer.
    pub fn advance(&mut self, n: usize) {
        let mut n = n.min(self.len);
        self.len -= n;
        if let Some(chunks) = &mut self.chunks {
            while let Some(chunk) = chunks.front_mut() {
                if n < chunk.len() {
                    chunk.advance(n);
                    return;
                }
                n -= chunk.len();
                chunks.pop_front();
            }
            self.chunks = None;
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
        for chunk in self.chunks() {
            all.extend_from_slice(chunk);
        }
        all.extend_from_slice(&self.tail[self.start..]);
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
        self.len += self.tail.len() - before;
    }

    /// Appends a copy of a header and a payload.
    #[inline]
    pub(super) fn copy(&mut self, header: &[u8], payload: &Bytes) {
        self.tail.reserve(header.len() + payload.len());
        match header {
            // Nearly all headers have this length, which the compiler turns into two stores.
            [a, b] => self.tail.extend_from_slice(&[*a, *b]),
            longer => self.tail.extend_from_slice(longer),
        }
        self.tail.extend_from_slice(payload);
        self.len += header.len() + payload.len();
    }

    /// Appends a copy of a header, and a shared payload.
    pub(super) fn share(&mut self, header: &[u8], payload: &Bytes) {
        let chunks = self.chunks.get_or_insert_default();
        self.len += header.len();
        if self.start == self.tail.len() {
            chunks.push_back(Bytes::copy_from_slice(header));
        } else {
            self.tail.extend_from_slice(header);
            // A short tail is copied, so that its buffer can be used again.
            let sealed = if self.tail.len() <= Self::COPY_UP_TO {
                let copy = Bytes::copy_from_slice(&self.tail[self.start..]);
                self.tail.clear();
                copy
            } else {
                Bytes::from(mem::take(&mut self.tail)).split_off(self.start)
            };
            self.start = 0;
            chunks.push_back(sealed);
        }
        chunks.push_back(payload.clone());
        self.len += payload.len();
    }

    fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        self.chunks.iter().flat_map(|chunks| chunks.iter())
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
