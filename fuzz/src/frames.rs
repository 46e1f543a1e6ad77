use axeom_ws_core::{
    DeflateParams,
    protocol::{Inbound, Limits, Role},
};

use crate::{frame::MASK, input::Input, receive::receive};

/// Any way of cutting the bytes of a peer gives the same events and the same violation, and never
/// is more held than the limits say: `receive` checks that.
pub fn frames(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.byte();
    let flag = |bit: u8| flags & 1 << bit != 0;
    let role = if flag(0) { Role::Client } else { Role::Server };
    let message_size = [1, 125, 1000, 66_000, 1 << 20, usize::MAX, 0, 5000];
    let limits = Limits::new()
        .message_size(message_size[usize::from(flags >> 5)])
        .fragments(if flag(1) { 3 } else { 100 });
    let inbound = || {
        let params = DeflateParams::new()
            .client_no_context_takeover(flag(3))
            .server_no_context_takeover(flag(3));
        let inbound = Inbound::new(role, limits);
        if flag(2) { inbound.with_deflate(params) } else { inbound }
    };
    let direct = flag(4);
    let cuts = input.cuts();
    let bytes = input.wire((role == Role::Server).then_some(MASK));

    let whole = receive(inbound(), limits, &bytes, &[], false);
    assert_eq!(receive(inbound(), limits, &bytes, &cuts, direct), whole);
    let by_thousands: Vec<_> = (0..bytes.len()).step_by(1000).collect();
    assert_eq!(receive(inbound(), limits, &bytes, &by_thousands, direct), whole);
    if bytes.len() < 5000 {
        let by_ones: Vec<_> = (0..bytes.len()).collect();
        assert_eq!(receive(inbound(), limits, &bytes, &by_ones, direct), whole);
    }
}
