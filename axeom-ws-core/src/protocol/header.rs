use super::{Role, mask::Mask};
use crate::violation::Violation;

/// The longest frame header (RFC 6455 §5.2), in bytes.
const MAX_HEADER: usize = 14;
/// The longest payload of a control frame (RFC 6455 §5.5), in bytes.
pub(super) const MAX_CONTROL: u64 = 125;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }

    fn to_wire(self) -> u8 {
        match self {
            Opcode::Continuation => 0x0,
            Opcode::Text => 0x1,
            Opcode::Binary => 0x2,
            Opcode::Close => 0x8,
            Opcode::Ping => 0x9,
            Opcode::Pong => 0xa,
        }
    }

    fn from_wire(opcode: u8) -> Result<Self, Violation> {
        match opcode {
            0x0 => Ok(Opcode::Continuation),
            0x1 => Ok(Opcode::Text),
            0x2 => Ok(Opcode::Binary),
            0x8 => Ok(Opcode::Close),
            0x9 => Ok(Opcode::Ping),
            0xa => Ok(Opcode::Pong),
            _ => Err(Violation::ReservedOpcode { opcode }),
        }
    }
}

// The bits of the first two bytes (RFC 6455 §5.2).
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_AND_3: u8 = 0x30;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

// The values of the 7-bit length which mean that the length follows in 16 or 64 bits.
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// A received frame header that is valid by itself.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) fin: bool,
    /// Whether the message is compressed (RFC 7692 §6).
    pub(super) rsv1: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: Mask,
    /// The length of the payload in bytes.
    pub(super) length: u64,
    /// The length of the header in bytes.
    pub(super) size: usize,
}

/// The header of a masked, unfragmented, uncompressed message of up to 65 535 bytes. Nearly all
/// frames are of this kind.
pub(super) struct Plain {
    pub(super) text: bool,
    pub(super) mask: Mask,
    pub(super) length: usize,
    pub(super) size: usize,
}

impl Plain {
    /// Reads the header at the start of `input`. `None` if it is of another kind or incomplete.
    #[inline]
    pub(super) fn parse(input: &[u8]) -> Option<Self> {
        const MASKED_16: u8 = MASKED | LENGTH_16;
        const TEXT: u8 = FIN | 0x1;
        const BINARY: u8 = FIN | 0x2;
        let (&[first, second], rest) = input.split_first_chunk()?;
        let text = match first {
            TEXT => true,
            BINARY => false,
            _ => return None,
        };
        let (length, key, size) = match second {
            MASKED..MASKED_16 => (usize::from(second & LENGTH), rest.first_chunk()?, 6),
            MASKED_16 => {
                let (length, rest) = rest.split_first_chunk()?;
                let length = usize::from(u16::from_be_bytes(*length));
                if length < usize::from(LENGTH_16) {
                    return None;
                }
                (length, rest.first_chunk()?, 8)
            }
            _ => return None,
        };
        Some(Self { text, mask: Mask::new(*key), length, size })
    }
}

impl Header {
    /// Reads the header at the start of `input`. `None` if it is incomplete. With `deflate`, RSV1
    /// is allowed on the first frame of a message.
    pub(super) fn parse(
        input: &[u8],
        receiver: Role,
        deflate: bool,
    ) -> Result<Option<Self>, Violation> {
        let Some((&[first, second], rest)) = input.split_first_chunk() else {
            return Ok(None);
        };
        let opcode = Opcode::from_wire(first & OPCODE)?;
        let (fin, rsv1) = (first & FIN != 0, first & RSV1 != 0);
        let rsv1_has_meaning = deflate && matches!(opcode, Opcode::Text | Opcode::Binary);
        if (rsv1 && !rsv1_has_meaning) || first & RSV2_AND_3 != 0 {
            return Err(Violation::ReservedBits);
        }
        if opcode.is_control() && !fin {
            return Err(Violation::FragmentedControl);
        }
        let masked = second & MASKED != 0;
        match (masked, receiver) {
            (false, Role::Server) => return Err(Violation::Unmasked),
            (true, Role::Client) => return Err(Violation::Masked),
            _ => {}
        }
        let (length, rest, least) = match second & LENGTH {
            LENGTH_16 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(*length)), rest, u64::from(LENGTH_16))
            }
            LENGTH_64 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*length), rest, 1 << 16)
            }
            length => (u64::from(length), rest, 0),
        };
        let (key, rest) = if masked {
            let Some((key, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (*key, rest)
        } else {
            ([0; 4], rest)
        };

        if opcode.is_control() && length > MAX_CONTROL {
            return Err(Violation::ControlTooLong { length });
        }
        if length > i64::MAX as u64 || length < least {
            return Err(Violation::BadLength);
        }
        let size = input.len().saturating_sub(rest.len());
        Ok(Some(Self { fin, rsv1, opcode, mask: Mask::new(key), length, size }))
    }
}

/// The encoded header of an unfragmented message or of a control frame.
pub(super) struct Encoded {
    bytes: [u8; MAX_HEADER],
    size: usize,
}

impl Encoded {
    #[inline]
    pub(super) fn new(opcode: Opcode, rsv1: bool, length: usize, mask: Option<Mask>) -> Self {
        let mut bytes = [0; MAX_HEADER];
        bytes[0] = FIN | opcode.to_wire() | if rsv1 { RSV1 } else { 0 };
        let masked = if mask.is_some() { MASKED } else { 0 };
        let mut size = 2;
        match length {
            0..=125 => bytes[1] = masked | length as u8,
            126..=0xffff => {
                bytes[1] = masked | LENGTH_16;
                bytes[2..4].copy_from_slice(&(length as u16).to_be_bytes());
                size = 4;
            }
            _ => {
                bytes[1] = masked | LENGTH_64;
                bytes[2..10].copy_from_slice(&(length as u64).to_be_bytes());
                size = 10;
            }
        }
        let after = bytes.get_mut(size..).and_then(<[u8]>::first_chunk_mut);
        if let (Some(mask), Some(after)) = (mask, after) {
            *after = mask.key();
            size = size.saturating_add(after.len());
        }
        Self { bytes, size }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.size).unwrap_or(&self.bytes)
    }
}
