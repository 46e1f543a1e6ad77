use thiserror::Error;

use crate::{close::CloseCode, utf8::InvalidUtf8};

/// How the peer broke the protocol; each has the close code it is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// A reserved bit is set and no extension was negotiated (§5.2).
    #[error("a reserved bit is set, but no extension that defines it was negotiated")]
    ReservedBits,
    /// The opcode has no meaning (§5.2).
    #[error("opcode {opcode:#x} is reserved")]
    ReservedOpcode {
        /// The opcode.
        opcode: u8,
    },
    /// A client must mask every frame (§5.1).
    #[error("a client's frames must be masked")]
    Unmasked,
    /// A server must not mask (§5.1).
    #[error("a server's frames must not be masked")]
    Masked,
    /// A control frame in fragments (§5.5).
    #[error("a control frame must not be fragmented")]
    FragmentedControl,
    /// A control frame over 125 bytes (§5.5).
    #[error("a control frame of {length} bytes; the most is 125")]
    ControlTooLong {
        /// The announced length in bytes.
        length: u64,
    },
    /// The length has its top bit set, or is not in its shortest form (§5.2).
    #[error("the frame length is not in its shortest form")]
    BadLength,
    /// A continuation frame, but no message is open (§5.4).
    #[error("a continuation frame, but there is no message to continue")]
    UnexpectedContinuation,
    /// A new message inside an unfinished one (§5.4).
    #[error("a new message began before the last one was finished")]
    UnfinishedMessage,
    /// A close frame with a body of one byte (§5.5.1).
    #[error("a close frame with a body of one byte")]
    TruncatedCloseCode,
    /// A close code that must not be sent (§7.4).
    #[error("close code {code} must not be sent")]
    BadCloseCode {
        /// The code.
        code: CloseCode,
    },
    /// A compressed message that does not decompress (RFC 7692 §7.2.2).
    #[error("a compressed message that is corrupt or cut")]
    BadDeflate,
    /// Text, or a close reason, that is not UTF-8 (§8.1).
    #[error("text that is not UTF-8")]
    InvalidUtf8,
    /// The message is larger than the limit.
    #[error("a message of more than {limit} bytes")]
    MessageTooBig {
        /// The limit in bytes.
        limit: usize,
    },
    /// The message has more fragments than the limit.
    #[error("a message of more than {limit} fragments")]
    TooManyFragments {
        /// The limit.
        limit: u32,
    },
}

impl Violation {
    /// The code the connection is closed with.
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
