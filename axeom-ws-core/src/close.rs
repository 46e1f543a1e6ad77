#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

use std::fmt;

use async_tungstenite::tungstenite::protocol::frame::coding;

use crate::utf8::Utf8Bytes;

/// Why a connection ended: a status code of RFC 6455 §7.4.
///
/// Any number converts into one. [`is_sendable`](Self::is_sendable) tells whether it is allowed
/// in a close frame.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::CloseCode;
///
/// assert_eq!(CloseCode::from(1000), CloseCode::NORMAL);
/// assert_eq!(CloseCode::GOING_AWAY.to_string(), "1001");
/// assert!(!CloseCode::ABNORMAL.is_sendable());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the connection has served its purpose.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server is shutting down, or the browser has left the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: the endpoint does not accept this kind of data.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1005: the peer's close frame has no code. This code is never sent.
    pub const NO_STATUS: Self = Self(1005);
    /// 1006: the connection was lost without a closing handshake. This code is never sent.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: the data does not match its type, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: a policy was violated.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: the message is too big to process.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010: the client needs an extension that the server did not choose.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: the server met an unexpected condition.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service is restarting.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the server is overloaded; try again later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// 1014: a gateway received an invalid answer from the server behind it.
    pub const BAD_GATEWAY: Self = Self(1014);

    /// The code as a number.
    pub const fn as_u16(self) -> u16 {
        self.0
    }

    /// Whether this code is allowed in a close frame (RFC 6455 §7.4).
    pub fn is_sendable(self) -> bool {
        // It was registered after the RFC, and tungstenite does not know it.
        self == Self::BAD_GATEWAY || coding::CloseCode::from(self.0).is_allowed()
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        Self(code)
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> u16 {
        code.0
    }
}

impl PartialEq<u16> for CloseCode {
    fn eq(&self, other: &u16) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The contents of a close frame (RFC 6455 §5.5.1).
///
/// [`CloseCode::NO_STATUS`] stands for a close frame without a body, and
/// [`CloseCode::ABNORMAL`] for one that never arrived.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{CloseCode, CloseFrame};
///
/// let frame = CloseFrame::new(4000, "come back tomorrow");
/// assert_eq!((frame.code.as_u16(), &*frame.reason), (4000, "come back tomorrow"));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CloseFrame {
    /// The code.
    pub code: CloseCode,
    /// The reason, which has at most 123 bytes and is often empty.
    pub reason: Utf8Bytes,
}

/// The longest reason that fits in a close frame, in bytes (RFC 6455 §5.5).
const MAX_REASON: usize = 123;

impl CloseFrame {
    /// A close frame with this code and reason. When it is sent, a code that must not be sent
    /// becomes 1011, and the reason is cut to 123 bytes.
    pub fn new(code: impl Into<CloseCode>, reason: impl Into<Utf8Bytes>) -> Self {
        Self { code: code.into(), reason: reason.into() }
    }

    /// The frame that stands for a connection that was lost.
    pub(crate) fn abnormal() -> Self {
        Self { code: CloseCode::ABNORMAL, reason: Utf8Bytes::default() }
    }

    /// The frame that stands for a close frame without a body.
    pub(crate) fn no_status() -> Self {
        Self { code: CloseCode::NO_STATUS, reason: Utf8Bytes::default() }
    }

    /// The same frame with what may be sent: a code that must not be sent becomes 1011, and a
    /// reason that is too long ends at the last whole character that fits.
    pub(crate) fn sendable(mut self) -> Self {
        if self.code == CloseCode::NO_STATUS {
            return Self::no_status();
        }
        if !self.code.is_sendable() {
            tracing::warn!(code = %self.code, "this close code may not be sent; sending 1011");
            self.code = CloseCode::INTERNAL_ERROR;
        }
        if !self.reason.is_empty() {
            let fits = (0..=MAX_REASON).rev().find_map(|end| self.reason.get(..end));
            // A copy, because the frame is kept until the connection is gone: the bytes may be part
            // of something large, or be owned by a type of the program.
            self.reason = Utf8Bytes::from(fits.unwrap_or_default());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_codes_of_the_registry_may_be_sent() {
        let sendable = |code: u16| CloseCode::from(code).is_sendable();
        for code in (1000..=1003).chain(1007..=1014).chain([3000, 4999]) {
            assert!(sendable(code), "{code}");
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
            assert!(!sendable(code), "{code}");
        }
    }

    #[test]
    fn a_long_reason_ends_at_a_character() {
        let frame = CloseFrame::new(1000, "é".repeat(100)).sendable();
        assert_eq!(frame.reason.len(), 122);
        assert_eq!(CloseFrame::new(1006, "").sendable().code, 1011);
        assert_eq!(CloseFrame::new(1005, "gone").sendable(), CloseFrame::no_status());
    }
}
