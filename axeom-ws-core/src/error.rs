use std::io;

use thiserror::Error;

use crate::{
    message::{Message, SendMessage},
    options::InvalidOption,
    violation::Violation,
};

/// Any error a handler may return.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The connection is closed, or its close frame is already queued: nothing more can
/// be sent on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the connection is closed")]
#[allow(clippy::exhaustive_structs, reason = "there is nothing to add to it")]
pub struct Closed;

/// A message that was queued; see [`Ws::try_send`](crate::Ws::try_send).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendStatus {
    /// Queued, and the connection is below its high-water mark.
    Sent,
    /// Queued, but the connection is over its high-water mark. `drain` follows once
    /// it is below its low-water mark.
    Backpressure,
}

/// A message that was not queued; it is handed back as it was given, with what was said of
/// its compression.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// It would take the connection over its send limit. Wait for `drain`, or for
    /// [`Ws::ready`](crate::Ws::ready).
    #[error("the connection's send limit is reached; wait for drain")]
    Full(SendMessage),
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed(SendMessage),
}

impl TrySendError {
    /// The message, to be sent again.
    pub fn into_inner(self) -> SendMessage {
        match self {
            TrySendError::Full(message) | TrySendError::Closed(message) => message,
        }
    }

    /// The message.
    pub fn into_message(self) -> Message {
        self.into_inner().into_message()
    }
}

/// What went wrong with a connection; the `error` handler sees it before `close`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer broke the protocol.
    #[error("the peer broke the protocol")]
    Violation(#[from] Violation),
    /// The stream failed, or ended without a closing handshake.
    #[error("the connection was lost")]
    Io(#[from] io::Error),
    /// A handler returned an error.
    #[error("a handler failed")]
    Handler(#[source] BoxError),
    /// A handler panicked.
    #[error("a handler panicked: {0}")]
    Panic(String),
    /// Nothing came from the peer after a ping: it is gone without having said so.
    #[error("the peer did not answer a ping in time")]
    PongTimeout,
    /// The peer took nothing of what it was sent.
    #[error("the peer took no data in time")]
    WriteTimeout,
    /// The peer did not finish the closing handshake in time.
    #[error("the closing handshake was not finished in time")]
    CloseTimeout,
}

/// What is wrong with an [`App`](crate::App).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AppError {
    /// A route's path cannot be used, or conflicts with another one's.
    #[error("route {path}: {reason}")]
    Route {
        /// The path as it was given, with its group's prefix.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option of a route has a value it cannot have.
    #[error("an option of route {path} cannot be used")]
    Option {
        /// The path of the route.
        path: String,
        /// Which, and why.
        source: InvalidOption,
    },
    /// A subprotocol is not a token (RFC 6455 §4.1).
    #[error("route {path}: subprotocol {protocol:?} is not a token")]
    Protocol {
        /// The path of the route.
        path: String,
        /// The subprotocol.
        protocol: String,
    },
}

/// Why a server does not serve.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The app cannot be built.
    #[error(transparent)]
    App(#[from] AppError),
    /// The address cannot be bound.
    #[error("cannot listen on {addr}")]
    Bind {
        /// The address as it was given, or as it was looked up.
        addr: String,
        /// What the operating system says.
        source: io::Error,
    },
}
