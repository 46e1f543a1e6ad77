//! The WebSocket protocol of RFC 6455 as two state machines without I/O.
//!
//! [`Inbound`] takes received bytes and returns [`Event`]s; [`Outbound`] takes commands and
//! returns the bytes to send. Neither needs a socket, a clock or a runtime, so tests, fuzzers
//! and other drivers can use them directly. They are separate because one task receives
//! while many may send.
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
//! In the closing handshake (RFC 6455 §7), the side that ends the connection calls
//! [`Outbound::close`]. The [`Inbound`] of the other side returns [`Event::Close`], and that
//! side answers with [`Outbound::close`] too, which does nothing if it has queued a close
//! frame already. The connection is over when each side has sent and received a close frame.
//!
//! [`Event`]: crate::Event
//! [`Event::Close`]: crate::Event::Close
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

mod deflate;
mod frames;
mod header;
mod inbound;
mod mask;
mod outbound;
mod outgoing;
mod partial;

pub(crate) use self::{deflate::Deflater, frames::Frames, inbound::Parsed, outgoing::Outgoing};
pub use self::{
    frames::FrameQueue,
    inbound::{Inbound, Received},
    outbound::Outbound,
};
pub use crate::{options::Limits, violation::Violation};

/// Which end of the connection this is. Only clients mask their frames (RFC 6455 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// The server receives masked frames and sends unmasked ones.
    Server,
    /// The client sends masked frames and receives unmasked ones.
    Client,
}
