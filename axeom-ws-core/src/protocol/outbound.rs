use bytes::Bytes;

use super::{FrameQueue, Role, deflate::Deflater, frames::Frames, outgoing::Outgoing};
use crate::{
    close::CloseFrame,
    compression::{Compression, DeflateParams},
    message::SendMessage,
};

/// The sending half: commands in, bytes out.
///
/// Frames queue up until they are [taken](Self::take). After
/// [`close`](Self::close) nothing more is accepted (RFC 6455 §5.5.1).
#[derive(Debug)]
pub struct Outbound {
    role: Role,
    frames: Frames,
    deflater: Option<Box<Deflater>>,
    closed: bool,
}

impl Outbound {
    /// A connection on which nothing was sent yet. `role` is the sender's.
    pub fn new(role: Role) -> Self {
        Self { role, frames: Frames::new(role), deflater: None, closed: false }
    }

    /// The same, with permessage-deflate agreed on; `own` says how to use it.
    pub fn with_deflate(mut self, params: DeflateParams, own: &Compression) -> Self {
        self.deflater = Some(Box::new(Deflater::new(self.role, params, own)));
        self
    }

    /// Queues a message as one frame; `false` if the close frame was queued before.
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

    /// Queues a ping; of a payload over 125 bytes the first 125. `false` if the
    /// close frame was queued before.
    pub fn ping(&mut self, payload: &Bytes) -> bool {
        if !self.closed {
            self.frames.ping(payload);
        }
        !self.closed
    }

    /// Queues the answer to a ping, unless the close frame was queued before. While the peer
    /// does not take what it is sent, only the answer to the latest ping is kept
    /// (RFC 6455 §5.5.3), so that a flood of them holds no memory.
    pub fn pong(&mut self, payload: Bytes) {
        if !self.closed {
            self.frames.pong(payload);
        }
    }

    /// Queues the close frame behind everything else; `false` if one was queued
    /// before. A code that may not be sent becomes 1011, a reason over 123 bytes is
    /// cut.
    pub fn close(&mut self, frame: CloseFrame) -> bool {
        if !self.closed {
            self.frames.close(frame);
        }
        !std::mem::replace(&mut self.closed, true)
    }

    /// Bytes that are queued and not taken.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Says whether the peer takes what it is sent; see [`pong`](Self::pong).
    pub fn set_blocked(&mut self, blocked: bool) {
        self.frames.set_blocked(blocked);
    }

    /// Takes everything that is queued.
    pub fn take(&mut self) -> FrameQueue {
        self.frames.take()
    }
}
