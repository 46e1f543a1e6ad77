use crate::frame;

/// More takes too long to run.
const MOST_WIRE: usize = 128 * 1024;

/// Takes what a target needs from the front of a fuzzer's bytes. There is always something to
/// take: past the end, it is zeros and nothing.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(crate) fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Up to 255 bytes, of which the first byte says how many.
    pub(crate) fn piece(&mut self) -> &'a [u8] {
        let len = self.byte().into();
        self.take(len)
    }

    /// A number of bytes: up to 127, or a multiple of 500 up to 64 000.
    pub(crate) fn size(&mut self) -> usize {
        match self.byte() {
            small @ 0..=127 => small.into(),
            large => usize::from(large - 127) * 500,
        }
    }

    /// Up to seven places at which to cut something.
    pub(crate) fn cuts(&mut self) -> Vec<usize> {
        let count = self.byte() % 8;
        (0..count).map(|_| u16::from_be_bytes([self.byte(), self.byte()]).into()).collect()
    }

    /// The next frame, encoded: its first byte, and its payload, which is a piece or, to be longer
    /// than the input, one byte many times over.
    pub(crate) fn frame(&mut self, mask: Option<[u8; 4]>) -> Vec<u8> {
        const LONG: [usize; 8] = [126, 127, 1000, 1001, 2049, 65_535, 65_536, 140_000];
        let first = self.byte();
        match self.byte() {
            long @ 0xf8.. => {
                let payload = vec![self.byte(); LONG[usize::from(0xff - long)]];
                frame::encode(first, &payload, mask)
            }
            len => frame::encode(first, self.take(len.into()), mask),
        }
    }

    /// Bytes of a connection: frames, or, if the fuzzer wants, whatever is left as it is.
    pub(crate) fn wire(&mut self, mask: Option<[u8; 4]>) -> Vec<u8> {
        if self.byte() & 1 == 1 {
            return self.rest().to_vec();
        }
        let mut wire = Vec::new();
        while !self.is_empty() && wire.len() < MOST_WIRE {
            wire.extend(self.frame(mask));
        }
        wire
    }
}
