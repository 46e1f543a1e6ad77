use std::{
    cell::Cell,
    io,
    task::{Context, Poll},
};

use crate::runtime::BoxTransport;

/// The most bytes that one read into a fresh buffer may bring, and so the size of a thread's
/// scratch buffer.
pub(super) const READ_SIZE: usize = 64 * 1024;

/// From this many bytes on, what is left over stays in its buffer and more is read behind it.
/// Otherwise a request head that arrives byte by byte would be copied twice for each byte.
const TOO_MUCH_TO_MOVE: usize = 1024;

thread_local! {
    /// The buffer that connections on this thread read into, one at a time. While a
    /// connection waits, it keeps only the bytes that it could not parse yet.
    static SCRATCH: Cell<Option<Box<Buffer>>> = const { Cell::new(None) };
}

/// Received bytes that are not parsed yet.
#[derive(Debug, Default)]
pub(crate) struct Input(Option<Box<Buffer>>);

/// Only `bytes[start..end]` is in use.
#[derive(Debug)]
struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Input {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(Buffer::of(bytes))
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        self.0.as_mut().map_or(&mut [], |buffer| &mut buffer.bytes[buffer.start..buffer.end])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|buffer| buffer.start == buffer.end)
    }

    pub(crate) fn consume(&mut self, n: usize) {
        if let Some(buffer) = &mut self.0 {
            buffer.start += n.min(buffer.end - buffer.start);
        }
    }

    /// The room for a read, behind what is left over. It is never empty.
    fn room(&mut self) -> &mut [u8] {
        let buffer = match self.0.take() {
            Some(buffer)
                if buffer.bytes.len() >= READ_SIZE
                    || buffer.end - buffer.start >= TOO_MUCH_TO_MOVE =>
            {
                buffer
            }
            left => {
                let mut scratch = scratch();
                scratch
                    .restart(left.as_ref().map_or(&[], |left| &left.bytes[left.start..left.end]));
                scratch
            }
        };
        let buffer = self.0.insert(buffer);
        if buffer.start > 0 {
            buffer.bytes.copy_within(buffer.start..buffer.end, 0);
            buffer.end -= buffer.start;
            buffer.start = 0;
        }
        if buffer.end == buffer.bytes.len() {
            let mut larger = vec![0; 2 * buffer.bytes.len()];
            larger[..buffer.end].copy_from_slice(&buffer.bytes);
            buffer.bytes = larger.into();
        }
        &mut buffer.bytes[buffer.end..]
    }

    /// Notes that a read filled the first `n` bytes of the room.
    fn filled(&mut self, n: usize) {
        if let Some(buffer) = &mut self.0 {
            buffer.end = (buffer.end + n).min(buffer.bytes.len());
        }
    }

    /// Reads once, to behind what is left over. If the read is pending, the thread's buffer is
    /// given back.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        transport: &mut BoxTransport,
    ) -> Poll<io::Result<usize>> {
        let read = transport.poll_read(cx, self.room());
        match read {
            Poll::Ready(Ok(n)) => self.filled(n),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.park(),
        }
        read
    }

    /// Gives the thread's buffer back, and moves what is left over into a buffer of that size.
    pub(crate) fn park(&mut self) {
        let Some(buffer) = self.0.take() else { return };
        if buffer.bytes.len() >= READ_SIZE {
            self.0 = Buffer::of(&buffer.bytes[buffer.start..buffer.end]);
            give_back(buffer);
        } else if buffer.start < buffer.end {
            self.0 = Some(buffer);
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(buffer) = self.0.take().filter(|buffer| buffer.bytes.len() >= READ_SIZE) {
            give_back(buffer);
        }
    }
}

impl Buffer {
    /// A buffer of exactly these bytes, or `None` if there are none.
    fn of(bytes: &[u8]) -> Option<Box<Self>> {
        let whole = || Self { bytes: bytes.into(), start: 0, end: bytes.len() };
        (!bytes.is_empty()).then(|| Box::new(whole()))
    }

    fn restart(&mut self, with: &[u8]) {
        self.bytes[..with.len()].copy_from_slice(with);
        (self.start, self.end) = (0, with.len());
    }
}

/// The thread's buffer, or a new one if it is in use.
fn scratch() -> Box<Buffer> {
    let scratch = SCRATCH.try_with(Cell::take).ok().flatten();
    scratch
        .unwrap_or_else(|| Box::new(Buffer { bytes: vec![0; READ_SIZE].into(), start: 0, end: 0 }))
}

fn give_back(buffer: Box<Buffer>) {
    // If the thread is ending, nothing will read on it again.
    let _ = SCRATCH.try_with(|slot| slot.set(Some(buffer)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_input_of_a_thread_has_the_buffer_of_the_last() {
        // A new buffer would hold zeros, even at the same address.
        let mut last = Input::default();
        last.room()[10] = 42;
        last.filled(1);
        drop(last);
        let mut next = Input::new(b"left");
        assert_eq!(next.room()[10 - 4], 42);
        assert_eq!(next.bytes(), b"left");
        next.park();
        assert_eq!(next.bytes(), b"left");
        assert_eq!(Input::default().room()[10], 42);
    }

    #[test]
    fn what_comes_byte_by_byte_is_moved_seldom() {
        let mut input = Input::default();
        let mut sizes = std::collections::BTreeSet::new();
        for n in 0..16 * 1024 {
            input.room()[0] = n as u8;
            input.filled(1);
            input.park();
            sizes.insert(input.0.as_ref().unwrap().bytes.len());
        }
        assert_eq!(input.bytes().len(), 16 * 1024);
        assert!(input.bytes().iter().enumerate().all(|(n, byte)| *byte == n as u8));
        assert!(sizes.len() < 1024 + 10, "{} buffers", sizes.len());
        assert!(sizes.into_iter().all(|size| size <= 2 * 16 * 1024));
    }
}
