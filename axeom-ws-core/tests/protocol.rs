//! The protocol engine on its own, without any runtime: what holds for all inputs.

#[path = "../../tests/support/frame.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests of the whole library")]
mod frame;
#[path = "protocol/receive.rs"]
mod receive;
#[path = "protocol/sessions.rs"]
mod sessions;
#[path = "protocol/tungstenite.rs"]
mod tungstenite;

use std::io::IoSlice;

use axeom_ws_core::{
    CloseCode, CloseFrame, Event, Message,
    protocol::{FrameQueue, Inbound, Limits, Outbound, Role, Violation},
};
use bytes::Bytes;
use proptest::prelude::*;

use self::{
    frame::{BINARY, CONTINUATION, FIN, MASK, PING, TEXT},
    receive::Outcome,
    sessions::{Session, bytes_of_any_kind, session},
};

/// Receives what a client sends; see [`receive::receive`].
fn receive(bytes: &[u8], cuts: &[usize], limits: Limits, direct: bool) -> Outcome {
    receive::receive(Inbound::new(Role::Server, limits), limits, bytes, cuts, direct)
}

/// Small, so that sessions run into them.
const LIMITS: Limits = Limits::new().message_size(1000).fragments(6);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn both_engines_agree(bytes in bytes_of_any_kind()) {
        tungstenite::compare(&bytes);
    }
}

proptest! {
    #[test]
    fn any_chunking_of_the_same_bytes_gives_the_same_events(
        bytes in bytes_of_any_kind(),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
        direct: bool,
    ) {
        let whole = receive(&bytes, &[], LIMITS, false);
        prop_assert_eq!(&receive(&bytes, &cuts, LIMITS, direct), &whole);
        let every_byte: Vec<_> = (0..bytes.len()).collect();
        prop_assert_eq!(&receive(&bytes, &every_byte, LIMITS, direct), &whole);
    }

    #[test]
    fn a_valid_session_gives_the_events_it_was_made_of(
        Session { bytes, events } in session(),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let limits = Limits::new().message_size(10_000).fragments(100);
        prop_assert_eq!(receive(&bytes, &cuts, limits, true), (events, None));
    }

    #[test]
    fn what_one_end_sends_the_other_receives(
        commands in prop::collection::vec(command(), 0..20),
        client: bool,
    ) {
        let (sender, receiver) =
            if client { (Role::Client, Role::Server) } else { (Role::Server, Role::Client) };
        let mut outbound = Outbound::new(sender);
        let mut inbound = Inbound::new(receiver, Limits::default());
        let (mut expected, mut received) = (Vec::new(), Vec::new());
        let mut wire = Vec::new();
        let mut open = true;
        for (command, take) in commands {
            let closes = matches!(command, Command::Close(_));
            expected.extend(command.give(&mut outbound, open));
            open &= !closes;
            if take {
                wire.extend(drain(outbound.take()));
            }
        }
        wire.extend(drain(outbound.take()));
        prop_assert!(outbound.is_empty());
        loop {
            let part = inbound.receive(&mut wire).unwrap();
            wire.drain(..part.consumed);
            let Some(event) = part.event else { break };
            received.push(event);
        }
        prop_assert_eq!(received, expected);
        prop_assert_eq!(wire, b"");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn large_frames_may_be_read_in_place(
        size in 60_000..200_000_usize,
        text: bool,
        bad in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let mut payload = "aé€😀".repeat(size / 10).into_bytes();
        if let Some(bad) = bad {
            payload[bad.index(size / 10 * 10)] = 0xff;
        }
        let (first, second) = payload.split_at(payload.len() / 3);
        let opcode = if text { TEXT } else { BINARY };
        let bytes = [
            frame::fragment(opcode, first),
            frame::masked(PING, b"between"),
            frame::masked(CONTINUATION, second),
            frame::masked(TEXT, b"after"),
        ]
        .concat();
        let limits = Limits::default();
        let whole = receive(&bytes, &[], limits, false);
        prop_assert_eq!(whole.1.is_some(), text && bad.is_some());
        prop_assert_eq!(whole.0.len(), match (whole.1, bad) {
            (None, _) => 3,
            (_, Some(bad)) => usize::from(bad.index(size / 10 * 10) >= first.len()),
            _ => unreachable!(),
        });
        prop_assert_eq!(&receive(&bytes, &cuts, limits, true), &whole);
        prop_assert_eq!(&receive(&bytes, &cuts, limits, false), &whole);
    }
}

/// Something to send.
#[derive(Debug, Clone)]
enum Command {
    Message(Message),
    Ping(Bytes),
    Pong(Bytes),
    Close(CloseFrame),
}

impl Command {
    /// What is to arrive, if it is sent at all.
    fn give(self, outbound: &mut Outbound, open: bool) -> Option<Event> {
        let event = match self {
            Command::Message(message) => {
                assert_eq!(outbound.message(message.clone()), open);
                Event::Message(message)
            }
            Command::Ping(payload) => {
                assert_eq!(outbound.ping(&payload), open);
                Event::Ping(payload.slice(..payload.len().min(125)))
            }
            Command::Pong(payload) => {
                outbound.pong(payload.clone());
                Event::Pong(payload)
            }
            Command::Close(frame) => {
                assert_eq!(outbound.close(frame.clone()), open);
                Event::Close(frame)
            }
        };
        open.then_some(event)
    }
}

fn command() -> impl Strategy<Value = (Command, bool)> {
    // Around the sizes where the header, or the way through the queue, changes.
    let size = prop_oneof![0..130_usize, 2040..2060_usize, 65_530..65_540_usize];
    let message = (size, any::<bool>(), any::<u8>()).prop_map(|(size, text, byte)| {
        if text {
            Message::from("ü".repeat(size / 2) + &byte.to_string())
        } else {
            Message::from(vec![byte; size])
        }
    });
    let control = |max| prop::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from);
    let close = prop_oneof![
        Just(CloseFrame::new(CloseCode::NO_STATUS, "")),
        (3000..5000_u16, "[a-zäöü]{0,60}").prop_map(|(code, reason)| CloseFrame::new(code, reason)),
    ];
    let command = prop_oneof![
        6 => message.prop_map(Command::Message),
        2 => control(200).prop_map(Command::Ping),
        2 => control(126).prop_map(Command::Pong),
        1 => close.prop_map(Command::Close),
    ];
    (command, any::<bool>())
}

/// Takes a queue apart as a socket that takes a few bytes at a time would.
fn drain(mut queue: FrameQueue) -> Vec<u8> {
    let copy = queue.to_vec();
    assert_eq!(copy.len(), queue.len());
    let mut bytes = Vec::new();
    for step in (1..).map(|n| n * 797 % 10_000 + 1) {
        let mut slices = [IoSlice::new(&[]); 3];
        let count = queue.slices(&mut slices);
        if count == 0 {
            break;
        }
        let front = slices[..count].iter().flat_map(|slice| slice.iter()).take(step);
        let before = bytes.len();
        bytes.extend(front);
        queue.advance(bytes.len() - before);
    }
    assert!(queue.is_empty());
    assert_eq!(bytes, copy);
    bytes
}

#[test]
fn a_length_that_is_announced_takes_no_memory() {
    let limits = Limits::new().message_size(usize::MAX).fragments(10);
    for first in [FIN | BINARY, FIN | TEXT, BINARY] {
        let mut inbound = Inbound::new(Role::Server, limits);
        let mut header = frame::header(first, i64::MAX as u64, Some(MASK));
        let received = inbound.receive(&mut header).unwrap();
        assert_eq!((received.consumed, received.event), (header.len(), None));
        assert_eq!(inbound.held(), 0);
        // Room grows with what has arrived, and never by more than a MiB.
        let mut arrived = 0;
        for _ in 0..15 {
            let mut bytes = inbound.split_room().unwrap();
            let room = bytes.capacity();
            bytes.resize(room, 0);
            assert!((1..=1 << 20).contains(&room), "{room}");
            assert!(room <= (3 * arrived).max(16 * 1024), "{room} after {arrived}");
            if inbound.join_room(bytes).is_err() {
                // The zeroes of the room do not make text, once unmasked.
                assert_eq!(first, FIN | TEXT);
                break;
            }
            arrived += room;
            assert_eq!(inbound.held(), arrived);
        }
    }
}

#[test]
fn nothing_counts_after_the_end() {
    for (last, ends) in [(frame::close(1000), true), (frame::masked(3, b""), false)] {
        let mut inbound = Inbound::new(Role::Server, Limits::default());
        let mut bytes = last.clone();
        assert_eq!(inbound.receive(&mut bytes).is_ok(), ends);
        assert!(inbound.split_room().is_none());
        let mut bytes = [frame::masked(TEXT, b"late"), frame::masked(3, b"")].concat();
        let received = inbound.receive(&mut bytes).unwrap();
        assert_eq!((received.consumed, received.event), (bytes.len(), None));
    }
}

#[test]
fn the_other_role_masks() {
    let bytes = frame::masked(TEXT, b"x");
    let mut client = Inbound::new(Role::Client, Limits::default());
    assert_eq!(client.receive(&mut bytes.clone()), Err(Violation::Masked));
    let mut outbound = Outbound::new(Role::Client);
    // With a key that changes.
    let frames: Vec<_> = (0..8)
        .map(|_| {
            outbound.message(Message::from("the same"));
            outbound.take().to_vec()
        })
        .collect();
    assert!(frames.iter().all(|frame| frame[1] & 0x80 != 0));
    assert!(frames.iter().any(|frame| frame[2..6] != frames[0][2..6]));
}

#[test]
fn while_blocked_only_the_latest_pong_is_kept() {
    let mut outbound = Outbound::new(Role::Server);
    outbound.message(Message::from("first"));
    outbound.set_blocked(true);
    for n in 0..100_u8 {
        outbound.pong(Bytes::from(vec![n; 100]));
    }
    assert_eq!(outbound.len(), 7, "the message alone");
    assert!(!outbound.is_empty());
    outbound.set_blocked(false);
    let bytes = outbound.take().to_vec();
    let (_, size) = frame::decode(&bytes).unwrap();
    let (pong, rest) = frame::decode(&bytes[size..]).unwrap();
    assert_eq!(pong, frame::Frame::new(frame::PONG, [99; 100]));
    assert_eq!(size + rest, bytes.len());
    assert!(outbound.is_empty());
}

#[test]
fn every_close_code_is_allowed_or_refused() {
    for code in 0..=u16::MAX {
        // RFC 6455 §7.4, and the codes that were registered after it.
        let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let mut server = Inbound::new(Role::Server, Limits::default());
        let received = server.receive(&mut frame::close(code)).map(|received| received.event);
        let expected = match allowed {
            true => Ok(Some(Event::Close(CloseFrame::new(code, "")))),
            false => Err(Violation::BadCloseCode { code: code.into() }),
        };
        assert_eq!(received, expected);
    }
}

#[test]
fn a_violation_has_its_close_code() {
    for (violation, code) in [
        (Violation::ReservedBits, 1002),
        (Violation::Unmasked, 1002),
        (Violation::BadLength, 1002),
        (Violation::TruncatedCloseCode, 1002),
        (Violation::InvalidUtf8, 1007),
        (Violation::TooManyFragments { limit: 1 }, 1008),
        (Violation::MessageTooBig { limit: 1 }, 1009),
    ] {
        assert_eq!(violation.close_code(), code);
        assert!(violation.to_string().len() <= 123, "it fits a close frame");
    }
}
