//! The engine beside tungstenite's: the same bytes give the same messages, and the same
//! kind of end wherever both say one.

use std::io::{self, Cursor, Read, Write};

use async_tungstenite::tungstenite::{
    Error, Message as Theirs, WebSocket,
    error::ProtocolError,
    protocol::{Role, WebSocketConfig, frame::coding::CloseCode},
};
use axeom_ws_core::{
    CloseFrame, Event, Message,
    protocol::{Inbound, Limits, Violation},
};

use super::receive::receive;

/// tungstenite counts bytes, and no fragments.
const LIMITS: Limits = Limits::new().message_size(1000).fragments(u32::MAX);

/// How the input ended, for tungstenite.
#[derive(Debug, PartialEq)]
enum End {
    /// There was no more of it.
    Open,
    /// With a violation, that has this close code.
    Violation(u16),
}

/// Gives the same bytes to both engines.
///
/// # Panics
/// They do not agree, and it is none of the differences that are meant.
pub(crate) fn compare(bytes: &[u8]) {
    let inbound = Inbound::new(axeom_ws_core::protocol::Role::Server, LIMITS);
    let (events, violation) = receive(inbound, LIMITS, bytes, &[], false);
    match violation {
        None => {
            let (their_events, end) = theirs(bytes);
            match &events[..] {
                // tungstenite does not know the code 1014.
                [before @ .., Event::Close(frame)] if frame.code == 1014 => {
                    assert_eq!((&their_events[..], end), (before, End::Violation(1002)));
                }
                _ => assert_eq!((their_events, end), (events, End::Open)),
            }
        }
        // It takes a length that is longer than it need be.
        Some(Violation::BadLength) => {}
        Some(violation) => {
            // It looks at most frames only when they are whole: so this one has to be.
            let padded = [bytes, &[0; 2 * LIMITS.message_size]].concat();
            let (their_events, end) = theirs(&padded);
            assert_eq!(events, their_events);
            let code = violation.close_code().as_u16();
            let other = match violation {
                // It looks at the reason of a close frame before the code.
                Violation::BadCloseCode { .. } => 1007,
                // It looks at the size of a frame before all else.
                _ if code == 1002 => 1009,
                _ => code,
            };
            let is_known = end == End::Violation(code) || end == End::Violation(other);
            assert!(is_known, "{violation:?}, but {end:?}");
        }
    }
}

fn theirs(bytes: &[u8]) -> (Vec<Event>, End) {
    let config = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .max_message_size(Some(LIMITS.message_size))
        .max_frame_size(Some(LIMITS.message_size));
    let stream = Stream(Cursor::new(bytes));
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, Some(config));
    let mut events = Vec::new();
    loop {
        let event = match socket.read() {
            Ok(Theirs::Text(text)) => Event::Message(Message::from(text.as_str())),
            Ok(Theirs::Binary(bytes)) => Event::Message(Message::from(bytes)),
            Ok(Theirs::Ping(payload)) => Event::Ping(payload),
            Ok(Theirs::Pong(payload)) => Event::Pong(payload),
            // This is how it tells of a code that must not be sent.
            Ok(Theirs::Close(Some(frame)))
                if frame.code == CloseCode::Protocol && frame.reason == "Protocol violation" =>
            {
                return (events, End::Violation(1002));
            }
            Ok(Theirs::Close(frame)) => {
                let frame = frame.map_or(CloseFrame::new(1005, ""), |frame| {
                    CloseFrame::new(u16::from(frame.code), frame.reason.as_str())
                });
                events.push(Event::Close(frame));
                return (events, End::Open);
            }
            Ok(Theirs::Frame(_)) => unreachable!("reading gives messages"),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                return (events, End::Open);
            }
            Err(Error::Protocol(_)) => return (events, End::Violation(1002)),
            Err(Error::Utf8(_)) => return (events, End::Violation(1007)),
            Err(Error::Capacity(_)) => return (events, End::Violation(1009)),
            Err(error) => panic!("{error}"),
        };
        events.push(event);
    }
}

/// Gives bytes, and takes all.
struct Stream<'a>(Cursor<&'a [u8]>);

impl Read for Stream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
