/// What a frame says it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Opcode {
    Text = 0x1,
    Binary = 0x2,
    CompressedText = 0x41,
    Close = 0x8,
}

/// The frames that a client sends, made once, and what it expects back.
#[derive(Debug)]
pub(crate) struct Frames {
    /// So many frames, then the same again: from any place in the first half, that many
    /// frames lie ahead in one piece.
    bytes: Vec<u8>,
    turn: usize,
    /// Length of a frame.
    pub(crate) len: usize,
    /// The answer to a frame.
    pub(crate) answer: Vec<u8>,
}

impl Frames {
    /// As many frames as may be sent at once, each masked with its own key.
    pub(crate) fn new(count: usize, opcode: Opcode, payload: &[u8]) -> Self {
        let mut bytes = Vec::new();
        for n in 0..count {
            let key = (0x37fa_213d_u32.wrapping_mul(2 * n as u32 + 1)).to_be_bytes();
            encode(&mut bytes, opcode, payload, Some(key));
        }
        let turn = bytes.len();
        bytes.extend_from_within(..);
        let mut answer = Vec::new();
        encode(&mut answer, opcode, payload, None);
        Self { bytes, turn, len: turn / count, answer }
    }

    /// For a server that sends back the bytes it got.
    pub(crate) fn answered_with_itself(mut self) -> Self {
        self.answer = self.bytes[..self.len].to_vec();
        self
    }

    /// The next bytes to send after `at` were, no more than `len`.
    pub(crate) fn next(&self, at: usize, len: usize) -> &[u8] {
        &self.bytes[at..][..len.min(self.turn)]
    }

    /// Where `at` is after `len` more bytes.
    pub(crate) fn advance(&self, at: usize, len: usize) -> usize {
        (at + len) % self.turn
    }
}

/// Appends a frame.
pub(crate) fn encode(to: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    to.push(0x80 | opcode as u8);
    match payload.len() {
        len @ ..=125 => to.push(masked | len as u8),
        len @ ..=0xffff => {
            to.push(masked | 126);
            to.extend((len as u16).to_be_bytes());
        }
        len => {
            to.push(masked | 127);
            to.extend((len as u64).to_be_bytes());
        }
    }
    match mask {
        None => to.extend(payload),
        Some(key) => {
            to.extend(key);
            to.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        }
    }
}

/// The lengths of header and payload of an unmasked frame below 64 KiB, once its header is
/// there.
pub(super) fn header_len(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes {
        [_, len @ ..=125, ..] => Some((2, len.into())),
        [_, 126, high, low, ..] => Some((4, u16::from_be_bytes([high, low]).into())),
        _ => None,
    }
}
