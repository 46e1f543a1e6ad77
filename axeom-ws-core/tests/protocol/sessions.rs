//! Byte streams as a client would send them, and as it would not.

use axeom_ws_core::{CloseFrame, Event, Message};
use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::Index};

use super::frame::{self, CLOSE, CONTINUATION, FIN, PING, PONG};

/// What a client sends, and what is to arrive.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) bytes: Vec<u8>,
    pub(crate) events: Vec<Event>,
}

/// A valid session: messages, in fragments or not, with control frames between.
pub(crate) fn session() -> impl Strategy<Value = Session> {
    (vec(message(), 0..6), prop::option::of(closing())).prop_map(|(messages, closing)| {
        let mut session = Session { bytes: Vec::new(), events: Vec::new() };
        for part in messages.into_iter().chain(closing) {
            session.bytes.extend(part.bytes);
            session.events.extend(part.events);
        }
        session
    })
}

fn message() -> impl Strategy<Value = Session> {
    let payload = prop_oneof![
        "\\PC{0,40}".prop_map(Message::from),
        vec(any::<u8>(), 0..200).prop_map(Message::from),
        // Around the lengths where a header grows.
        (120..130_usize).prop_map(|size| Message::from(vec![7; size])),
    ];
    let between = vec((any::<bool>(), vec(any::<u8>(), 0..20)), 0..3);
    (payload, vec(any::<Index>(), 0..4), between, any::<[u8; 4]>()).prop_map(
        |(message, cuts, between, mask)| {
            let payload = message.as_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
            cuts.extend([0, payload.len()]);
            cuts.sort_unstable();
            let last = cuts.len() - 2;
            let mut between = between.into_iter();
            let mut session = Session { bytes: Vec::new(), events: Vec::new() };
            for (n, cut) in cuts.windows(2).enumerate() {
                let opcode = match n {
                    0 if message.is_text() => frame::TEXT,
                    0 => frame::BINARY,
                    _ => CONTINUATION,
                };
                let first = if n == last { FIN | opcode } else { opcode };
                session.bytes.extend(frame::encode(first, &payload[cut[0]..cut[1]], Some(mask)));
                if n == last {
                    session.events.push(Event::Message(message.clone()));
                }
                if let Some((ping, payload)) = between.next() {
                    let opcode = if ping { PING } else { PONG };
                    session.bytes.extend(frame::encode(FIN | opcode, &payload, Some(mask)));
                    let payload = Bytes::from(payload);
                    let event = if ping { Event::Ping(payload) } else { Event::Pong(payload) };
                    session.events.push(event);
                }
            }
            session
        },
    )
}

fn closing() -> impl Strategy<Value = Session> {
    let code = prop_oneof![Just(1000_u16), Just(1001), 1007..1012_u16, 3000..5000_u16];
    prop::option::of((code, "[a-zäöü]{0,20}")).prop_map(|close| match close {
        None => Session {
            bytes: frame::masked(CLOSE, b""),
            events: vec![Event::Close(CloseFrame::new(1005, ""))],
        },
        Some((code, reason)) => Session {
            bytes: frame::masked(CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat()),
            events: vec![Event::Close(CloseFrame::new(code, reason))],
        },
    })
}

/// Sessions, sessions with some of their bytes changed or cut off, frames with anything in
/// their header, and noise.
pub(crate) fn bytes_of_any_kind() -> impl Strategy<Value = Vec<u8>> {
    let valid = || session().prop_map(|session| session.bytes);
    let changes = vec((any::<Index>(), any::<u8>()), 1..4);
    let changed = (valid(), changes, any::<Index>()).prop_map(|(mut bytes, changes, end)| {
        for (at, byte) in changes {
            if let Some(last) = bytes.len().checked_sub(1) {
                bytes[at.index(last + 1)] = byte;
            }
        }
        bytes.truncate(end.index(bytes.len() + 1).max(bytes.len() / 2));
        bytes
    });
    prop_oneof![
        2 => valid(),
        4 => changed,
        4 => vec(any_frame(), 1..6).prop_map(|frames| frames.concat()),
        1 => vec(any::<u8>(), 0..100),
    ]
}

/// A frame that is likely to be wrong in one way, and unlikely in many.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![
        8 => prop::sample::select(&[0_u8, 1, 2, 8, 9, 10]),
        1 => 0..16_u8,
    ];
    let first = (opcode, prop::bool::weighted(0.7), prop::bool::weighted(0.05), 0..8_u8);
    let payload = prop_oneof![
        4 => vec(any::<u8>(), 0..6),
        2 => "[aé€😀]{0,6}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 120..130),
        1 => vec(97..98_u8, 500..1100),
        2 => (any::<u16>(), "[a-z]{0,3}").prop_map(|(code, reason)| {
            [&(code % 6000).to_be_bytes(), reason.as_bytes()].concat()
        }),
    ];
    let mask = prop::option::weighted(0.95, any::<[u8; 4]>());
    let announced = prop::option::weighted(0.05, any::<u64>());
    (first, payload, mask, announced).prop_map(
        |((opcode, fin, reserved, bits), payload, mask, announced)| {
            let mut first = opcode;
            first |= if fin { FIN } else { 0 };
            first |= if reserved { bits << 4 } else { 0 };
            match announced {
                Some(length) => frame::header(first, length >> (length % 64), mask),
                None => frame::encode(first, &payload, mask),
            }
        },
    )
}
