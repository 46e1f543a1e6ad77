use std::cell::Cell;

/// Bytes one read may bring, and the size of a thread's scratch buffer.
pub(super) const READ_SIZE: usize = 64 * 1024;

thread_local! {
    /// The buffer that connections on this thread read into, one at a time: while a
    /// connection waits, it holds only what it could not use yet.
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Received bytes that are not parsed yet.
#[derive(Debug, Default)]
pub(super) struct Input {
    buf: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Input {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self { buf: bytes.into(), start: 0, end: bytes.len() }
    }

    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.buf[self.start..self.end]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
    }

    /// Room for a read, behind what is left; never empty.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.buf.len() < READ_SIZE {
            let mut scratch = SCRATCH.try_with(Cell::take).ok().flatten().unwrap_or_default();
            if scratch.is_empty() {
                scratch = vec![0; READ_SIZE].into();
            }
            let left = self.end - self.start;
            scratch[..left].copy_from_slice(&self.buf[self.start..self.end]);
            *self = Self { buf: scratch, start: 0, end: left };
        } else if self.start > 0 {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buf.len() {
            // What a parser leaves is a header or a control frame at most, so this does
            // not happen; but an empty read would be taken for the end of the stream.
            let mut larger = vec![0; 2 * self.buf.len()];
            larger[..self.end].copy_from_slice(&self.buf);
            self.buf = larger.into();
        }
        &mut self.buf[self.end..]
    }

    /// The first `n` bytes of the room were read.
    pub(super) fn filled(&mut self, n: usize) {
        self.end = (self.end + n).min(self.buf.len());
    }

    /// Gives the thread's buffer back; what is left moves into one of its own size.
    pub(super) fn park(&mut self) {
        if self.buf.len() < READ_SIZE {
            if self.is_empty() {
                *self = Self::default();
            }
            return;
        }
        let left = Self::new(&self.buf[self.start..self.end]);
        let scratch = std::mem::replace(self, left).buf;
        // On a thread that is ending there is no next reader.
        let _ = SCRATCH.try_with(|slot| slot.set(Some(scratch)));
    }
}
