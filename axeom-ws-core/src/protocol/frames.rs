use std::mem;

use bytes::Bytes;

use super::{
    FrameQueue, Role,
    header::{Encoded, MAX_CONTROL, Opcode},
    mask::Mask,
    outgoing::Outgoing,
};
use crate::close::CloseFrame;

/// The frames that one side sends, encoded in the order in which they are queued. Whether a
/// frame may still be sent is for its owner to know.
#[derive(Debug)]
pub(crate) struct Frames {
    role: Role,
    queue: FrameQueue,
    /// The peer does not take what it is sent at the moment.
    blocked: bool,
    /// The pong to send once it does.
    held_pong: Option<Box<Bytes>>,
    /// How many copied bytes were taken last.
    last_taken: u32,
}

impl Frames {
    /// `role` is the sender's.
    pub(crate) fn new(role: Role) -> Self {
        Self { role, queue: FrameQueue::default(), blocked: false, held_pong: None, last_taken: 0 }
    }

    /// Queues a message that may be on its way to others too, and may have been compressed.
    #[inline]
    pub(crate) fn message(&mut self, outgoing: &Outgoing<'_>, compressed: Option<&Bytes>) {
        let opcode = if outgoing.message.is_text() { Opcode::Text } else { Opcode::Binary };
        let payload = compressed.unwrap_or(outgoing.message.as_bytes());
        self.frame(opcode, compressed.is_some(), payload);
    }

    /// Queues a ping; of a payload over 125 bytes the first 125.
    pub(crate) fn ping(&mut self, payload: &Bytes) {
        self.frame(Opcode::Ping, false, &payload.slice(..payload.len().min(MAX_CONTROL as usize)));
    }

    /// Queues the answer to a ping. While the peer does not take what it is sent,
    /// only the answer to the latest ping is kept (RFC 6455 §5.5.3), so that a flood
    /// of them holds no memory.
    pub(crate) fn pong(&mut self, payload: Bytes) {
        if self.blocked {
            self.held_pong = Some(Box::new(payload));
        } else {
            self.frame(Opcode::Pong, false, &payload);
        }
    }

    /// Queues the close frame behind everything else but a pong that is held back: it is the
    /// last frame (RFC 6455 §5.5.1). A code that may not be sent becomes 1011, a reason over
    /// 123 bytes is cut.
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

    /// Bytes that are queued and not taken.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether there is nothing to take.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.held_pong.is_none()
    }

    /// Says whether the peer takes what it is sent; see [`pong`](Self::pong).
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
        // What is blocked will wait, and needs no more room than it takes.
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
