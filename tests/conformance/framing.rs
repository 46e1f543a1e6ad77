//! Frames as bytes: how messages are put together, and control frames between.

use axeom_ws::{App, Message, Options};
use futures::{FutureExt, channel::oneshot};

use crate::{
    on_every_runtime,
    support::{
        TestRuntime, TestServer,
        frame::{self, BINARY, CONTINUATION, FIN, Frame, MASK, PING, PONG, TEXT},
        in_memory,
        raw::Raw,
        recorder::{Seen, recorder, recorder_with},
    },
};

on_every_runtime!(
    mounted:
    a_message_may_come_in_fragments,
    control_frames_may_come_between_fragments,
    empty_fragments_are_fragments,
    a_message_may_be_cut_anywhere,
    text_may_be_cut_within_a_character,
    frames_that_come_at_once_are_answered_in_order,
    every_mask_is_taken_off,
    a_ping_is_answered_with_its_payload,
    ten_pings_get_ten_pongs_in_order,
    a_ping_is_answered_while_a_handler_is_busy,
    an_unasked_pong_is_seen_and_not_answered,
    a_message_of_exactly_the_limit_is_taken,
    the_default_limits_are_those_of_the_documentation
);

async fn peer<R: TestRuntime>() -> (TestServer, Raw) {
    let server = TestServer::start::<R, _>(recorder().0).await;
    let raw = server.upgraded::<R>("/").await;
    (server, raw)
}

async fn a_message_may_come_in_fragments<R: TestRuntime>() {
    let (_server, mut raw) = peer::<R>().await;
    raw.send(frame::fragment(TEXT, b"one ")).await;
    raw.send(frame::fragment(CONTINUATION, b"two ")).await;
    raw.send(frame::masked(CONTINUATION, b"three")).await;
    assert_eq!(raw.frame().await, Frame::text("one two three"));
    raw.send(frame::fragment(BINARY, b"\xff")).await;
    raw.send(frame::masked(CONTINUATION, b"\xfe")).await;
    assert_eq!(raw.frame().await, Frame::new(BINARY, b"\xff\xfe"));
}

async fn control_frames_may_come_between_fragments<R: TestRuntime>() {
    let (app, mut events) = recorder();
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    raw.send(frame::fragment(TEXT, b"be")).await;
    raw.send(frame::masked(PING, b"1")).await;
    assert_eq!(raw.frame().await, Frame::new(PONG, "1"), "before the message is whole");
    raw.send(frame::fragment(CONTINUATION, b"")).await;
    raw.send(frame::masked(PONG, b"2")).await;
    raw.send(frame::masked(PING, b"3")).await;
    raw.send(frame::masked(CONTINUATION, b"tween")).await;
    assert_eq!(raw.frame().await, Frame::new(PONG, "3"));
    assert_eq!(raw.frame().await, Frame::text("between"));
    for expected in [
        Seen::Open,
        Seen::Ping(b"1".to_vec()),
        Seen::Pong(b"2".to_vec()),
        Seen::Ping(b"3".to_vec()),
        Seen::text("between"),
    ] {
        assert_eq!(events.next().await, expected);
    }
    // The close frame may come between as well; the message is never told.
    raw.send(frame::fragment(TEXT, b"never")).await;
    raw.send(frame::close(1000)).await;
    assert_eq!(raw.close_code().await, 1000);
    assert_eq!(events.next().await, Seen::close(1000));
}

async fn empty_fragments_are_fragments<R: TestRuntime>() {
    let (_server, mut raw) = peer::<R>().await;
    raw.send(frame::fragment(TEXT, b"")).await;
    raw.send(frame::masked(CONTINUATION, b"")).await;
    assert_eq!(raw.frame().await, Frame::text(""));
    raw.send(frame::fragment(TEXT, b"")).await;
    raw.send(frame::fragment(CONTINUATION, b"a")).await;
    raw.send(frame::masked(CONTINUATION, b"")).await;
    assert_eq!(raw.frame().await, Frame::text("a"));
    raw.send(frame::masked(BINARY, b"")).await;
    assert_eq!(raw.frame().await, Frame::new(BINARY, ""));
}

async fn a_message_may_be_cut_anywhere<R: TestRuntime>() {
    let service = recorder().0.build().unwrap();
    let mut bytes = frame::fragment(TEXT, "grüße, ".as_bytes());
    bytes.extend(frame::masked(PING, b"ping"));
    bytes.extend(frame::masked(CONTINUATION, "世界".as_bytes()));
    bytes.extend(frame::masked(BINARY, &[7; 130]));
    let mut peer = in_memory::<R>(&service);
    peer.upgrade("/").await;
    for cut in 1..bytes.len() {
        peer.send(&bytes[..cut]).await;
        peer.send(&bytes[cut..]).await;
        assert_eq!(peer.frame().await, Frame::new(PONG, "ping"), "cut at {cut}");
        assert_eq!(peer.frame().await, Frame::text("grüße, 世界"), "cut at {cut}");
        assert_eq!(peer.frame().await, Frame::new(BINARY, [7; 130]), "cut at {cut}");
    }
}

async fn text_may_be_cut_within_a_character<R: TestRuntime>() {
    let (_server, mut raw) = peer::<R>().await;
    let text = "aé€😀z";
    for cut in 0..=text.len() {
        let (first, second) = text.as_bytes().split_at(cut);
        raw.send(frame::fragment(TEXT, first)).await;
        raw.send(frame::fragment(CONTINUATION, b"")).await;
        raw.send(frame::masked(CONTINUATION, second)).await;
        assert_eq!(raw.frame().await, Frame::text(text), "cut at {cut}");
    }
    let (last, rest) = text.as_bytes().split_last().unwrap();
    raw.send(frame::fragment(TEXT, b"")).await;
    for byte in rest {
        raw.send(frame::fragment(CONTINUATION, &[*byte])).await;
    }
    raw.send(frame::masked(CONTINUATION, &[*last])).await;
    assert_eq!(raw.frame().await, Frame::text(text));
}

async fn frames_that_come_at_once_are_answered_in_order<R: TestRuntime>() {
    let (_server, mut raw) = peer::<R>().await;
    let texts = (0..1000).map(|n| "x".repeat(n % 200) + &n.to_string());
    let texts: Vec<_> = texts.collect();
    let bytes: Vec<_> =
        texts.iter().flat_map(|text| frame::masked(TEXT, text.as_bytes())).collect();
    raw.send(bytes).await;
    for text in texts {
        assert_eq!(raw.frame().await, Frame::text(&text));
    }
}

async fn every_mask_is_taken_off<R: TestRuntime>() {
    let (_server, mut raw) = peer::<R>().await;
    let payload: Vec<u8> = (0..=255).cycle().take(1000).collect();
    for mask in [[0; 4], [0xff; 4], MASK, [1, 2, 3, 4], [0, 0, 0, 1]] {
        for length in [1, 2, 3, 4, 5, 31, 32, 33, 126, 1000] {
            let payload = &payload[..length];
            raw.send(frame::encode(FIN | BINARY, payload, Some(mask))).await;
            assert_eq!(raw.frame().await, Frame::new(BINARY, payload), "{mask:?}");
        }
    }
}

async fn a_ping_is_answered_with_its_payload<R: TestRuntime>() {
    let (app, mut events) = recorder();
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    assert_eq!(events.next().await, Seen::Open);
    for payload in [&b""[..], b"hello", b"\xff\x00", &[7; 125]] {
        raw.send(frame::masked(PING, payload)).await;
        assert_eq!(raw.frame().await, Frame::new(PONG, payload));
        assert_eq!(events.next().await, Seen::Ping(payload.to_vec()));
    }
}

async fn ten_pings_get_ten_pongs_in_order<R: TestRuntime>() {
    let (_server, mut raw) = peer::<R>().await;
    let pings: Vec<_> = (0..10).flat_map(|n| frame::masked(PING, &[n])).collect();
    raw.send(pings).await;
    for n in 0..10 {
        assert_eq!(raw.frame().await, Frame::new(PONG, [n]));
    }
}

async fn a_ping_is_answered_while_a_handler_is_busy<R: TestRuntime>() {
    let (release, gate) = oneshot::channel::<()>();
    let gate = gate.map(drop).shared();
    let app = App::new().ws("/", |route| {
        route.message(move |ws, msg| {
            let gate = gate.clone();
            async move {
                gate.await;
                let _ = ws.send(msg).await;
            }
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    raw.send(frame::masked(TEXT, b"slow")).await;
    for n in 0..3 {
        raw.send(frame::masked(PING, &[n])).await;
        assert_eq!(raw.frame().await, Frame::new(PONG, [n]));
    }
    release.send(()).unwrap();
    assert_eq!(raw.frame().await, Frame::text("slow"));
}

async fn an_unasked_pong_is_seen_and_not_answered<R: TestRuntime>() {
    let (app, mut events) = recorder();
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    raw.send(frame::masked(PONG, b"unasked")).await;
    raw.send(frame::masked(TEXT, b"next")).await;
    assert_eq!(raw.frame().await, Frame::text("next"));
    assert_eq!(events.next().await, Seen::Open);
    assert_eq!(events.next().await, Seen::Pong(b"unasked".to_vec()));
}

async fn a_message_of_exactly_the_limit_is_taken<R: TestRuntime>() {
    let (app, _events) = recorder_with(Options::new().max_message_size(1000).max_fragments(3));
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    // Each message counts from zero.
    for _ in 0..3 {
        raw.send(frame::masked(BINARY, &[1; 1000])).await;
        assert_eq!(raw.frame().await, Frame::new(BINARY, [1; 1000]));
        raw.send(frame::fragment(BINARY, &[2; 999])).await;
        raw.send(frame::fragment(CONTINUATION, b"")).await;
        raw.send(frame::masked(PING, &[0; 125])).await;
        raw.send(frame::masked(CONTINUATION, &[2])).await;
        assert_eq!(raw.frame().await, Frame::new(PONG, [0; 125]));
        assert_eq!(raw.frame().await, Frame::new(BINARY, [2; 1000]));
    }
}

async fn the_default_limits_are_those_of_the_documentation<R: TestRuntime>() {
    let app = App::new().ws("/", |route| {
        route.message(async |ws, msg: Message| {
            let _ = ws.send(msg.len().to_string()).await;
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    let (size, fragments) = (16 * 1024 * 1024, 16 * 1024);
    raw.send(frame::masked(BINARY, &vec![1; size])).await;
    assert_eq!(raw.frame().await, Frame::text(&size.to_string()));
    let mut bytes = frame::fragment(BINARY, b"");
    for _ in 2..fragments {
        bytes.extend(frame::fragment(CONTINUATION, b""));
    }
    bytes.extend(frame::masked(CONTINUATION, b"x"));
    raw.send(&bytes).await;
    assert_eq!(raw.frame().await, Frame::text("1"));
    // One more of each.
    let end = bytes.len() - frame::masked(CONTINUATION, b"x").len();
    bytes.truncate(end);
    bytes.extend(frame::fragment(CONTINUATION, b""));
    bytes.extend(frame::masked(CONTINUATION, b"x"));
    raw.send(&bytes).await;
    assert_eq!(raw.close_code().await, 1008);
    let mut raw = server.upgraded::<R>("/").await;
    raw.send(frame::header(FIN | BINARY, size as u64 + 1, Some(MASK))).await;
    assert_eq!(raw.close_code().await, 1009);
}
