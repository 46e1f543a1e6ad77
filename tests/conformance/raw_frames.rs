//! Frames as bytes on the wire in every form that they can have, floods of them, and conversations
//! that break off at every byte: what a peer is told, what the handlers see, that every `open` has
//! its one `close`, and that the next client is served as if nothing had been.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use axeom_ws::{App, CloseCode, Message, Options, Ws};
use socket2::SockRef;

use super::{
    raw_requests::works,
    violations::{NOT_UTF8, Violated},
};
use crate::{
    on_every_runtime,
    support::{
        Events, TestRuntime, TestServer,
        frame::{self, CLOSE, CONTINUATION, FIN, Frame, MASK, PING, PONG, TEXT},
        recorder::{Seen, kind, recorder},
        request::Request,
        until,
    },
};

on_every_runtime!(
    mounted over http1:
    every_first_byte_has_its_answer,
    every_first_byte_has_its_answer_within_a_message,
    text_that_is_not_utf8_is_refused_however_it_is_cut,
    a_million_empty_fragments_are_refused_at_the_limit,
    a_peer_that_pings_and_never_reads_is_still_served;
    // hyper may drop a request whose client ends its direction right behind it.
    alone: a_conversation_may_end_at_every_byte,
    a_conversation_may_be_reset_at_every_byte,
);

/// What follows from a frame with an empty payload.
#[derive(Debug, PartialEq)]
enum Answer {
    Echo,
    Pong,
    /// The peer's close frame is answered.
    Closed,
    /// Nothing: the frame is a pong, or part of a message.
    Nothing,
    Violation,
}

/// What RFC 6455 §5 says of a frame with this first byte, with a mask or without, when a message
/// has begun or not.
fn answer(first: u8, masked: bool, within: bool) -> Answer {
    let (fin, opcode) = (first & FIN != 0, first & 0x0f);
    if !masked || first & 0x70 != 0 {
        return Answer::Violation;
    }
    match (opcode, fin, within) {
        (0, true, true) | (1 | 2, true, false) => Answer::Echo,
        (0, false, true) | (1 | 2, false, false) | (10, true, _) => Answer::Nothing,
        (8, true, _) => Answer::Closed,
        (9, true, _) => Answer::Pong,
        _ => Answer::Violation,
    }
}

/// Sends every first byte with and without a mask, each on a connection of its own, behind these
/// bytes.
async fn every_first_byte<R: TestRuntime>(before: &[u8]) {
    let within = !before.is_empty();
    let mut violated = Violated::<R>::start(Options::new()).await;
    let echo = TestServer::start::<R, _>(recorder().0).await;
    for first in 0..=255 {
        for mask in [Some(MASK), None] {
            let answer = answer(first, mask.is_some(), within);
            let bytes = [before, &frame::encode(first, b"", mask)].concat();
            if answer == Answer::Violation {
                violated.whole(bytes, 1002).await;
                continue;
            }
            let mut raw = echo.upgraded::<R>("/").await;
            raw.send(bytes).await;
            match answer {
                Answer::Echo if first == FIN | frame::BINARY => {
                    assert_eq!(raw.frame().await, Frame::new(frame::BINARY, ""));
                }
                Answer::Echo => assert_eq!(raw.frame().await, Frame::text("")),
                Answer::Pong => assert_eq!(raw.frame().await, Frame::new(PONG, "")),
                Answer::Closed => {
                    assert_eq!(raw.frame().await, Frame::new(CLOSE, ""));
                    assert_eq!(raw.try_frame().await, None);
                    continue;
                }
                Answer::Nothing | Answer::Violation => {}
            }
            raw.send(frame::close(1000)).await;
            assert_eq!(raw.close_code().await, 1000, "{first:#x}");
        }
    }
    works(&mut echo.upgraded::<R>("/").await).await;
    until(|| echo.handle.connections() == 0).await;
}

async fn every_first_byte_has_its_answer<R: TestRuntime>() {
    every_first_byte::<R>(b"").await;
}

async fn every_first_byte_has_its_answer_within_a_message<R: TestRuntime>() {
    every_first_byte::<R>(&frame::fragment(TEXT, b"")).await;
}

/// The text in two frames, cut here.
fn in_two_frames(text: &[u8], cut: usize) -> Vec<u8> {
    let (first, second) = text.split_at(cut);
    [frame::fragment(TEXT, first), frame::masked(CONTINUATION, second)].concat()
}

async fn text_that_is_not_utf8_is_refused_however_it_is_cut<R: TestRuntime>() {
    let mut violated = Violated::<R>::start(Options::new()).await;
    for (bad, _) in NOT_UTF8 {
        let text = ["é€".as_bytes(), bad, "😀".as_bytes()].concat();
        for cut in 0..=text.len() {
            violated.whole(in_two_frames(&text, cut), 1007).await;
        }
        let frame = frame::masked(TEXT, &text);
        for cut in 1..frame.len() {
            violated.in_pieces([&frame[..cut], &frame[cut..]], 1007).await;
        }
    }
}

async fn a_million_empty_fragments_are_refused_at_the_limit<R: TestRuntime>() {
    let (app, mut events) = recorder();
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    let fragments = frame::fragment(CONTINUATION, b"").repeat(10_000);
    raw.send(frame::fragment(TEXT, b"")).await;
    for sent in 1..=100 {
        // What comes after the 16 384 that may be is read and dropped, and then no longer read.
        if !raw.try_send(&fragments).await {
            assert!(sent > 1, "refused before the limit");
            break;
        }
    }
    assert_eq!(raw.frame().await.close_code(), Some(1008));
    drop(raw);
    assert_eq!(events.next().await, Seen::Open);
    assert_eq!(events.next().await, Seen::Error("violation"));
    assert!(matches!(events.next().await, Seen::Close(code, _) if code == 1008));
    works(&mut server.upgraded::<R>("/").await).await;
}

async fn a_peer_that_pings_and_never_reads_is_still_served<R: TestRuntime>() {
    // More than the sockets of both sides hold of the answers.
    const PINGS: u32 = 200_000;
    let app = App::new().ws("/*", |route| {
        route.message(async |ws, msg| {
            let _ = ws.send(msg).await;
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    let ping = |n: u32| {
        let mut payload = [0; 125];
        payload[..4].copy_from_slice(&n.to_be_bytes());
        frame::masked(PING, &payload)
    };
    for batch in 0..PINGS / 1000 {
        raw.send((batch * 1000..(batch + 1) * 1000).flat_map(ping).collect::<Vec<_>>()).await;
    }
    // Meanwhile another is served.
    works(&mut server.upgraded::<R>("/").await).await;
    raw.send(frame::masked(TEXT, b"and?")).await;
    let (mut last, mut echoed, mut pongs) = (None, false, 0);
    while last != Some(PINGS - 1) || !echoed {
        let frame = raw.frame().await;
        if frame == Frame::text("and?") {
            echoed = true;
            continue;
        }
        assert_eq!(frame.first, FIN | PONG);
        let n = u32::from_be_bytes(*frame.payload.first_chunk().unwrap());
        assert!(last < Some(n), "{n} behind {last:?}");
        last = Some(n);
        pongs += 1;
    }
    assert!(pongs < PINGS, "the answers of a peer that does not read were kept");
    raw.send(frame::close(1000)).await;
    assert_eq!(raw.close_code().await, 1000);
    until(|| server.handle.connections() == 0).await;
}

/// What a handler saw, and on which path.
type Told = (String, Seen);

/// An echo that tells on which path it saw what.
fn teller() -> (App, Events<Told>) {
    let events = Events::new();
    let tell = || {
        let tell = events.teller();
        move |ws: &Ws, seen| tell((ws.uri().path().to_owned(), seen))
    };
    let (open, message, ping, error, close) = (tell(), tell(), tell(), tell(), tell());
    let app = App::new().ws("/*", |route| {
        route
            .open(move |ws: Ws| {
                open(&ws, Seen::Open);
                async {}
            })
            .message(move |ws: Ws, msg: Message| {
                message(&ws, Seen::Message(msg.clone()));
                async move {
                    let _ = ws.send(msg).await;
                }
            })
            .ping(move |ws: Ws, payload| {
                ping(&ws, Seen::Ping(payload.to_vec()));
                async {}
            })
            .error(move |ws: Ws, error_| {
                error(&ws, Seen::Error(kind(&error_)));
                async {}
            })
            .close(move |ws: Ws, code, reason| {
                close(&ws, Seen::Close(code, reason.to_string()));
                async {}
            })
    });
    (app, events)
}

/// A whole conversation, and what handlers see of its parts, each with how many bytes it takes.
struct Conversation {
    bytes: Vec<u8>,
    parts: Vec<(usize, Seen)>,
}

fn conversation(path: &str) -> Conversation {
    let fragments = [frame::fragment(TEXT, b"in "), frame::masked(CONTINUATION, b"pieces")];
    let mut bytes = Vec::new();
    let parts = [
        (Request::get(path).text().into_bytes(), Seen::Open),
        (frame::masked(TEXT, b"hello"), Seen::text("hello")),
        (frame::masked(PING, b"there?"), Seen::Ping(b"there?".to_vec())),
        (fragments.concat(), Seen::text("in pieces")),
        (frame::close(1000), Seen::close(1000)),
    ];
    let parts = parts.map(|(part, seen)| {
        bytes.extend(part);
        (bytes.len(), seen)
    });
    Conversation { bytes, parts: parts.into() }
}

impl Conversation {
    fn path(cut: usize) -> String {
        format!("/{cut:04}")
    }

    /// What handlers see of the first bytes.
    fn seen(&self, bytes: usize) -> Vec<Seen> {
        let parts = self.parts.iter().take_while(|(end, _)| *end <= bytes);
        parts.map(|(_, seen)| seen.clone()).collect()
    }
}

fn is_close(seen: &Seen) -> bool {
    matches!(seen, Seen::Close(..))
}

const LOST: [Seen; 2] = [Seen::Error("io"), Seen::Close(CloseCode::ABNORMAL, String::new())];

async fn a_conversation_may_end_at_every_byte<R: TestRuntime>() {
    let (app, mut events) = teller();
    let server = TestServer::start::<R, _>(app).await;
    for cut in 0..=conversation("/0000").bytes.len() {
        let path = Conversation::path(cut);
        let conversation = conversation(&path);
        let mut raw = server.raw::<R>().await;
        raw.send(&conversation.bytes[..cut]).await;
        raw.shutdown().await;
        // The server ends its direction too, and answers everything that was whole before.
        let answered = raw.read_to_end().await;
        let mut expected = conversation.seen(cut);
        assert_eq!(answered.is_empty(), expected.is_empty(), "{path}");
        if expected.last().is_some_and(|last| !is_close(last)) {
            expected.extend(LOST);
        }
        for seen in expected {
            assert_eq!(events.next().await, (path.clone(), seen));
        }
        until(|| server.handle.connections() == 0).await;
    }
    works(&mut server.upgraded::<R>("/").await).await;
}

/// Sends these bytes, and resets the connection.
fn reset_after(addr: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(bytes).unwrap();
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

async fn a_conversation_may_be_reset_at_every_byte<R: TestRuntime>() {
    let (app, mut events) = teller();
    let mut server = TestServer::start::<R, _>(app).await;
    let length = conversation("/0000").bytes.len();
    for cut in 0..=length {
        reset_after(server.addr, &conversation(&Conversation::path(cut)).bytes[..cut]);
    }
    works(&mut server.upgraded::<R>("/works").await).await;
    // With the server every connection is over, also those that it had not looked at yet.
    server.handle.shutdown();
    (&mut server.ended).await.unwrap().unwrap();
    assert_eq!(server.handle.connections(), 0);
    let told = events.rest();
    for cut in 0..=length {
        let path = Conversation::path(cut);
        let seen: Vec<_> =
            told.iter().filter(|(on, _)| *on == path).map(|(_, seen)| seen).collect();
        // The reset may overtake what was sent before it.
        let Some((close, before)) = seen.split_last() else { continue };
        assert!(is_close(close), "{path}: {seen:?}");
        let whole = conversation(&path).seen(cut);
        let before: Vec<_> = before.iter().filter(|seen| !matches!(seen, Seen::Error(_))).collect();
        assert!(before.len() <= whole.len(), "{path}: {seen:?}");
        assert!(before.iter().zip(&whole).all(|(seen, whole)| **seen == whole), "{path}: {seen:?}");
    }
    let count = |of: fn(&Seen) -> bool| told.iter().filter(|(_, seen)| of(seen)).count();
    assert_eq!(count(|seen| *seen == Seen::Open), count(is_close));
}
