use axeom_ws_core::{
    Compression, DeflateParams, Event, Message,
    protocol::{Inbound, Limits, Outbound, Role, Violation},
};

use crate::{
    frame::{self, BINARY, FIN, MASK, TEXT},
    input::Input,
    receive::receive,
};

const RSV1: u8 = 0x40;

/// How much is compressed, which is more than a window. More takes too long to run.
const MOST_BYTES: usize = 40_000;

/// What is no good deflate stream is refused, no output is over the limit, and what one side
/// compresses the other reads.
pub fn inflate(data: &[u8]) {
    let mut input = Input::new(data);
    let (flags, bits) = (input.byte(), input.byte());
    let params = DeflateParams::new()
        .client_no_context_takeover(flags & 1 != 0)
        .server_no_context_takeover(flags & 2 != 0)
        .client_max_window_bits(9 + bits % 7)
        .server_max_window_bits(9 + bits / 7 % 7);
    let own = Compression::new().level(1 + flags / 4 % 9).mem_level(1 + bits / 49 % 9);
    let cuts = input.cuts();
    let mut payloads = Vec::new();
    let mut size = 0;
    while !input.is_empty() && size < MOST_BYTES {
        let kind = input.byte();
        let payload = match kind & 0xc0 {
            // Longer than the input could be.
            0xc0 => {
                let mut long = input.piece().repeat(input.size());
                long.truncate(MOST_BYTES);
                long
            }
            _ => input.piece().to_vec(),
        };
        size += payload.len();
        payloads.push((kind, payload));
    }
    hostile(params, &payloads, &cuts);
    for (sender, receiver) in [(Role::Server, Role::Client), (Role::Client, Role::Server)] {
        round_trip(params, &own, &payloads, &cuts, sender, receiver);
    }
}

/// The payloads are what a client says is compressed.
fn hostile(params: DeflateParams, payloads: &[(u8, Vec<u8>)], cuts: &[usize]) {
    let frames = payloads.iter().map(|(kind, payload)| {
        let opcode = if kind & 1 == 0 { TEXT } else { BINARY };
        frame::encode(FIN | RSV1 | opcode, payload, Some(MASK))
    });
    let bytes = frames.collect::<Vec<_>>().concat();
    for message_size in [100, 100_000] {
        let limits = Limits::new().message_size(message_size);
        let inbound = || Inbound::new(Role::Server, limits).with_deflate(params);
        let whole = receive(inbound(), limits, &bytes, &[], false);
        assert_eq!(receive(inbound(), limits, &bytes, cuts, true), whole);
        assert!(matches!(
            whole.1,
            None | Some(
                Violation::BadDeflate | Violation::InvalidUtf8 | Violation::MessageTooBig { .. }
            )
        ));
    }
}

/// The payloads are messages, some of which are compressed.
fn round_trip(
    params: DeflateParams,
    own: &Compression,
    payloads: &[(u8, Vec<u8>)],
    cuts: &[usize],
    sender: Role,
    receiver: Role,
) {
    let mut outbound = Outbound::new(sender).with_deflate(params, own);
    let mut sent = Vec::new();
    for (kind, payload) in payloads {
        let message = match std::str::from_utf8(payload) {
            Ok(text) if kind & 1 == 0 => Message::from(text),
            _ => Message::from(payload.clone()),
        };
        outbound.message(message.clone().compress(kind & 2 == 0));
        sent.push(Event::Message(message));
    }
    let limits = Limits::default();
    let inbound = Inbound::new(receiver, limits).with_deflate(params);
    let bytes = outbound.take().to_vec();
    assert_eq!(receive(inbound, limits, &bytes, cuts, true), (sent, None));
}
