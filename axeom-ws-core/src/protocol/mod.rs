//! The WebSocket protocol of RFC 6455 as two state machines without I/O.
//!
//! [`Inbound`] takes received bytes and yields [`Event`]s; [`Outbound`] takes
//! commands and yields bytes to send. Neither knows a socket, a clock or a
//! runtime, so a test, a fuzzer or another driver can use them directly. They are
//! separate because they have separate users: one task receives, any task sends.
//!
//! ```
//! # use axeom_ws_core as axeom_ws;
//! use axeom_ws::{
//!     Event,
//!     protocol::{Inbound, Limits, Outbound, Role},
//! };
//!
//! let mut client = Outbound::new(Role::Client);
//! client.message("hello");
//! let mut wire = client.take().to_vec();
//!
//! let mut server = Inbound::new(Role::Server, Limits::default());
//! let received = server.receive(&mut wire)?;
//! assert_eq!(received.consumed, wire.len());
//! assert_eq!(received.event, Some(Event::Message("hello".into())));
//! # Ok::<(), axeom_ws::protocol::Violation>(())
//! ```
//!
//! The closing handshake (§7) is three calls: the first side to end the connection
//! calls [`Outbound::close`]; [`Inbound`] yields [`Event::Close`] on the other,
//! which answers with [`Outbound::close`] too, where it is a no-op if this side had
//! already sent its close frame. The connection is over when both have happened.

mod deflate;
mod frames;
mod header;
mod inbound;
mod mask;
mod outbound;
mod outgoing;
mod partial;
mod queue;

pub(crate) use self::{deflate::Deflater, frames::Frames, outgoing::Outgoing};
pub use self::{
    inbound::{Inbound, Received},
    outbound::Outbound,
    queue::FrameQueue,
};
pub use crate::{options::Limits, violation::Violation};

/// Which end of the connection this is: it decides who masks (RFC 6455 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Receives masked frames, sends unmasked ones.
    Server,
    /// Sends masked frames, receives unmasked ones.
    Client,
}
