use std::mem;

use bytes::Bytes;

use super::{
    FrameQueue, Role,
    header::{Encoded, MAX_CONTROL, Opcode},
    mask::Mask,
    outgoing::Outgoing,
};
use crate::close::CloseFrame;

/// The frames that one side sends, encoded in the order in which they are queued. The owner
/// decides whether a frame may still be sent.
#[derive(Debug)]
pub(crate) struct Frames {
    role: Role,
    queue: FrameQueue,
    /// Whether the transport accepts nothing at the moment.
    blocked: bool,
    /// The pong to send when the transport accepts bytes again.
    held_pong: Option<Box<Bytes>>,
    /// How many copied bytes were taken last time.
    last_taken: u32,
}

impl Frames {
    /// `role` is the sender's.
    pub(crate) fn new(role: Role) -> Self {
        Self { role, queue: FrameQueue::default(), blocked: false, held_pong: None, last_taken: 0 }
    }

    /// Queues a message, with its compressed payload if it was compressed.
    #[inline]
    pub(crate) fn message(&mut self, outgoing: &Outgoing<'_>, compressed: Option<&Bytes>) {
        let opcode = if outgoing.message.is_text() { Opcode::Text } else { Opcode::Binary };
        let payload = compressed.unwrap_or(outgoing.message.as_bytes());
        self.frame(opcode, compressed.is_some(), payload);
    }

    /// Queues a ping. A longer payload is cut to 125 bytes.
    pub(crate) fn ping(&mut self, payload: &Bytes) {
        self.frame(Opcode::Ping, false, &payload.slice(..payload.len().min(MAX_CONTROL as usize)));
    }

    /// Queues the answer to a ping. While the transport is blocked, only the answer to the latest
    /// ping is kept (RFC 6455 §5.5.3), so that a flood of pings occupies no memory.
    pub(crate) fn pong(&mut self, payload: Bytes) {
        if self.blocked {
            self.held_pong = Some(Box::new(payload));
        } else {
            self.frame(Opcode::Pong, false, &payload);
        }
    }

    /// Queues the close frame, which must be the last one (RFC 6455 §5.5.1), so a pong that is
    /// held back is dropped. 1005 is sent as an empty frame, another code that must not be sent
    /// becomes 1011, and the reason is cut to 123 bytes.
    pub(crate) fn close(&mut self, frame: CloseFrame) {
        let frame = frame.sendable();
        let mut body = Vec::new();
        if frame.code.is_sendable() {
            body.extend_from_slice(&frame.code.as_u16().to_be_bytes());
            body.extend_from_slice(frame.reason.as_bytes());
        }
        self.frame(Opcode::Close, false, &Bytes::from(body));
        self.held_pong = None;
    }

    /// How many bytes are queued and not taken yet.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether there is nothing to take, not even a pong that is held back.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.held_pong.is_none()
    }

    /// Sets whether the transport is blocked; see [`pong`](Self::pong).
    pub(crate) fn set_blocked(&mut self, blocked: bool) {
        self.blocked = blocked;
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Takes everything that is queued.
    pub(crate) fn take(&mut self) -> FrameQueue {
        if let Some(payload) = self.held_pong.take() {
            self.frame(Opcode::Pong, false, &payload);
        }
        self.last_taken = self.queue.copied();
        mem::take(&mut self.queue)
    }

    #[inline]
    fn frame(&mut self, opcode: Opcode, rsv1: bool, payload: &Bytes) {
        match self.role {
            Role::Server => {
                let header = Encoded::new(opcode, rsv1, payload.len(), None);
                if payload.len() <= FrameQueue::COPY_UP_TO {
                    self.make_room();
                    self.queue.copy(header.as_slice(), payload);
                } else {
                    self.queue.share(header.as_slice(), payload);
                }
            }
            Role::Client => self.masked_frame(opcode, rsv1, payload),
        }
    }

    #[inline]
    fn make_room(&mut self) {
        // While the transport is blocked, frames wait in the queue, so it should not have more
        // room than they need.
        if !self.blocked {
            self.queue.make_room(self.last_taken);
        }
    }

    #[inline(never)]
    fn masked_frame(&mut self, opcode: Opcode, rsv1: bool, payload: &Bytes) {
        self.make_room();
        self.queue.write(|out| {
            let mut mask = Mask::new(rand::random());
            let header = Encoded::new(opcode, rsv1, payload.len(), Some(mask));
            out.extend_from_slice(header.as_slice());
            let start = out.len();
            out.extend_from_slice(payload);
            mask.apply(&mut out[start..]);
        });
    }
}
