use bytes::Bytes;

use crate::{close::CloseFrame, error::ConnectionError, message::Message};

/// What happens on a connection, in order: what [`Socket::recv`](crate::Socket::recv) yields,
/// and what a [`Handler`](crate::Handler)'s methods are called for.
///
/// The protocol engine makes `Message`, `Ping`, `Pong` and `Close` of the bytes it receives;
/// the connection adds `Drain` and `Error`.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, Event};
///
/// let app = App::new().ws("/", |route| {
///     route.socket(async |mut socket| {
///         while let Some(event) = socket.recv().await {
///             match event {
///                 Event::Message(message) => println!("{message}"),
///                 Event::Error(error) => println!("it failed: {error}"),
///                 Event::Close(frame) => println!("closed with {}", frame.code),
///                 _ => {}
///             }
///         }
///     })
/// });
/// # let _ = app;
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A whole data message (RFC 6455 §5.6).
    Message(Message),
    /// A ping (RFC 6455 §5.5.2). A connection has answered it already; whoever uses
    /// [`Inbound`](crate::protocol::Inbound) alone answers with a pong of the same payload.
    Ping(Bytes),
    /// A pong, whether it was asked for or not (RFC 6455 §5.5.3).
    Pong(Bytes),
    /// Backpressure is over: the queue fell to the low-water mark.
    Drain,
    /// Something went wrong; `Close` follows.
    Error(ConnectionError),
    /// From the protocol engine: the peer's close frame, after which nothing it sends counts.
    /// From a connection: it is over, and this is its last event. A close frame without a body
    /// has the code [`CloseCode::NO_STATUS`](crate::CloseCode::NO_STATUS).
    Close(CloseFrame),
}

/// Errors have no equality: an `Error` is equal to nothing.
impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Message(one), Self::Message(other)) => one == other,
            (Self::Ping(one), Self::Ping(other)) | (Self::Pong(one), Self::Pong(other)) => {
                one == other
            }
            (Self::Drain, Self::Drain) => true,
            (Self::Close(one), Self::Close(other)) => one == other,
            _ => false,
        }
    }
}
