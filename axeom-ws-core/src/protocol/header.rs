use std::io::Cursor;

use async_tungstenite::tungstenite::{
    self,
    protocol::frame::{
        FrameHeader,
        coding::{Control, Data, OpCode},
    },
};

use super::{Role, mask::Mask, violation::Violation};

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

    fn to_wire(self) -> OpCode {
        match self {
            Opcode::Continuation => OpCode::Data(Data::Continue),
            Opcode::Text => OpCode::Data(Data::Text),
            Opcode::Binary => OpCode::Data(Data::Binary),
            Opcode::Close => OpCode::Control(Control::Close),
            Opcode::Ping => OpCode::Control(Control::Ping),
            Opcode::Pong => OpCode::Control(Control::Pong),
        }
    }

    fn from_wire(code: OpCode) -> Result<Self, Violation> {
        match code {
            OpCode::Data(Data::Continue) => Ok(Opcode::Continuation),
            OpCode::Data(Data::Text) => Ok(Opcode::Text),
            OpCode::Data(Data::Binary) => Ok(Opcode::Binary),
            OpCode::Control(Control::Close) => Ok(Opcode::Close),
            OpCode::Control(Control::Ping) => Ok(Opcode::Ping),
            OpCode::Control(Control::Pong) => Ok(Opcode::Pong),
            OpCode::Data(Data::Reserved(code)) | OpCode::Control(Control::Reserved(code)) => {
                Err(Violation::ReservedOpcode { opcode: code })
            }
        }
    }
}

/// A received frame header, valid in itself.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) fin: bool,
    /// The message is compressed (RFC 7692 §6).
    pub(super) rsv1: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: Mask,
    /// Length of the payload, in bytes.
    pub(super) length: u64,
    /// Length of the header itself, in bytes.
    pub(super) size: usize,
}

impl Header {
    /// Reads the header at the start of `input`; `None` if it is not all there yet. With
    /// `deflate`, RSV1 has a meaning on data frames.
    pub(super) fn parse(
        input: &[u8],
        receiver: Role,
        deflate: bool,
    ) -> Result<Option<Self>, Violation> {
        let mut cursor = Cursor::new(input);
        let (header, length) = match FrameHeader::parse(&mut cursor) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Ok(None),
            Err(tungstenite::Error::Protocol(
                tungstenite::error::ProtocolError::InvalidOpcode(opcode),
            )) => return Err(Violation::ReservedOpcode { opcode }),
            // Reading from memory has no other way to fail.
            Err(_) => return Ok(None),
        };
        let size = cursor.position() as usize;

        let opcode = Opcode::from_wire(header.opcode)?;
        let rsv1_has_meaning = deflate && matches!(opcode, Opcode::Text | Opcode::Binary);
        if (header.rsv1 && !rsv1_has_meaning) || header.rsv2 || header.rsv3 {
            return Err(Violation::ReservedBits);
        }
        if opcode.is_control() {
            if !header.is_final {
                return Err(Violation::FragmentedControl);
            }
            if length > MAX_CONTROL {
                return Err(Violation::ControlTooLong { length });
            }
        }
        if length > i64::MAX as u64 || header.len(length) != size {
            return Err(Violation::BadLength);
        }
        let mask = match (header.mask, receiver) {
            (Some(key), Role::Server) => Mask::new(key),
            (None, Role::Client) => Mask::new([0; 4]),
            (None, Role::Server) => return Err(Violation::Unmasked),
            (Some(_), Role::Client) => return Err(Violation::Masked),
        };
        let (fin, rsv1) = (header.is_final, header.rsv1);
        Ok(Some(Self { fin, rsv1, opcode, mask, length, size }))
    }
}

/// Writes the header of a whole, unfragmented message or control frame.
pub(super) fn write(
    opcode: Opcode,
    rsv1: bool,
    length: usize,
    mask: Option<Mask>,
    out: &mut Vec<u8>,
) {
    let header = FrameHeader {
        is_final: true,
        rsv1,
        opcode: opcode.to_wire(),
        mask: mask.map(Mask::key),
        ..FrameHeader::default()
    };
    let start = out.len();
    out.reserve(MAX_HEADER);
    if header.format(length as u64, out).is_err() {
        // Writing to memory does not fail; if it ever did, half a header must not stay.
        out.truncate(start);
    }
}
