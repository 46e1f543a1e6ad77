use std::mem;

use bytes::Bytes;

use super::{
    FrameQueue, Role,
    header::{self, MAX_CONTROL, Opcode},
    mask::Mask,
};
use crate::{CloseFrame, Message};

/// The sending half: commands in, bytes out.
///
/// Frames queue up until they are [taken](Self::take). After
/// [`close`](Self::close) nothing more is accepted (RFC 6455 §5.5.1).
#[derive(Debug)]
pub struct Outbound {
    role: Role,
    queue: FrameQueue,
    /// The peer does not take what it is sent at the moment.
    blocked: bool,
    /// The pong to send once it does.
    held_pong: Option<Bytes>,
    closed: bool,
}

impl Outbound {
    /// A connection on which nothing was sent yet. `role` is the sender's.
    pub fn new(role: Role) -> Self {
        Self { role, queue: FrameQueue::default(), blocked: false, held_pong: None, closed: false }
    }

    /// Queues a message as one frame; `false` if the close frame was queued before.
    pub fn message(&mut self, message: &Message) -> bool {
        let opcode = if message.is_text() { Opcode::Text } else { Opcode::Binary };
        self.frame(opcode, message.as_bytes())
    }

    /// Queues a ping; of a payload over 125 bytes the first 125. `false` if the
    /// close frame was queued before.
    pub fn ping(&mut self, payload: &Bytes) -> bool {
        self.frame(Opcode::Ping, &payload.slice(..payload.len().min(MAX_CONTROL as usize)))
    }

    /// Queues the answer to a ping. While the peer does not take what it is sent,
    /// only the answer to the latest ping is kept (RFC 6455 §5.5.3), so that a flood
    /// of them holds no memory.
    pub fn pong(&mut self, payload: Bytes) {
        if self.blocked {
            self.held_pong = Some(payload);
        } else {
            self.frame(Opcode::Pong, &payload);
        }
    }

    /// Queues the close frame behind everything else; `false` if one was queued
    /// before. A code that may not be sent becomes 1011, a reason over 123 bytes is
    /// cut.
    pub fn close(&mut self, frame: CloseFrame) -> bool {
        let frame = frame.sendable();
        let mut body = Vec::new();
        if frame.code.is_sendable() {
            body.extend_from_slice(&frame.code.as_u16().to_be_bytes());
            body.extend_from_slice(frame.reason.as_bytes());
        }
        let first = self.frame(Opcode::Close, &Bytes::from(body));
        self.closed = true;
        first
    }

    /// Whether the close frame was queued.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Bytes that are queued and not taken.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.held_pong.is_none()
    }

    /// Says whether the peer takes what it is sent; see [`pong`](Self::pong).
    pub fn set_blocked(&mut self, blocked: bool) {
        self.blocked = blocked;
    }

    /// Whether the peer takes what it is sent; see [`set_blocked`](Self::set_blocked).
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Takes everything that is queued.
    pub fn take(&mut self) -> FrameQueue {
        if let Some(payload) = self.held_pong.take() {
            self.frame(Opcode::Pong, &payload);
        }
        mem::take(&mut self.queue)
    }

    fn frame(&mut self, opcode: Opcode, payload: &Bytes) -> bool {
        if self.closed {
            return false;
        }
        match self.role {
            Role::Server => {
                self.queue.write(|out| header::write(opcode, payload.len(), None, out));
                self.queue.push(payload);
            }
            Role::Client => self.queue.write(|out| {
                let mut mask = Mask::new(rand::random());
                header::write(opcode, payload.len(), Some(mask), out);
                let start = out.len();
                out.extend_from_slice(payload);
                mask.apply(&mut out[start..]);
            }),
        }
        true
    }
}
