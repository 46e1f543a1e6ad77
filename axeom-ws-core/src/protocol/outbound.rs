use bytes::Bytes;

use super::{FrameQueue, Role, deflate::Deflater, frames::Frames, outgoing::Outgoing};
use crate::{
    close::CloseFrame,
    compression::{Compression, DeflateParams},
    message::SendMessage,
};

/// The sending half of a connection, which turns commands into bytes. The
/// [module](crate::protocol) has an example.
///
/// Frames are queued until they are [taken](Self::take). After [`close`](Self::close), nothing
/// more is accepted (RFC 6455 §5.5.1).
#[derive(Debug)]
pub struct Outbound {
    role: Role,
    frames: Frames,
    deflater: Option<Box<Deflater>>,
    closed: bool,
}

impl Outbound {
    /// The sending half of a new connection. `role` is the role of the sender.
    pub fn new(role: Role) -> Self {
        Self { role, frames: Frames::new(role), deflater: None, closed: false }
    }

    /// Enables permessage-deflate (RFC 7692) with the parameters that were negotiated. `own` has
    /// the compression level and the threshold.
    pub fn with_deflate(mut self, params: DeflateParams, own: &Compression) -> Self {
        self.deflater = Some(Box::new(Deflater::new(self.role, params, own)));
        self
    }

    /// Queues a message as one frame. Returns `false` if the close frame was queued before.
    pub fn message(&mut self, message: impl Into<SendMessage>) -> bool {
        if self.closed {
            return false;
        }
        let message = message.into();
        let outgoing = &mut Outgoing::new(&message);
        match &self.deflater {
            Some(deflater) if deflater.wants(outgoing) => {
                let compressed = deflater.turn().compress(outgoing);
                self.frames.message(outgoing, compressed.as_ref());
            }
            _ => self.frames.message(outgoing, None),
        }
        true
    }

    /// Queues a ping (RFC 6455 §5.5.2). A longer payload is cut to 125 bytes. Returns `false` if
    /// the close frame was queued before.
    pub fn ping(&mut self, payload: &Bytes) -> bool {
        if !self.closed {
            self.frames.ping(payload);
        }
        !self.closed
    }

    /// Queues the answer to a ping, unless the close frame was queued before. While the transport
    /// [is blocked](Self::set_blocked), only the answer to the latest ping is kept
    /// (RFC 6455 §5.5.3), so that a flood of pings occupies no memory.
    pub fn pong(&mut self, payload: Bytes) {
        if !self.closed {
            self.frames.pong(payload);
        }
    }

    /// Queues the close frame behind everything else (RFC 6455 §5.5.1). Returns `false` if one
    /// was queued before. [`CloseCode::NO_STATUS`](crate::CloseCode::NO_STATUS) is sent as an
    /// empty frame, another code that must not be sent becomes 1011, and the reason is cut to 123
    /// bytes.
    pub fn close(&mut self, frame: CloseFrame) -> bool {
        if !self.closed {
            self.frames.close(frame.sendable());
        }
        !std::mem::replace(&mut self.closed, true)
    }

    /// How many bytes are queued and not taken yet.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there is nothing to take. This can be `false` at length 0, while a pong is held
    /// back.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Sets whether the transport is blocked, which means that it accepts no bytes; see
    /// [`pong`](Self::pong).
    pub fn set_blocked(&mut self, blocked: bool) {
        self.frames.set_blocked(blocked);
    }

    /// Takes everything that is queued.
    pub fn take(&mut self) -> FrameQueue {
        self.frames.take()
    }
}
