use thiserror::Error;

use crate::{close::CloseCode, utf8::InvalidUtf8};

/// How the peer broke the protocol. Section numbers without an RFC are those of RFC 6455.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{
///     CloseCode,
///     protocol::{Inbound, Limits, Role, Violation},
/// };
///
/// let mut server = Inbound::new(Role::Server, Limits::default());
/// let violation = server.receive(&mut [0x81, 0x00]).unwrap_err();
/// assert_eq!(violation, Violation::Unmasked);
/// assert_eq!(violation.close_code(), CloseCode::PROTOCOL_ERROR);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// A reserved bit is set, but no negotiated extension defines it (§5.2).
    #[error("a reserved bit is set, but no extension that defines it was negotiated")]
    ReservedBits,
    /// The opcode is reserved (§5.2).
    #[error("opcode {opcode:#x} is reserved")]
    ReservedOpcode {
        /// The opcode.
        opcode: u8,
    },
    /// A client sent a frame that is not masked (§5.1).
    #[error("a client's frames must be masked")]
    Unmasked,
    /// A server sent a masked frame (§5.1).
    #[error("a server's frames must not be masked")]
    Masked,
    /// A control frame is fragmented (§5.5).
    #[error("a control frame must not be fragmented")]
    FragmentedControl,
    /// A control frame has a payload of more than 125 bytes (§5.5).
    #[error("a control frame of {length} bytes; the most is 125")]
    ControlTooLong {
        /// The announced length in bytes.
        length: u64,
    },
    /// The length has its top bit set, or is not in its shortest form (§5.2).
    #[error("the frame length is not in its shortest form")]
    BadLength,
    /// A continuation frame arrived, but there is no message to continue (§5.4).
    #[error("a continuation frame, but there is no message to continue")]
    UnexpectedContinuation,
    /// A new message began before the last one was finished (§5.4).
    #[error("a new message began before the last one was finished")]
    UnfinishedMessage,
    /// A close frame has a body of one byte (§5.5.1).
    #[error("a close frame with a body of one byte")]
    TruncatedCloseCode,
    /// A close frame has a code that must not be sent (§7.4).
    #[error("close code {code} must not be sent")]
    BadCloseCode {
        /// The code.
        code: CloseCode,
    },
    /// A compressed message is corrupt or incomplete (RFC 7692 §7.2.2).
    #[error("a compressed message that is corrupt or cut")]
    BadDeflate,
    /// A text or a close reason is not UTF-8 (§8.1).
    #[error("text that is not UTF-8")]
    InvalidUtf8,
    /// A message is larger than [`Limits::message_size`](crate::protocol::Limits::message_size).
    #[error("a message of more than {limit} bytes")]
    MessageTooBig {
        /// The limit in bytes.
        limit: usize,
    },
    /// A message has more frames than [`Limits::fragments`](crate::protocol::Limits::fragments).
    #[error("a message of more than {limit} fragments")]
    TooManyFragments {
        /// The limit.
        limit: u32,
    },
}

impl Violation {
    /// The code with which to close the connection (RFC 6455 §7.4.1).
    pub fn close_code(&self) -> CloseCode {
        match self {
            Violation::InvalidUtf8 | Violation::BadDeflate => CloseCode::INVALID_PAYLOAD,
            Violation::MessageTooBig { .. } => CloseCode::MESSAGE_TOO_BIG,
            Violation::TooManyFragments { .. } => CloseCode::POLICY_VIOLATION,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

impl From<InvalidUtf8> for Violation {
    fn from(InvalidUtf8: InvalidUtf8) -> Self {
        Violation::InvalidUtf8
    }
}
