use std::mem;

use bytes::Bytes;

use super::{
    FrameQueue, Role,
    deflate::Deflater,
    header::{Encoded, MAX_CONTROL, Opcode},
    mask::Mask,
    outgoing::Outgoing,
};
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
    queue: FrameQueue,
    deflater: Option<Box<Deflater>>,
    /// The peer does not take what it is sent at the moment.
    blocked: bool,
    /// The pong to send once it does.
    held_pong: Option<Box<Bytes>>,
    closed: bool,
    /// How many copied bytes were taken last.
    last_taken: u32,
}

impl Outbound {
    /// A connection on which nothing was sent yet. `role` is the sender's.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            queue: FrameQueue::default(),
            deflater: None,
            blocked: false,
            held_pong: None,
            closed: false,
            last_taken: 0,
        }
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
        let Some(deflater) = self.deflater.as_ref().filter(|deflater| deflater.wants(outgoing))
        else {
            return self.outgoing(outgoing, None);
        };
        let compressed = deflater.turn().compress(outgoing);
        self.outgoing(outgoing, compressed.as_ref())
    }

    /// Queues a message that may be on its way to others too, and may have been compressed.
    #[inline]
    pub(crate) fn outgoing(&mut self, outgoing: &Outgoing<'_>, compressed: Option<&Bytes>) -> bool {
        let opcode = if outgoing.message.is_text() { Opcode::Text } else { Opcode::Binary };
        let payload = compressed.unwrap_or(outgoing.message.as_bytes());
        self.frame(opcode, compressed.is_some(), payload)
    }

    /// Queues a ping; of a payload over 125 bytes the first 125. `false` if the
    /// close frame was queued before.
    pub fn ping(&mut self, payload: &Bytes) -> bool {
        self.frame(Opcode::Ping, false, &payload.slice(..payload.len().min(MAX_CONTROL as usize)))
    }

    /// Queues the answer to a ping. While the peer does not take what it is sent,
    /// only the answer to the latest ping is kept (RFC 6455 §5.5.3), so that a flood
    /// of them holds no memory.
    pub fn pong(&mut self, payload: Bytes) {
        if self.blocked {
            self.held_pong = Some(Box::new(payload));
        } else {
            self.frame(Opcode::Pong, false, &payload);
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
        let first = self.frame(Opcode::Close, false, &Bytes::from(body));
        self.closed = true;
        first
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
            self.frame(Opcode::Pong, false, &payload);
        }
        self.last_taken = self.queue.copied();
        mem::take(&mut self.queue)
    }

    #[inline]
    fn frame(&mut self, opcode: Opcode, rsv1: bool, payload: &Bytes) -> bool {
        if self.closed {
            return false;
        }
        if !self.blocked {
            self.queue.make_room(self.last_taken);
        }
        match self.role {
            Role::Server => {
                let header = Encoded::new(opcode, rsv1, payload.len(), None);
                self.queue.push(header.as_slice(), payload);
            }
            Role::Client => self.masked_frame(opcode, rsv1, payload),
        }
        true
    }

    #[inline(never)]
    fn masked_frame(&mut self, opcode: Opcode, rsv1: bool, payload: &Bytes) {
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
