//! Frames as bytes, coded apart from both engines that are tested against each other.

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

pub const FIN: u8 = 0x80;
pub const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A whole masked frame, as a client sends it.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    encode(FIN | opcode, payload, Some(MASK))
}

/// A masked frame that does not end its message.
pub fn fragment(opcode: u8, payload: &[u8]) -> Vec<u8> {
    encode(opcode, payload, Some(MASK))
}

pub fn close(code: u16) -> Vec<u8> {
    masked(CLOSE, &code.to_be_bytes())
}

/// Any frame: its first byte, payload and mask.
pub fn encode(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut frame = header(first, payload.len() as u64, mask);
    let key = mask.unwrap_or_default();
    frame.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
    frame
}

/// A header that announces `length` bytes.
pub fn header(first: u8, length: u64, mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut header = vec![first];
    match length {
        0..=125 => header.push(masked | length as u8),
        126..=0xffff => {
            header.push(masked | 126);
            header.extend((length as u16).to_be_bytes());
        }
        _ => {
            header.push(masked | 127);
            header.extend(length.to_be_bytes());
        }
    }
    header.extend(mask.into_iter().flatten());
    header
}

/// A frame from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub first: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { first: FIN | opcode, payload: payload.into() }
    }

    pub fn text(text: &str) -> Self {
        Self::new(TEXT, text)
    }

    pub fn close_code(&self) -> Option<u16> {
        let code = self.payload.first_chunk::<2>().copied().map(u16::from_be_bytes);
        code.filter(|_| self.first == FIN | CLOSE)
    }
}

/// The frame at the start of `bytes` and its size; `None` if it is not all there.
pub fn decode(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "a server must not mask");
    let (length, start) = match second {
        126 => (u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?), 10),
        short => (u64::from(short), 2),
    };
    let end = start + usize::try_from(length).unwrap();
    let payload = bytes.get(start..end)?.to_vec();
    Some((Frame { first, payload }, end))
}
