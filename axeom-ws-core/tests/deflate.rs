//! permessage-deflate in the pure engine: what one side compresses the other reads, and what
//! a hostile one sends is refused.

use axeom_ws_core::{
    Compression, DeflateParams, Event, Message, SendMessage,
    protocol::{Inbound, Limits, Outbound, Role, Violation},
};
use proptest::prelude::*;

const PARAMS: DeflateParams = DeflateParams::new();

fn server(params: DeflateParams) -> Inbound {
    Inbound::new(Role::Server, Limits::default()).with_deflate(params)
}

/// A masked frame with a key of zeros, so that its payload is plain.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() <= 125);
    let mut frame = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

fn receive_all(inbound: &mut Inbound, mut bytes: Vec<u8>) -> Result<Vec<Event>, Violation> {
    let (mut events, mut at) = (Vec::new(), 0);
    loop {
        let received = inbound.receive(&mut bytes[at..])?;
        at += received.consumed;
        match received.event {
            Some(event) => events.push(event),
            None => return Ok(events),
        }
    }
}

fn messages(events: Vec<Event>) -> Vec<Message> {
    let message = |event| match event {
        Event::Message(message) => message,
        other => panic!("expected a message, got {other:?}"),
    };
    events.into_iter().map(message).collect()
}

const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

#[test]
fn the_examples_of_the_rfc_are_read() {
    for (frames, expected) in [
        // RFC 7692 §7.2.3.1, whole and in fragments.
        (vec![frame(0xc1, HELLO)], vec!["Hello"]),
        (vec![frame(0x41, &HELLO[..3]), frame(0x80, &HELLO[3..])], vec!["Hello"]),
        // §7.2.3.2: the second refers to the first.
        (vec![frame(0xc1, HELLO), frame(0xc1, &[0xf2, 0, 0x11, 0, 0])], vec!["Hello", "Hello"]),
        // §7.2.3.3: a block without compression.
        (vec![frame(0xc1, b"\x00\x05\x00\xfa\xffHello\x00")], vec!["Hello"]),
        // §7.2.3.4: a final block.
        (vec![frame(0xc1, &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0, 0])], vec!["Hello"]),
        // §7.2.3.5: two blocks.
        (
            vec![frame(0xc1, &[0xf2, 0x48, 0x05, 0, 0, 0, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0])],
            vec!["Hello"],
        ),
        // §7.2.3.6: nothing.
        (vec![frame(0xc1, &[0])], vec![""]),
        // A message that is not compressed among those that are.
        (vec![frame(0xc1, HELLO), frame(0x81, b"plain")], vec!["Hello", "plain"]),
    ] {
        let received = receive_all(&mut server(PARAMS), frames.concat()).unwrap();
        let expected: Vec<_> = expected.into_iter().map(Message::from).collect();
        assert_eq!(messages(received), expected);
    }
}

#[test]
fn a_control_frame_between_compressed_fragments_is_delivered() {
    let bytes = [frame(0x41, &HELLO[..2]), frame(0x89, b"ping"), frame(0x80, &HELLO[2..])];
    let events = receive_all(&mut server(PARAMS), bytes.concat()).unwrap();
    assert_eq!(
        events,
        [Event::Ping(b"ping".to_vec().into()), Event::Message(Message::from("Hello"))]
    );
}

#[test]
fn rsv1_is_legal_on_the_first_frame_of_a_data_message_and_nowhere_else() {
    for bytes in [
        frame(0xc9, b""),                                              // ping
        frame(0xca, b""),                                              // pong
        frame(0xc8, b"\x03\xe8"),                                      // close
        [frame(0x41, &HELLO[..3]), frame(0xc0, &HELLO[3..])].concat(), // continuation
        frame(0xa1, HELLO),                                            // RSV2
        frame(0xd1, HELLO),                                            // RSV3
    ] {
        assert_eq!(receive_all(&mut server(PARAMS), bytes), Err(Violation::ReservedBits));
    }
    let mut without = Inbound::new(Role::Server, Limits::default());
    assert_eq!(receive_all(&mut without, frame(0xc1, HELLO)), Err(Violation::ReservedBits));
}

#[test]
fn broken_data_is_refused() {
    let mut compressed = Outbound::new(Role::Client).with_deflate(PARAMS, &Compression::new());
    let text = "the quick brown fox jumps over the lazy dog".repeat(3);
    compressed.message(Message::from(text).compress(true));
    let whole = compressed.take().to_vec();
    let mut inbound = Inbound::new(Role::Server, Limits::default());
    let payload = {
        // Unmask by reading it as a message that is not compressed.
        let mut plain = whole.clone();
        plain[0] = 0x82;
        messages(receive_all(&mut inbound, plain).unwrap()).remove(0).into_bytes()
    };
    assert!(receive_all(&mut server(PARAMS), frame(0xc2, &payload)).is_ok());
    // Cut anywhere.
    for cut in 0..payload.len() {
        let result = receive_all(&mut server(PARAMS), frame(0xc2, &payload[..cut]));
        assert_eq!(result, Err(Violation::BadDeflate), "cut at {cut} of {}", payload.len());
    }
    // With something behind it that is no deflate data.
    for trailing in [&[0xff_u8; 4][..], &[0x06], &[0, 1, 2, 3, 4]] {
        let bytes = [&payload[..], trailing].concat();
        let result = receive_all(&mut server(PARAMS), frame(0xc2, &bytes));
        assert_eq!(result, Err(Violation::BadDeflate), "{trailing:x?}");
    }
    // After a final block.
    let bytes = [&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0, 0][..], &[0xff; 3]].concat();
    let result = receive_all(&mut server(PARAMS), frame(0xc2, &bytes));
    assert_eq!(result, Err(Violation::BadDeflate));
}

#[test]
fn a_bomb_is_stopped_at_the_message_limit() {
    let limit = 100_000;
    let mut bomb = Outbound::new(Role::Client).with_deflate(PARAMS, &Compression::new());
    bomb.message(vec![0; 100 * limit]);
    let bytes = bomb.take().to_vec();
    assert!(bytes.len() < limit / 5);
    let limits = Limits::new().message_size(limit);
    for params in [PARAMS, PARAMS.client_no_context_takeover(true)] {
        let mut inbound = Inbound::new(Role::Server, limits).with_deflate(params);
        let result = receive_all(&mut inbound, bytes.clone());
        assert_eq!(result, Err(Violation::MessageTooBig { limit }));
    }
}

#[test]
fn a_message_of_exactly_the_limit_is_accepted() {
    let mut client = Outbound::new(Role::Client).with_deflate(PARAMS, &Compression::new());
    client.message(vec![7; 50_000]);
    let bytes = client.take().to_vec();
    for (message_size, ok) in [(50_000, true), (49_999, false)] {
        let limits = Limits::new().message_size(message_size);
        let mut inbound = Inbound::new(Role::Server, limits).with_deflate(PARAMS);
        assert_eq!(receive_all(&mut inbound, bytes.clone()).is_ok(), ok);
    }
}

#[test]
fn compressed_text_must_be_utf8() {
    let mut client = Outbound::new(Role::Client).with_deflate(PARAMS, &Compression::new());
    client.message(vec![0xff; 2000]);
    let mut bytes = client.take().to_vec();
    assert_eq!(bytes[0], 0xc2);
    bytes[0] = 0xc1;
    assert_eq!(receive_all(&mut server(PARAMS), bytes), Err(Violation::InvalidUtf8));
}

#[test]
fn small_and_incompressible_messages_are_sent_as_they_are_unless_told_otherwise() {
    let alone = PARAMS.server_no_context_takeover(true);
    let mut server = Outbound::new(Role::Server).with_deflate(alone, &Compression::new());
    let mut first_byte = |message: SendMessage| {
        server.message(message);
        server.take().to_vec()[0]
    };
    let mut seed = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as u8
    })
    .take(4096)
    .collect();
    assert_eq!(first_byte("a".repeat(1023).into()), 0x81);
    assert_eq!(first_byte("a".repeat(1024).into()), 0xc1);
    assert_eq!(first_byte(noise.into()), 0x82);
    assert_eq!(first_byte(Message::from("a".repeat(1024)).compress(false)), 0x81);
    assert_eq!(first_byte(Message::from("a").compress(true)), 0xc1);
    assert_eq!(first_byte(Message::from("").compress(true)), 0xc1);
}

fn params() -> impl Strategy<Value = DeflateParams> {
    (any::<bool>(), any::<bool>(), 9..=15u8, 9..=15u8).prop_map(|(server, client, s, c)| {
        PARAMS
            .server_no_context_takeover(server)
            .client_no_context_takeover(client)
            .server_max_window_bits(s)
            .client_max_window_bits(c)
    })
}

/// Messages that compress well, badly, and not at all, and refer to each other.
fn payloads() -> impl Strategy<Value = Vec<(Vec<u8>, bool)>> {
    let payload = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..3000),
        (any::<u8>(), 0..100_000usize).prop_map(|(byte, n)| vec![byte; n]),
        ("[a-e ]{0,20}", 0..500usize).prop_map(|(word, n)| word.repeat(n).into_bytes()),
    ];
    proptest::collection::vec((payload, any::<bool>()), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_come_out_as_they_went_in(
        params in params(),
        level in 1..=9u8,
        mem_level in 1..=9u8,
        payloads in payloads(),
        chunk in 1..70_000usize,
    ) {
        let own = Compression::new().level(level).mem_level(mem_level);
        for (sender, receiver) in [(Role::Server, Role::Client), (Role::Client, Role::Server)] {
            let mut outbound = Outbound::new(sender).with_deflate(params, &own);
            for (payload, compress) in &payloads {
                outbound.message(Message::from(payload.clone()).compress(*compress));
            }
            let wire = outbound.take().to_vec();
            let mut inbound = Inbound::new(receiver, Limits::default()).with_deflate(params);
            let (mut input, mut received) = (Vec::new(), Vec::new());
            for chunk in wire.chunks(chunk) {
                input.extend_from_slice(chunk);
                loop {
                    let step = inbound.receive(&mut input).unwrap();
                    input.drain(..step.consumed);
                    match step.event {
                        Some(event) => received.push(event),
                        None => break,
                    }
                }
            }
            let expected: Vec<_> =
                payloads.iter().map(|(payload, _)| Message::from(payload.clone())).collect();
            prop_assert_eq!(messages(received), expected);
        }
    }

    #[test]
    fn random_data_never_panics_and_never_exceeds_the_limit(
        payload in proptest::collection::vec(any::<u8>(), 0..125),
        params in params(),
    ) {
        let limits = Limits::new().message_size(1000);
        let mut inbound = Inbound::new(Role::Server, limits).with_deflate(params);
        if let Ok(events) = receive_all(&mut inbound, frame(0xc2, &payload)) {
            prop_assert!(messages(events).iter().all(|message| message.len() <= 1000));
        }
    }
}
