//! The receiving half of the engine, given its bytes in pieces. The fuzz targets use this too.

use axeom_ws_core::{
    Event,
    protocol::{Inbound, Limits, Violation},
};

/// What an engine made of its input: the events, and the violation that ended them.
pub(crate) type Outcome = (Vec<Event>, Option<Violation>);

/// The most bytes that an engine leaves to be passed again: a control frame but for one byte.
const MOST_LEFT: usize = 14 + 125 - 1;

/// Receives `bytes` cut at these places, by itself or, where it offers room, straight into
/// that. `limits` are those of the engine.
pub(crate) fn receive(
    mut inbound: Inbound,
    limits: Limits,
    bytes: &[u8],
    cuts: &[usize],
    direct: bool,
) -> Outcome {
    let mut events = Vec::new();
    let mut input: Vec<u8> = Vec::new();
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    for mut piece in cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]) {
        while direct && input.is_empty() && !piece.is_empty() {
            let Some(mut room) = inbound.split_room() else { break };
            let n = room.capacity().min(piece.len());
            assert!(n > 0, "no room in the room");
            assert!(n <= limits.message_size, "room for {n} bytes");
            room.extend_from_slice(&piece[..n]);
            piece = &piece[n..];
            match inbound.join_room(room) {
                Ok(event) => events.extend(event),
                Err(violation) => return (events, Some(violation)),
            }
        }
        input.extend(piece);
        let mut at = 0;
        loop {
            match inbound.receive(&mut input[at..]) {
                Ok(received) => {
                    at += received.consumed;
                    let Some(event) = received.event else { break };
                    if let Event::Message(message) = &event {
                        assert!(message.len() <= limits.message_size, "{} bytes", message.len());
                    }
                    events.push(event);
                }
                Err(violation) => return (events, Some(violation)),
            }
        }
        input.drain(..at);
        assert!(input.len() <= MOST_LEFT, "{} bytes are left", input.len());
        assert!(inbound.held() <= limits.message_size, "{} bytes are held", inbound.held());
    }
    (events, None)
}
