//! What a peer must not send: each violation with its close code, on the wire and for the
//! handlers, and what they were told before.

use axeom_ws::Options;

use crate::{
    on_every_runtime,
    support::{
        Events, TestRuntime, TestServer,
        frame::{self, BINARY, CLOSE, CONTINUATION, FIN, Frame, MASK, PING, PONG, TEXT},
        in_memory,
        raw::Raw,
        recorder::{Seen, recorder, recorder_with},
    },
};

on_every_runtime!(
    mounted:
    frames_with_a_payload_that_may_not_be_are_refused,
    bad_control_frames_are_refused,
    bad_lengths_are_refused,
    bad_fragments_are_refused,
    close_frames_with_a_bad_body_are_refused,
    a_good_close_frame_is_answered_with_its_code,
    text_that_is_not_utf8_is_refused,
    text_is_refused_as_soon_as_its_bad_byte_arrives,
    a_message_over_the_limit_is_refused_before_its_payload,
    a_huge_announced_length_takes_no_memory,
    too_many_fragments_are_refused,
    nothing_after_a_violation_or_close_frame_counts
);

pub(crate) struct Violated<R> {
    server: TestServer,
    events: Events<Seen>,
    runtime: std::marker::PhantomData<fn() -> R>,
}

impl<R: TestRuntime> Violated<R> {
    pub(crate) async fn start(options: Options) -> Self {
        let (app, events) = recorder_with(options);
        let server = TestServer::start::<R, _>(app).await;
        Self { server, events, runtime: std::marker::PhantomData }
    }

    /// Sends `offending` in one piece, and byte by byte.
    async fn by(&mut self, offending: impl AsRef<[u8]>, code: u16) {
        let offending = offending.as_ref();
        self.whole(offending, code).await;
        self.in_pieces(offending.chunks(1), code).await;
    }

    pub(crate) async fn whole(&mut self, offending: impl AsRef<[u8]>, code: u16) {
        self.in_pieces([offending.as_ref()], code).await;
    }

    /// On a new connection: says something good, then what offends with something good behind it,
    /// and looks at what the peer and the handlers are told.
    pub(crate) async fn in_pieces<'a>(
        &mut self,
        pieces: impl IntoIterator<Item = &'a [u8]>,
        code: u16,
    ) {
        let pieces: Vec<_> = pieces.into_iter().collect();
        let offending = pieces.concat();
        let mut raw = self.server.upgraded::<R>("/").await;
        let (first, others) = pieces.split_first().unwrap();
        raw.send([&frame::masked(TEXT, b"before"), &frame::masked(PING, b"p"), *first].concat())
            .await;
        for piece in others {
            raw.send(piece).await;
        }
        raw.send(frame::masked(TEXT, b"after")).await;
        assert_eq!(raw.frame().await, Frame::text("before"));
        assert_eq!(raw.frame().await, Frame::new(PONG, "p"));
        let close = raw.frame().await;
        assert_eq!(close.close_code(), Some(code), "{offending:02x?}: {close:?}");
        let reason = String::from_utf8(close.payload[2..].to_vec()).unwrap();
        assert!(!reason.is_empty(), "a violation says what it is");
        assert_eq!(raw.read_to_end().await, b"", "nothing follows the close frame");
        drop(raw);
        for expected in [
            Seen::Open,
            Seen::text("before"),
            Seen::Ping(b"p".to_vec()),
            Seen::Error("violation"),
            Seen::Close(code.into(), reason),
        ] {
            assert_eq!(self.events.next().await, expected, "{offending:02x?}");
        }
    }
}

/// Without a payload: see `raw_frames`.
async fn frames_with_a_payload_that_may_not_be_are_refused<R: TestRuntime>() {
    let mut violated = Violated::<R>::start(Options::new()).await;
    for opcode in [3, 7, 0xb, 0xf] {
        violated.by(frame::masked(opcode, b"x"), 1002).await;
    }
    for opcode in [TEXT, BINARY, PING, PONG, CLOSE] {
        violated.by(frame::encode(FIN | 0x40 | opcode, b"x", Some(MASK)), 1002).await;
        violated.by(frame::encode(FIN | opcode, b"hello", None), 1002).await;
    }
}

async fn bad_control_frames_are_refused<R: TestRuntime>() {
    let mut violated = Violated::<R>::start(Options::new()).await;
    for opcode in [PING, PONG, CLOSE] {
        violated.by(frame::fragment(opcode, b""), 1002).await;
        violated.by(frame::fragment(opcode, b"\x03\xe8"), 1002).await;
        violated.by(frame::masked(opcode, &[b'x'; 126]), 1002).await;
        // By the announced length alone.
        violated.by(frame::header(FIN | opcode, 1 << 40, Some(MASK)), 1002).await;
    }
}

/// A header with its length in more bytes than it needs.
fn long_header(first: u8, marker: u8, length: &[u8]) -> Vec<u8> {
    let mut header = vec![first, 0x80 | marker];
    header.extend(length);
    header.extend(MASK);
    header
}

async fn bad_lengths_are_refused<R: TestRuntime>() {
    let mut violated = Violated::<R>::start(Options::new()).await;
    for opcode in [TEXT, BINARY, PING] {
        for length in [0_u16, 5, 125] {
            let header = long_header(FIN | opcode, 126, &length.to_be_bytes());
            violated.by(header, 1002).await;
        }
    }
    for length in [0_u64, 5, 125, 126, 65_535, 1 << 63, u64::MAX] {
        let header = long_header(FIN | BINARY, 127, &length.to_be_bytes());
        violated.by(header, 1002).await;
    }
}

async fn bad_fragments_are_refused<R: TestRuntime>() {
    let mut violated = Violated::<R>::start(Options::new()).await;
    violated.by(frame::masked(CONTINUATION, b"of nothing"), 1002).await;
    violated.by(frame::fragment(CONTINUATION, b"of nothing"), 1002).await;
    for opcode in [TEXT, BINARY] {
        for second in [frame::masked(opcode, b"new"), frame::fragment(opcode, b"new")] {
            violated.by([frame::fragment(TEXT, b"un"), second].concat(), 1002).await;
        }
    }
    let whole = [frame::fragment(TEXT, b""), frame::masked(CONTINUATION, b"\xff")].concat();
    violated.by(whole, 1007).await;
}

async fn close_frames_with_a_bad_body_are_refused<R: TestRuntime>() {
    let mut violated = Violated::<R>::start(Options::new()).await;
    violated.by(frame::masked(CLOSE, b"\x03"), 1002).await;
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        violated.by(frame::close(code), 1002).await;
    }
    violated.by(frame::masked(CLOSE, b"\x03\xe8\xff"), 1007).await;
    violated.by(frame::masked(CLOSE, b"\x03\xe8half a character: \xe2\x82"), 1007).await;
}

async fn a_good_close_frame_is_answered_with_its_code<R: TestRuntime>() {
    let (app, mut events) = recorder();
    let server = TestServer::start::<R, _>(app).await;
    let codes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
    for code in codes.into_iter().chain([3000, 3999, 4000, 4999]) {
        let mut raw = server.upgraded::<R>("/").await;
        let reason = "ü".repeat(61);
        let body = [&u16::to_be_bytes(code)[..], reason.as_bytes()].concat();
        raw.send(frame::masked(CLOSE, &body)).await;
        assert_eq!(raw.frame().await.close_code(), Some(code));
        assert_eq!(raw.try_frame().await, None);
        assert_eq!(events.next().await, Seen::Open);
        assert_eq!(events.next().await, Seen::Close(code.into(), reason));
    }
    let mut raw = server.upgraded::<R>("/").await;
    raw.send(frame::masked(CLOSE, b"")).await;
    assert_eq!(raw.frame().await, Frame::new(CLOSE, ""), "no code is answered with none");
    assert_eq!(raw.try_frame().await, None);
    assert_eq!(events.next().await, Seen::Open);
    assert_eq!(events.next().await, Seen::close(1005));
}

/// Bytes that are not UTF-8, each with how many of them are needed to know.
pub(crate) const NOT_UTF8: [(&[u8], usize); 14] = [
    (b"\x80", 1),
    (b"\xbf", 1),
    (b"\xc0\x80", 1),
    (b"\xc1\xbf", 1),
    (b"\xc3(", 2),
    (b"\xe0\x80\x80", 2),
    (b"\xe0\x9f\xbf", 2),
    (b"\xed\xa0\x80", 2),
    (b"\xe2\x82(", 3),
    (b"\xf0\x80\x80\x80", 2),
    (b"\xf0\x9f\x98(", 4),
    (b"\xf4\x90\x80\x80", 2),
    (b"\xf5\x80\x80\x80", 1),
    (b"\xff", 1),
];

async fn text_that_is_not_utf8_is_refused<R: TestRuntime>() {
    let mut violated = Violated::<R>::start(Options::new()).await;
    for (bytes, _) in NOT_UTF8 {
        violated.by(frame::masked(TEXT, bytes), 1007).await;
        violated
            .by(frame::masked(TEXT, &[b"good, then ", bytes, b" and more"].concat()), 1007)
            .await;
        let (first, rest) = bytes.split_at(1);
        let fragments = [frame::fragment(TEXT, first), frame::masked(CONTINUATION, rest)];
        violated.by(fragments.concat(), 1007).await;
    }
    // A character that is cut where the message ends.
    for cut in [&b"\xc3"[..], b"\xe2\x82", b"\xf0\x9f\x98"] {
        violated.by(frame::masked(TEXT, cut), 1007).await;
        let fragments = [frame::fragment(TEXT, cut), frame::masked(CONTINUATION, b"")];
        violated.by(fragments.concat(), 1007).await;
    }
}

async fn text_is_refused_as_soon_as_its_bad_byte_arrives<R: TestRuntime>() {
    let (app, mut events) = recorder();
    let service = app.build().unwrap();
    // A small frame, one with two bytes of length, and one that is read in place.
    for announced in [100, 1000, 1 << 20] {
        for (bytes, needed) in NOT_UTF8 {
            let mut raw = in_memory::<R>(&service);
            raw.upgrade("/").await;
            let frame = frame::encode(FIN | TEXT, &[b"good ", bytes].concat(), Some(MASK));
            let header = frame::header(FIN | TEXT, announced, Some(MASK));
            let payload = &frame[frame.len() - bytes.len() - 5..];
            raw.send(header).await;
            for byte in &payload[..5 + needed] {
                raw.send([*byte]).await;
            }
            assert_eq!(close_code_of_a_violation(&mut raw).await, 1007, "{bytes:02x?}");
            drop(raw);
            assert_eq!(events.next().await, Seen::Open);
            assert_eq!(events.next().await, Seen::Error("violation"));
            assert!(matches!(events.next().await, Seen::Close(code, _) if code == 1007));
        }
    }
    // In a fragment, with the character begun in the one before.
    let mut raw = in_memory::<R>(&service);
    raw.upgrade("/").await;
    raw.send(frame::fragment(TEXT, b"\xe2\x82")).await;
    raw.send(frame::header(CONTINUATION, 50, Some(MASK))).await;
    raw.send([b'(' ^ MASK[0]]).await;
    assert_eq!(close_code_of_a_violation(&mut raw).await, 1007);
}

async fn close_code_of_a_violation(raw: &mut Raw) -> u16 {
    let close = raw.frame().await;
    close.close_code().unwrap_or_else(|| panic!("{close:?}"))
}

async fn a_message_over_the_limit_is_refused_before_its_payload<R: TestRuntime>() {
    let options = Options::new().max_message_size(1000);
    let mut violated = Violated::<R>::start(options).await;
    violated.by(frame::masked(BINARY, &[0; 1001]), 1009).await;
    for length in [1001, 70_000, 1 << 40, i64::MAX as u64] {
        for opcode in [TEXT, BINARY] {
            violated.by(frame::header(FIN | opcode, length, Some(MASK)), 1009).await;
            violated.by(frame::header(opcode, length, Some(MASK)), 1009).await;
        }
    }
    let mut fragments = frame::fragment(TEXT, &[b'x'; 600]);
    fragments.extend(frame::fragment(CONTINUATION, &[b'x'; 400]));
    fragments.extend(frame::header(CONTINUATION, 1, Some(MASK)));
    violated.by(fragments, 1009).await;
    let mut fragments = frame::fragment(TEXT, b"x");
    fragments.extend(frame::header(CONTINUATION, i64::MAX as u64, Some(MASK)));
    violated.by(fragments, 1009).await;
}

async fn a_huge_announced_length_takes_no_memory<R: TestRuntime>() {
    // Within this limit everything may be announced; who allocates it dies of it.
    let (app, mut events) = recorder_with(Options::new().max_message_size(usize::MAX));
    let server = TestServer::start::<R, _>(app).await;
    for first in [FIN | BINARY, FIN | TEXT, BINARY, TEXT] {
        let mut raw = server.upgraded::<R>("/").await;
        raw.send(frame::header(first, i64::MAX as u64, Some(MASK))).await;
        // Zeros, once unmasked.
        raw.send(MASK.repeat(25_000)).await;
        raw.shutdown().await;
        assert_eq!(raw.read_to_end().await, b"");
        assert_eq!(events.next().await, Seen::Open);
        assert_eq!(events.next().await, Seen::Error("io"));
        assert_eq!(events.next().await, Seen::close(1006));
    }
}

async fn too_many_fragments_are_refused<R: TestRuntime>() {
    let mut violated = Violated::<R>::start(Options::new().max_fragments(4)).await;
    for payload in [&b""[..], b"x"] {
        let mut fragments = frame::fragment(TEXT, payload);
        for _ in 0..3 {
            fragments.extend(frame::fragment(CONTINUATION, payload));
        }
        // By its header alone.
        fragments.extend(frame::header(CONTINUATION, 100, Some(MASK)));
        violated.by(fragments, 1008).await;
    }
}

async fn nothing_after_a_violation_or_close_frame_counts<R: TestRuntime>() {
    let (app, mut events) = recorder();
    let server = TestServer::start::<R, _>(app).await;
    for (last, code) in [(frame::close(4000), 4000), (frame::masked(3, b""), 1002)] {
        let mut raw = server.upgraded::<R>("/").await;
        raw.send([last, frame::masked(PING, b"?"), frame::close(4001)].concat()).await;
        assert_eq!(raw.close_code().await, code);
        drop(raw);
        assert_eq!(events.next().await, Seen::Open);
        let next = match events.next().await {
            Seen::Error(_) => events.next().await,
            next => next,
        };
        assert!(matches!(next, Seen::Close(seen, _) if seen == code), "{next:?}");
    }
}
