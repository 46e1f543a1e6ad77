//! permessage-deflate (RFC 7692) over the wire: what is agreed on, what is sent, and what
//! a peer may not send.

use async_tungstenite::tungstenite;
use axeom_ws::{App, AppError, Compression, Message, Options, Ws};

use crate::{
    handshake::assert_refused,
    on_every_runtime,
    support::{
        Events, TestRuntime, TestServer, chain,
        deflate::{Codec, compress},
        frame::{self, BINARY, CLOSE, CONTINUATION, FIN, Frame, MASK, PING, PONG, TEXT},
        raw::Raw,
        recorder::{Seen, recorder_with},
        request::Request,
    },
};

on_every_runtime!(
    mounted over http1:
    nothing_is_compressed_by_default,
    the_first_usable_offer_is_answered,
    the_answer_names_only_what_was_offered,
    an_unusable_offer_is_declined,
    messages_are_compressed_from_the_threshold_on,
    a_message_may_decide_for_itself,
    a_compressed_message_may_come_in_fragments,
    a_client_may_refer_to_its_earlier_messages,
    a_client_that_agreed_not_to_may_not,
    a_server_refers_to_its_earlier_messages_only_if_told_to,
    a_client_may_send_some_messages_as_they_are,
    rsv1_where_it_has_no_meaning_is_refused,
    what_does_not_decompress_is_refused,
    compressed_text_that_is_not_utf8_is_refused,
    a_message_over_the_limit_once_decompressed_is_refused,
    a_published_message_reaches_all_kinds_of_subscribers,
    a_client_without_compression_still_works,
    a_route_has_the_last_word;
    alone: broken_syntax_is_refused,
);

const RSV1: u8 = 0x40;
const DEFLATE: &str = "permessage-deflate";

/// An echo with permessage-deflate.
fn echo(compression: Compression) -> App {
    App::new().options(Options::new().compression(compression)).ws("/*", |route| {
        route.message(async |ws, msg| {
            let _ = ws.send(msg).await;
        })
    })
}

/// A peer after a handshake with this offer, and the answer to it.
async fn offering<R: TestRuntime>(
    server: &TestServer,
    path: &str,
    offer: &str,
) -> (Raw, Option<String>) {
    let mut raw = server.raw::<R>().await;
    raw.send(Request::get(path).and(format!("Sec-WebSocket-Extensions: {offer}")).text()).await;
    let response = raw.head().await;
    assert_eq!(response.status, 101, "{offer}: {response:?}");
    (raw, response.header("sec-websocket-extensions").map(str::to_owned))
}

async fn agreeing<R: TestRuntime>(server: &TestServer, offer: &str) -> Raw {
    let (raw, answer) = offering::<R>(server, "/", offer).await;
    assert!(answer.is_some(), "{offer} was declined");
    raw
}

async fn answer<R: TestRuntime>(compression: Compression, offer: &str) -> Option<String> {
    let server = TestServer::start::<R, _>(echo(compression)).await;
    offering::<R>(&server, "/", offer).await.1
}

fn compressed(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame::encode(FIN | RSV1 | opcode, payload, Some(MASK))
}

fn noise(len: usize) -> Vec<u8> {
    let mut seed = 1u32;
    let next = || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

async fn nothing_is_compressed_by_default<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(crate::messages::echo()).await;
    let (mut raw, answer) = offering::<R>(&server, "/", DEFLATE).await;
    assert_eq!(answer, None);
    let text = "a".repeat(5000);
    raw.send(frame::masked(TEXT, text.as_bytes())).await;
    assert_eq!(raw.frame().await, Frame::text(&text));
    raw.send(compressed(TEXT, &compress(b"Hello"))).await;
    assert_eq!(raw.close_code().await, 1002);
}

async fn the_first_usable_offer_is_answered<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(echo(Compression::new())).await;
    let params = "client_no_context_takeover; server_max_window_bits=10";
    for (offer, expected) in [
        (format!("{DEFLATE}; {params}, {DEFLATE}"), format!("{DEFLATE}; {params}")),
        (format!("{DEFLATE}, {DEFLATE}; {params}"), DEFLATE.to_owned()),
        (format!("x-snappy; level=1, {DEFLATE}"), DEFLATE.to_owned()),
        // zlib cannot work with a window of 8 bits.
        (
            format!("{DEFLATE}; server_max_window_bits=8, {DEFLATE}; server_max_window_bits=9"),
            format!("{DEFLATE}; server_max_window_bits=9"),
        ),
        (format!("{DEFLATE}; client_max_window_bits=8, {DEFLATE}"), DEFLATE.to_owned()),
        // In lines of their own.
        (
            format!("x-snappy\r\nSec-WebSocket-Extensions: {DEFLATE}; server_max_window_bits=11"),
            format!("{DEFLATE}; server_max_window_bits=11"),
        ),
    ] {
        let (mut raw, answer) = offering::<R>(&server, "/", &offer).await;
        assert_eq!(answer.as_deref().map(sorted), Some(sorted(&expected)), "{offer}");
        raw.send(compressed(TEXT, &compress(b"Hello"))).await;
        assert_eq!(raw.frame().await, Frame::text("Hello"));
    }
}

/// An extension with its parameters in an order that does not depend on who wrote it.
fn sorted(extension: &str) -> Vec<&str> {
    let mut parts: Vec<_> = extension.split(';').map(str::trim).collect();
    parts[1..].sort_unstable();
    parts
}

async fn the_answer_names_only_what_was_offered<R: TestRuntime>() {
    let params = [
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits=12",
        "client_max_window_bits",
    ];
    let small = Compression::new().server_max_window_bits(10).client_max_window_bits(11);
    let kept = small.server_context_takeover(true);
    for compression in [Compression::new(), small, kept, kept.client_context_takeover(false)] {
        let server = TestServer::start::<R, _>(echo(compression)).await;
        for chosen in 0..1 << params.len() {
            let offered: Vec<_> =
                (0..params.len()).filter(|i| chosen >> i & 1 == 1).map(|i| params[i]).collect();
            let offer = [&[DEFLATE], &offered[..]].concat().join("; ");
            let answer = offering::<R>(&server, "/", &offer).await.1.unwrap();
            let mut names = answer.split("; ").map(|part| part.split('=').next().unwrap());
            assert_eq!(names.next(), Some(DEFLATE));
            for name in names {
                // What a server may ask for unasked (RFC 7692 §7.1.1.2).
                let unasked = name == "client_no_context_takeover";
                let asked = offered.iter().any(|param| param.split('=').next() == Some(name));
                assert!(asked || unasked, "{offer:?} is answered {answer:?}");
            }
            for asked in offered.iter().filter(|param| !param.starts_with("client_max")) {
                let name = asked.split('=').next().unwrap();
                assert!(answer.contains(name), "{offer:?} is answered {answer:?}");
            }
        }
    }
    let offer = format!("{DEFLATE}; client_max_window_bits; server_max_window_bits=12");
    assert_eq!(
        answer::<R>(small, &offer).await.as_deref().map(sorted),
        Some(sorted("permessage-deflate; client_max_window_bits=11; server_max_window_bits=10"))
    );
    let own = Compression::new().client_context_takeover(false);
    assert_eq!(
        answer::<R>(own, DEFLATE).await.as_deref(),
        Some("permessage-deflate; client_no_context_takeover")
    );
}

async fn an_unusable_offer_is_declined<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(echo(Compression::new())).await;
    for params in [
        "server_max_window_bits=8",
        "client_max_window_bits=8",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "client_max_window_bits=16",
        "client_max_window_bits=015",
        "client_max_window_bits=x",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits=9; server_max_window_bits=9",
        "client_max_window_bits; client_max_window_bits=9",
        "mux",
    ] {
        let offer = format!("{DEFLATE}; {params}");
        let (mut raw, answer) = offering::<R>(&server, "/", &offer).await;
        assert_eq!(answer, None, "{offer}");
        // And so there is no compression.
        let text = "a".repeat(5000);
        raw.send(frame::masked(TEXT, text.as_bytes())).await;
        assert_eq!(raw.frame().await, Frame::text(&text), "{offer}");
        let both = format!("{offer}, {DEFLATE}");
        assert_eq!(offering::<R>(&server, "/", &both).await.1.as_deref(), Some(DEFLATE), "{both}");
    }
    for other in ["x-webkit-deflate-frame", "permessage-bzip2", "permessage-deflate2"] {
        assert_eq!(offering::<R>(&server, "/", other).await.1, None, "{other}");
    }
}

async fn broken_syntax_is_refused<R: TestRuntime>() {
    for app in [echo(Compression::new()), crate::messages::echo()] {
        let server = TestServer::start::<R, _>(app).await;
        for broken in [
            "permessage-deflate;",
            "permessage-deflate; =9",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=\"9",
            "permessage-deflate; server_max_window_bits=\"\"",
            "permessage-deflate server_no_context_takeover",
            "permessage-deflate=1",
            "permessage-deflate, x;;y",
            "(permessage-deflate)",
        ] {
            let request = Request::get("/").and(format!("Sec-WebSocket-Extensions: {broken}"));
            let response = server.raw::<R>().await.ask(&request).await;
            assert_refused(&response, 400, &broken);
        }
    }
}

async fn messages_are_compressed_from_the_threshold_on<R: TestRuntime>() {
    for threshold in [0, 1, 100, 1024, 70_000] {
        let server = TestServer::start::<R, _>(echo(Compression::new().threshold(threshold))).await;
        let mut raw = agreeing::<R>(&server, DEFLATE).await;
        // Each message on its own: by default the server does not refer to those before.
        for size in [64.max(threshold), 200.max(threshold + 1), 100_000] {
            let text = "a".repeat(size);
            raw.send(frame::masked(TEXT, text.as_bytes())).await;
            let frame = raw.frame().await;
            assert_eq!(frame.first, FIN | RSV1 | TEXT, "{size} of {threshold}");
            assert!(frame.payload.len() < size / 2, "{} of {size}", frame.payload.len());
            assert_eq!(Codec::new(15, 15).decompress(&frame.payload), text.as_bytes());
        }
        for size in [0, threshold / 2, threshold.saturating_sub(1)] {
            if size < threshold {
                let bytes = vec![7; size];
                raw.send(frame::masked(BINARY, &bytes)).await;
                assert_eq!(raw.frame().await, Frame::new(BINARY, bytes), "{size} of {threshold}");
            }
        }
        // What would not get any smaller is sent as it is.
        let noise = noise(80_000);
        raw.send(frame::masked(BINARY, &noise)).await;
        assert_eq!(raw.frame().await, Frame::new(BINARY, noise));
    }
}

async fn a_message_may_decide_for_itself<R: TestRuntime>() {
    let app = App::new().options(Options::new().compression(Compression::new())).ws("/", |route| {
        route.open(async |ws: Ws| {
            let (short, long) = (Message::from("short"), Message::from("long ".repeat(1000)));
            ws.subscribe("all");
            let _ = ws.send(short.clone()).await;
            let _ = ws.send(short.clone().compress(true)).await;
            let _ = ws.send(long.clone()).await;
            let _ = ws.send(long.clone().compress(false)).await;
            let _ = ws.try_send(short.clone().compress(true));
            let _ = ws.try_send(long.clone().compress(false));
            ws.publish_to_all("all", short.clone());
            ws.publish_to_all("all", short.clone().compress(true));
            ws.publish_to_all("all", long.clone());
            ws.publish_to_all("all", long.clone().compress(false));
            let _ = ws.send(Message::from("").compress(true)).await;
            let _ = ws.send(Message::from(noise(3000)).compress(true)).await;
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let handle = server.handle.clone();
    let long = "long ".repeat(1000);
    let (short, long) = (b"short".to_vec(), long.into_bytes());
    let mut raw = agreeing::<R>(&server, DEFLATE).await;
    for (opcode, compressed, expected) in [
        (TEXT, false, &short),
        (TEXT, true, &short),
        (TEXT, true, &long),
        (TEXT, false, &long),
        (TEXT, true, &short),
        (TEXT, false, &long),
        (TEXT, false, &short),
        (TEXT, true, &short),
        (TEXT, true, &long),
        (TEXT, false, &long),
        (TEXT, true, &vec![]),
        (BINARY, true, &noise(3000)),
    ] {
        expect(&mut raw, &mut Codec::new(15, 15), opcode, compressed, expected).await;
    }
    assert_eq!(handle.publish("all", Message::from("short").compress(true)), 1);
    expect(&mut raw, &mut Codec::new(15, 15), TEXT, true, &short).await;
    // Who has not agreed on it never gets a compressed one.
    let mut plain = server.upgraded::<R>("/").await;
    for expected in [&short, &short, &long, &long, &short, &long] {
        let frame = plain.frame().await;
        assert_eq!(frame, Frame::new(TEXT, expected.clone()));
    }
}

/// The next frame is this message.
async fn expect(raw: &mut Raw, codec: &mut Codec, opcode: u8, compressed: bool, expected: &[u8]) {
    let frame = raw.frame().await;
    let (first, payload) = if compressed {
        (FIN | RSV1 | opcode, codec.decompress(&frame.payload))
    } else {
        (FIN | opcode, frame.payload)
    };
    assert_eq!(frame.first, first, "{:?}", String::from_utf8_lossy(expected));
    assert!(payload == expected, "{} bytes instead of {}", payload.len(), expected.len());
}

async fn a_compressed_message_may_come_in_fragments<R: TestRuntime>() {
    let (app, mut events) = recorder_with(Options::new().compression(Compression::new()));
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = agreeing::<R>(&server, DEFLATE).await;
    assert_eq!(events.next().await, Seen::Open);
    let text = "in several pieces ".repeat(20);
    let payload = compress(text.as_bytes());
    let mut codec = Codec::new(15, 15);
    // Cut anywhere, also where nothing is left for one of them.
    for cut in 0..=payload.len() {
        let (first, rest) = payload.split_at(cut);
        // Each refers to nothing before it.
        raw.send(frame::encode(RSV1 | TEXT, first, Some(MASK))).await;
        raw.send(frame::masked(PING, b"between")).await;
        assert_eq!(raw.frame().await, Frame::new(PONG, "between"));
        raw.send(frame::fragment(CONTINUATION, b"")).await;
        raw.send(frame::masked(CONTINUATION, rest)).await;
        assert_eq!(events.next().await, Seen::Ping(b"between".to_vec()));
        assert_eq!(events.next().await, Seen::text(&text));
        expect(&mut raw, &mut codec, TEXT, false, text.as_bytes()).await;
    }
}

async fn a_client_may_refer_to_its_earlier_messages<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(echo(Compression::new().threshold(1 << 20))).await;
    // A window as large as there is, and one that is far smaller than the messages.
    for (offer, bits) in [(DEFLATE, 15), ("permessage-deflate; client_max_window_bits=9", 9)] {
        let mut raw = agreeing::<R>(&server, offer).await;
        let mut codec = Codec::new(bits, 15);
        // Does not compress at first.
        let secret = noise(150);
        let first = codec.compress(&secret);
        raw.send(compressed(BINARY, &first)).await;
        assert_eq!(raw.frame().await, Frame::new(BINARY, secret.clone()));
        for n in 0..5 {
            let again = codec.compress(&secret);
            assert!(again.len() < first.len() / 4, "{} of {}", again.len(), first.len());
            raw.send(compressed(BINARY, &again)).await;
            assert_eq!(raw.frame().await, Frame::new(BINARY, secret.clone()), "{n}");
            let large = [&noise(40_000)[..], b"!".repeat(n * 1000).as_slice(), &secret].concat();
            raw.send(compressed(BINARY, &codec.compress(&large))).await;
            assert_eq!(raw.frame().await, Frame::new(BINARY, large), "{n}");
        }
    }
}

async fn a_client_that_agreed_not_to_may_not<R: TestRuntime>() {
    let app = echo(Compression::new().client_context_takeover(false));
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = agreeing::<R>(&server, DEFLATE).await;
    let mut codec = Codec::new(15, 15);
    let secret = noise(300);
    for (payload, ends) in [
        (compress(&secret), false),
        (compress(&secret), false),
        (codec.compress(&secret), false),
        (codec.compress(&secret), true),
    ] {
        raw.send(compressed(BINARY, &payload)).await;
        if ends {
            assert_eq!(raw.close_code().await, 1007);
        } else {
            assert_eq!(raw.frame().await, Frame::new(BINARY, secret.clone()));
        }
    }
}

async fn a_server_refers_to_its_earlier_messages_only_if_told_to<R: TestRuntime>() {
    let takeover = Compression::new().threshold(0).server_context_takeover(true);
    for (compression, offer, smaller) in [
        (Compression::new().threshold(0), DEFLATE, false),
        (takeover, DEFLATE, true),
        (takeover, "permessage-deflate; server_no_context_takeover", false),
        (takeover, "permessage-deflate; server_max_window_bits=10", true),
    ] {
        let server = TestServer::start::<R, _>(echo(compression)).await;
        let mut raw = agreeing::<R>(&server, offer).await;
        let bits = if offer.ends_with("10") { 10 } else { 15 };
        let mut codec = Codec::new(15, bits);
        let text = "The quick brown fox jumps over the lazy dog, and back again to where it was";
        let mut sizes = Vec::new();
        for _ in 0..4 {
            raw.send(frame::masked(TEXT, text.as_bytes())).await;
            let frame = raw.frame().await;
            assert_eq!(frame.first, FIN | RSV1 | TEXT);
            let received = match smaller {
                true => codec.decompress(&frame.payload),
                false => Codec::new(15, bits).decompress(&frame.payload),
            };
            assert_eq!(received, text.as_bytes());
            sizes.push(frame.payload.len());
        }
        for size in &sizes[1..] {
            assert_eq!(*size < sizes[0] / 4, smaller, "{offer}: {sizes:?}");
        }
        // No further back than the window.
        let large = [&noise(5000)[..], &noise(5000)].concat();
        raw.send(frame::masked(BINARY, &large)).await;
        let frame = raw.frame().await;
        if smaller {
            assert!(codec.decompress(&frame.payload) == large);
        }
        assert_eq!(frame.payload.len() < large.len() * 3 / 4, bits == 15, "{offer}");
    }
}

async fn a_client_may_send_some_messages_as_they_are<R: TestRuntime>() {
    let (app, mut events) = recorder_with(Options::new().compression(Compression::new()));
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = agreeing::<R>(&server, DEFLATE).await;
    let mut codec = Codec::new(15, 15);
    assert_eq!(events.next().await, Seen::Open);
    for n in 0..10 {
        let text = format!("number {n}");
        let frame = match n % 3 {
            0 => frame::masked(TEXT, text.as_bytes()),
            _ => compressed(TEXT, &codec.compress(text.as_bytes())),
        };
        raw.send(frame).await;
        assert_eq!(events.next().await, Seen::text(&text));
    }
}

/// On a new connection that has agreed on compression: a good message, then `offending`,
/// which ends the connection with `code`.
async fn refused<R: TestRuntime>(
    server: &TestServer,
    events: &mut Events<Seen>,
    offending: Vec<u8>,
    code: u16,
) {
    let mut raw = agreeing::<R>(server, DEFLATE).await;
    raw.send([compressed(TEXT, &compress(b"before")), offending].concat()).await;
    assert_eq!(raw.frame().await, Frame::text("before"));
    let close = raw.frame().await;
    assert_eq!(close.close_code(), Some(code), "{close:?}");
    let reason = String::from_utf8(close.payload[2..].to_vec()).unwrap();
    assert_eq!(raw.read_to_end().await, b"", "nothing follows the close frame");
    drop(raw);
    for expected in [
        Seen::Open,
        Seen::text("before"),
        Seen::Error("violation"),
        Seen::Close(code.into(), reason),
    ] {
        assert_eq!(events.next().await, expected);
    }
}

async fn rsv1_where_it_has_no_meaning_is_refused<R: TestRuntime>() {
    let (app, mut events) = recorder_with(Options::new().compression(Compression::new()));
    let server = TestServer::start::<R, _>(app).await;
    let hello = compress(b"Hello");
    let begun = frame::encode(RSV1 | TEXT, &hello[..3], Some(MASK));
    for offending in [
        compressed(PING, b""),
        compressed(PONG, b"x"),
        compressed(CLOSE, &1000u16.to_be_bytes()),
        compressed(CONTINUATION, &hello),
        [begun.clone(), compressed(CONTINUATION, &hello[3..])].concat(),
        [frame::fragment(TEXT, b"plain"), compressed(CONTINUATION, &hello)].concat(),
        frame::encode(FIN | 0x20 | TEXT, &hello, Some(MASK)),
        frame::encode(FIN | 0x10 | TEXT, &hello, Some(MASK)),
        frame::encode(FIN | 0x60 | TEXT, &hello, Some(MASK)),
    ] {
        refused::<R>(&server, &mut events, offending, 1002).await;
    }
}

async fn what_does_not_decompress_is_refused<R: TestRuntime>() {
    let (app, mut events) = recorder_with(Options::new().compression(Compression::new()));
    let server = TestServer::start::<R, _>(app).await;
    let payload = compress("a message that is made of words, and words of letters".as_bytes());
    let corrupt = {
        // A block of the type that does not exist.
        let mut payload = payload.clone();
        payload[0] |= 0x06;
        payload
    };
    for offending in [
        corrupt,
        // Cut.
        payload[..payload.len() - 1].to_vec(),
        payload[..payload.len() / 2].to_vec(),
        vec![],
        // Something that is no deflate data behind it.
        [&payload[..], &[0xff; 4]].concat(),
        // A reference to before the beginning.
        [0x02, 0x80, 0x00].to_vec(),
    ] {
        for first in [TEXT, BINARY] {
            refused::<R>(&server, &mut events, compressed(first, &offending), 1007).await;
        }
        let (first, rest) = offending.split_at(offending.len() / 2);
        let fragments =
            [frame::encode(RSV1 | BINARY, first, Some(MASK)), frame::masked(CONTINUATION, rest)];
        refused::<R>(&server, &mut events, fragments.concat(), 1007).await;
    }
}

async fn compressed_text_that_is_not_utf8_is_refused<R: TestRuntime>() {
    let (app, mut events) = recorder_with(Options::new().compression(Compression::new()));
    let server = TestServer::start::<R, _>(app).await;
    for text in [
        &b"\xff"[..],
        b"good \xc0\xaf",
        b"surrogate \xed\xa0\x80",
        b"cut \xf0\x9f\x98",
        &[&b"far "[..], &b"x".repeat(100_000), b"\x80"].concat(),
    ] {
        let payload = compress(text);
        refused::<R>(&server, &mut events, compressed(TEXT, &payload), 1007).await;
        let (first, rest) = payload.split_at(payload.len() / 2);
        let fragments =
            [frame::encode(RSV1 | TEXT, first, Some(MASK)), frame::masked(CONTINUATION, rest)];
        refused::<R>(&server, &mut events, fragments.concat(), 1007).await;
    }
    // Cut within a character, between fragments: good.
    let text = "ä€💡".repeat(50);
    let payload = compress(text.as_bytes());
    let mut raw = agreeing::<R>(&server, DEFLATE).await;
    let (first, rest) = payload.split_at(payload.len() / 2);
    raw.send(frame::encode(RSV1 | TEXT, first, Some(MASK))).await;
    raw.send(frame::masked(CONTINUATION, rest)).await;
    assert_eq!(raw.frame().await, Frame::text(&text));
}

async fn a_message_over_the_limit_once_decompressed_is_refused<R: TestRuntime>() {
    const LIMIT: usize = 4 << 20;
    const BOMB: usize = 3 << 30;
    let options = Options::new().max_message_size(LIMIT).compression(Compression::new());
    let (app, mut events) = recorder_with(options);
    let server = TestServer::start::<R, _>(app).await;

    let mut raw = agreeing::<R>(&server, DEFLATE).await;
    raw.send(compressed(BINARY, &compress(&vec![0; LIMIT]))).await;
    expect(&mut raw, &mut Codec::new(15, 15), BINARY, true, &vec![0; LIMIT]).await;
    raw.send(compressed(BINARY, &compress(&vec![0; LIMIT + 1]))).await;
    assert_eq!(raw.close_code().await, 1009);
    drop(raw);
    for expected in ["open", "message", "violation", "close"] {
        let seen = events.next().await;
        let is_it = match &seen {
            Seen::Open => expected == "open",
            Seen::Message(message) => expected == "message" && message.len() == LIMIT,
            Seen::Error(kind) => expected == *kind,
            Seen::Close(code, _) => expected == "close" && *code == 1009,
            _ => false,
        };
        assert!(is_it, "expected {expected}");
    }

    // Whole blocks, which may follow each other any number of times.
    let block = [compress(&vec![0; 1 << 20]), vec![0, 0, 0xff, 0xff]].concat();
    let bomb = [block.repeat(BOMB >> 20), vec![0]].concat();
    assert!(bomb.len() < BOMB / 900, "{} bytes", bomb.len());
    let (first, rest) = bomb.split_at(bomb.len() / 2);
    let fragments =
        [frame::encode(RSV1 | TEXT, first, Some(MASK)), frame::masked(CONTINUATION, rest)];
    for offending in [compressed(BINARY, &bomb), fragments.concat()] {
        refused::<R>(&server, &mut events, offending, 1009).await;
    }
    // All other tests together take less than a bomb that goes off.
    let peak = peak_memory();
    assert!(peak < BOMB / 2, "{} MiB for messages of up to {}", peak >> 20, LIMIT >> 20);
}

/// The most memory this process ever had, in bytes; 0 where it is not known.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kib.unwrap_or(0) * 1024
}

async fn a_published_message_reaches_all_kinds_of_subscribers<R: TestRuntime>() {
    let member = async |ws: Ws| {
        ws.subscribe("news");
        let _ = ws.send("in").await;
    };
    let kept = Compression::new().server_context_takeover(true);
    let app = App::new()
        .options(Options::new().compression(Compression::new()))
        .ws("/", move |route| route.open(member))
        .ws("/kept", move |route| route.open(member).options(Options::new().compression(kept)))
        .ws("/off", move |route| route.open(member).options(Options::new().compression(None)));
    let server = TestServer::start::<R, _>(app).await;

    let mut clients = vec![server.connect::<R>("/").await, server.connect::<R>("/kept").await];
    for client in &mut clients {
        assert_eq!(client.recv_text().await, "in");
    }
    // Where, the offer, the server's window, and whether it keeps its context.
    let mut peers = Vec::new();
    for (path, offer, bits, keeps) in [
        ("/", DEFLATE, Some(15), false),
        ("/", DEFLATE, Some(15), false),
        ("/", "permessage-deflate; server_max_window_bits=9", Some(9), false),
        ("/", "permessage-deflate; server_max_window_bits=12", Some(12), false),
        ("/", "permessage-deflate; server_max_window_bits=8", None, false),
        ("/kept", DEFLATE, Some(15), true),
        ("/kept", "permessage-deflate; server_no_context_takeover", Some(15), false),
        ("/kept", "permessage-deflate; server_max_window_bits=10", Some(10), true),
        ("/off", DEFLATE, None, false),
    ] {
        let (mut raw, answer) = offering::<R>(&server, path, offer).await;
        assert_eq!(answer.is_some(), bits.is_some(), "{path} {offer}");
        assert_eq!(raw.frame().await, Frame::text("in"));
        peers.push((raw, bits, keeps, Codec::new(15, bits.unwrap_or(15))));
    }
    let everyone = clients.len() + peers.len();
    for n in 0..6 {
        // Repeats itself at a distance that the small windows do not reach.
        let letters = |byte: u8| char::from(b"acgt"[usize::from(byte % 4)]);
        let gene: String = noise(3000 + n).into_iter().map(letters).collect();
        let text = gene.repeat(n + 2);
        assert_eq!(server.handle.publish("news", text.clone()), everyone);
        let small = format!("small {n}");
        assert_eq!(server.handle.publish("news", small.clone()), everyone);
        for client in &mut clients {
            assert_eq!(client.recv_text().await, text);
            assert_eq!(client.recv_text().await, small);
        }
        let mut alike = Vec::new();
        for (raw, bits, keeps, codec) in &mut peers {
            let frame = raw.frame().await;
            let Some(bits) = *bits else {
                assert_eq!(frame, Frame::text(&text));
                assert_eq!(raw.frame().await, Frame::text(&small));
                continue;
            };
            assert_eq!(frame.first, FIN | RSV1 | TEXT);
            let reaches = gene.len() < 1 << bits;
            assert_eq!(frame.payload.len() < text.len() / 5, reaches, "{bits} bits");
            let received = match keeps {
                true => codec.decompress(&frame.payload),
                false => Codec::new(15, bits).decompress(&frame.payload),
            };
            assert!(received == text.as_bytes(), "{bits} bits, keeping its context: {keeps}");
            if bits == 15 && !*keeps {
                alike.push(frame.payload);
            }
            assert_eq!(raw.frame().await, Frame::text(&small));
        }
        assert_eq!(alike.len(), 3);
        assert!(alike.windows(2).all(|two| two[0] == two[1]));
    }
}

async fn a_client_without_compression_still_works<R: TestRuntime>() {
    let app = App::new().options(Options::new().compression(Compression::new().threshold(0)));
    let app = app.ws("/*", |route| {
        route.message(async |ws: Ws, msg: Message| {
            let _ = ws.send(msg.clone()).await;
            let _ = ws.send(msg.compress(true)).await;
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let (mut client, response) = server.request::<R>("/", &[]).await.unwrap();
    assert!(!response.headers().contains_key("sec-websocket-extensions"));
    for size in [0, 5, 2000, 100_000] {
        let text = "é".repeat(size);
        client.send(text.clone()).await;
        for _ in 0..2 {
            assert_eq!(client.recv().await, tungstenite::Message::from(text.clone()));
        }
    }
    assert_eq!(client.close(1000, "done").await, Some((1000, "done".to_owned())));
}

async fn a_route_has_the_last_word<R: TestRuntime>() {
    let on = |bits| Options::new().compression(Compression::new().client_max_window_bits(bits));
    let off = || Options::new().compression(None);
    let app = App::new()
        .options(on(14))
        .ws("/as-the-app", |route| route.message(async |_, _| {}))
        .ws("/other", move |route| route.message(async |_, _| {}).options(on(10)))
        .ws("/off", move |route| route.message(async |_, _| {}).options(off()))
        .ws("/about-else", |route| {
            route.message(async |_, _| {}).options(Options::new().max_message_size(10))
        })
        .group("/group", move |group| {
            group
                .options(off())
                .ws("/", |route| route.message(async |_, _| {}))
                .ws("/on", move |route| route.message(async |_, _| {}).options(on(9)))
        });
    let server = TestServer::start::<R, _>(app).await;
    for (path, bits) in [
        ("/as-the-app", Some(14)),
        ("/other", Some(10)),
        ("/off", None),
        ("/about-else", Some(14)),
        ("/group", None),
        ("/group/on", Some(9)),
    ] {
        let offer = "permessage-deflate; client_max_window_bits";
        let (_, answer) = offering::<R>(&server, path, offer).await;
        let expected =
            bits.map(|bits| format!("permessage-deflate; client_max_window_bits={bits}"));
        assert_eq!(answer, expected, "{path}");
    }
}

#[test]
fn values_that_cannot_be_are_errors_when_the_app_is_built() {
    let new = Compression::new;
    for (compression, says) in [
        (new().level(0), "compression.level is 0"),
        (new().level(10), "compression.level is 10"),
        (new().mem_level(0), "compression.mem_level is 0"),
        (new().mem_level(10), "compression.mem_level is 10"),
        (new().server_max_window_bits(8), "compression.server_max_window_bits is 8"),
        (new().server_max_window_bits(16), "compression.server_max_window_bits is 16"),
        (new().client_max_window_bits(8), "compression.client_max_window_bits is 8"),
        (new().client_max_window_bits(16), "compression.client_max_window_bits is 16"),
    ] {
        let error = echo(compression).build().unwrap_err();
        assert!(matches!(&error, AppError::Option { path, .. } if path == "/*"), "{error:?}");
        assert!(chain(&error).contains(says), "{error:?}");
    }
    for compression in [
        new().level(1).mem_level(1).server_max_window_bits(9).client_max_window_bits(9),
        new().level(9).mem_level(9).server_max_window_bits(15).client_max_window_bits(15),
    ] {
        assert!(echo(compression).build().is_ok());
    }
}
