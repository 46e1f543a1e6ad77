use bytes::Bytes;

use crate::{close::CloseFrame, error::ConnectionError, message::Message};

/// What happens on a connection. [`Socket::recv`](crate::Socket::recv) returns these events in
/// order, and each is a call of a method of a [`Handler`](crate::Handler).
///
/// The [protocol engine](crate::protocol) makes `Message`, `Ping`, `Pong` and `Close` from the
/// bytes that it receives, and the connection adds `Drain` and `Error`.
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
    /// A ping (RFC 6455 §5.5.2). A connection has answered it already. A program that uses
    /// [`Inbound`](crate::protocol::Inbound) must answer it with a pong of the same payload.
    Ping(Bytes),
    /// A pong, whether it answers a ping or not (RFC 6455 §5.5.3).
    Pong(Bytes),
    /// Backpressure is over, because the queue is down to the low-water mark.
    Drain,
    /// Something went wrong. The next event is `Close`.
    Error(ConnectionError),
    /// From a connection, this is the last event: the connection is over. From the protocol
    /// engine, it is the peer's close frame, after which all input is ignored. A close frame
    /// without a body has the code [`CloseCode::NO_STATUS`](crate::CloseCode::NO_STATUS).
    Close(CloseFrame),
}

impl Event {
    /// The bytes of its payload.
    pub(crate) fn payload_len(&self) -> usize {
        match self {
            Self::Message(message) => message.len(),
            Self::Ping(payload) | Self::Pong(payload) => payload.len(),
            Self::Drain | Self::Error(_) | Self::Close(_) => 0,
        }
    }
}

/// An `Error` is not equal to any event, because errors cannot be compared.
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
