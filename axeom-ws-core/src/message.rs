use std::fmt;

use bytes::Bytes;

use crate::utf8::Utf8Bytes;

/// One whole WebSocket message (RFC 6455 §5.6). Its fragments have been reassembled, and a text
/// has been checked to be UTF-8.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::Message;
///
/// let text = Message::text("hello");
/// assert_eq!(text.as_text(), Some("hello"));
/// assert_eq!(text, "hello");
/// assert_eq!(Message::from("hello"), text);
/// assert_eq!(Message::binary(vec![1, 2, 3]).len(), 3);
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Message {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
}

impl Message {
    /// A text message.
    pub fn text(text: impl Into<Utf8Bytes>) -> Self {
        Message::Text(text.into())
    }

    /// A binary message.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Message::Binary(bytes.into())
    }

    /// The payload as text, if it is a text message.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }

    /// The payload, whatever the kind of message.
    #[inline]
    pub fn as_bytes(&self) -> &Bytes {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// The payload, whatever the kind of message, without a copy.
    #[inline]
    pub fn into_bytes(self) -> Bytes {
        match self {
            Message::Text(text) => text.into_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// The length of the payload in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Decides whether this message is compressed, whatever its size. This has an effect only on
    /// connections that negotiated permessage-deflate.
    pub fn compress(self, compress: bool) -> SendMessage {
        SendMessage { message: self, compress: Some(compress) }
    }

    /// Whether this is a text message.
    #[inline]
    pub fn is_text(&self) -> bool {
        matches!(self, Message::Text(_))
    }
}

/// A message to be sent, together with its compression setting.
///
/// Every message converts into one, which follows the connection's
/// [`Compression`](crate::Compression). [`Message::compress`] makes one that overrides it.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{Message, Ws};
///
/// async fn send_picture(ws: Ws, jpeg: Vec<u8>) {
///     // A JPEG is compressed already.
///     let _ = ws.send(Message::from(jpeg).compress(false)).await;
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendMessage {
    pub(crate) message: Message,
    pub(crate) compress: Option<bool>,
}

impl SendMessage {
    /// The message without its compression setting.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The message without its compression setting.
    pub fn into_message(self) -> Message {
        self.message
    }
}

impl<T: Into<Message>> From<T> for SendMessage {
    fn from(message: T) -> Self {
        Self { message: message.into(), compress: None }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Text(text) => f.debug_tuple("Text").field(text).finish(),
            Message::Binary(bytes) => f.debug_tuple("Binary").field(bytes).finish(),
        }
    }
}

/// Writes the payload as text. In a binary message, bytes that are not UTF-8 are replaced.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Text(text) => fmt::Display::fmt(text, f),
            Message::Binary(bytes) => fmt::Display::fmt(&String::from_utf8_lossy(bytes), f),
        }
    }
}

macro_rules! message_from {
    ($($kind:ident: $($source:ty),+;)+) => {$($(
        impl From<$source> for Message {
            fn from(payload: $source) -> Self {
                Message::$kind(payload.into())
            }
        }
    )+)+};
}

message_from! {
    Text: &str, String, Utf8Bytes;
    Binary: Bytes, Vec<u8>;
}

/// Copies the bytes. Use [`Bytes::from_static`] for static bytes to avoid the copy.
impl From<&[u8]> for Message {
    fn from(payload: &[u8]) -> Self {
        Message::Binary(Bytes::copy_from_slice(payload))
    }
}

/// Copies the bytes.
impl<const N: usize> From<&[u8; N]> for Message {
    fn from(payload: &[u8; N]) -> Self {
        Message::from(&payload[..])
    }
}

/// Whether this is a text message with this text.
impl PartialEq<str> for Message {
    fn eq(&self, other: &str) -> bool {
        self.as_text() == Some(other)
    }
}

/// Whether this is a text message with this text.
impl PartialEq<&str> for Message {
    fn eq(&self, other: &&str) -> bool {
        self.as_text() == Some(*other)
    }
}
