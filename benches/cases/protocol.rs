//! Frames, text and compression, without a connection.

use std::hint::black_box;

use axeom_ws::{
    Bytes, Compression, DeflateParams, Event, Message,
    protocol::{Inbound, Limits, Outbound, Role},
};

use super::{
    Case, Work,
    messages::{KEY, TEXT, frames, json, kib},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::counted("parse 20 B", 200, || parse(binary(20), 64)),
        Case::counted("parse 125 B", 200, || parse(binary(125), 64)),
        Case::counted("parse 1 KiB", 200, || parse(binary(1 << 10), 16)),
        Case::counted("parse 16 KiB", 100, || parse(binary(16 << 10), 4)),
        Case::counted("parse 1 MiB", 4, || parse_large(1 << 20)),
        Case::counted("parse text 20 B", 200, || parse("twenty bytes of text".into(), 64)),
        Case::counted("parse text 1 KiB, ASCII", 200, || parse(kib("plain old text. ").into(), 16)),
        Case::counted("parse text 1 KiB", 200, || parse(kib(TEXT).into(), 16)),
        Case::counted("parse text 16 KiB", 50, || parse(kib(TEXT).repeat(16).into(), 4)),
        Case::counted("encode 20 B", 200, || encode(binary(20), 64)),
        Case::counted("encode 125 B", 200, || encode(binary(125), 64)),
        Case::counted("encode 1 KiB", 200, || encode(binary(1 << 10), 16)),
        Case::counted("encode 16 KiB", 200, || encode(binary(16 << 10), 16)),
        Case::timed("encode 1 MiB", || encode(binary(1 << 20), 16)),
        Case::counted("deflate 1 KiB of JSON", 20, deflate),
        Case::counted("inflate 1 KiB of JSON", 100, inflate),
    ]
}

fn binary(size: usize) -> Message {
    Message::from(vec![7; size])
}

fn inbound() -> Inbound {
    Inbound::new(Role::Server, Limits::default())
}

/// Receives the same message `count` times in one piece.
fn parse(message: Message, count: usize) -> Work {
    let mut wire = frames(&message, count);
    let mut inbound = inbound();
    Work::new(count, move || {
        // Unmasking a second time masks again, into text that is as good.
        let mut rest = &mut wire[..];
        while !rest.is_empty() {
            let received = inbound.receive(rest).unwrap();
            assert!(matches!(received.event, Some(Event::Message(_))));
            black_box(received.event);
            rest = &mut rest[received.consumed..];
        }
    })
}

/// Receives a message that arrives 64 KiB at a time, where it offers room straight into that.
fn parse_large(size: usize) -> Work {
    let mut wire = frames(&binary(size), 1);
    let mut inbound = inbound();
    Work::new(1, move || {
        let (first, mut rest) = wire.split_at_mut(64 << 10);
        assert_eq!(inbound.receive(first).unwrap().consumed, first.len());
        while !rest.is_empty() {
            let n = rest.len().min(64 << 10);
            if let Some(mut room) = inbound.split_room() {
                let n = n.min(room.capacity());
                room.extend_from_slice(&rest[..n]);
                black_box(inbound.join_room(room).unwrap());
                rest = &mut rest[n..];
            } else {
                let received = inbound.receive(&mut rest[..n]).unwrap();
                assert_eq!(received.consumed, n);
                black_box(received.event);
                rest = &mut rest[n..];
            }
        }
        assert_eq!(inbound.held(), 0);
    })
}

/// Sends the same message `count` times, and takes it in one piece.
fn encode(message: Message, count: usize) -> Work {
    let mut outbound = Outbound::new(Role::Server);
    Work::new(count, move || {
        for _ in 0..count {
            outbound.message(message.clone());
        }
        black_box(outbound.take());
    })
}

const PARAMS: DeflateParams =
    DeflateParams::new().server_no_context_takeover(true).client_no_context_takeover(true);

fn deflate() -> Work {
    let own = Compression::new();
    let mut outbound = Outbound::new(Role::Server).with_deflate(PARAMS, &own);
    let message = Message::from(json());
    Work::new(8, move || {
        for _ in 0..8 {
            outbound.message(message.clone().compress(true));
        }
        let frames = outbound.take();
        assert!(frames.len() < 8 * message.len());
        black_box(frames);
    })
}

/// What a client sends as one compressed message, again masked with [`KEY`].
pub(crate) fn compressed(message: Message) -> Vec<u8> {
    let own = Compression::new();
    let mut server = Outbound::new(Role::Server).with_deflate(PARAMS, &own);
    server.message(message.compress(true));
    let frame = server.take().to_vec();
    // A header of 4 bytes: the payload is between 126 bytes and 64 KiB.
    assert_eq!(frame[1], 126);
    let mut masked = frame[..4].to_vec();
    masked[1] |= 0x80;
    masked.extend(KEY);
    masked.extend(frame[4..].iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    masked
}

fn inflate() -> Work {
    let wire = Bytes::from(compressed(Message::from(json())).repeat(8));
    let mut inbound = inbound().with_deflate(PARAMS);
    Work::new(8, move || {
        let mut wire = wire.to_vec();
        let mut rest = &mut wire[..];
        while !rest.is_empty() {
            let received = inbound.receive(rest).unwrap();
            assert!(matches!(received.event, Some(Event::Message(_))));
            black_box(received.event);
            rest = &mut rest[received.consumed..];
        }
    })
}
