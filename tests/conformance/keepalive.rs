//! The deadlines of an open connection, on real clocks: every wait is for what the server
//! does when one passes. What happens just before and just after one is tested in the core,
//! where the clock stands still.

use std::{thread, time::Duration};

use axeom_ws::{App, Closed, Options, Ws};
use futures::channel::oneshot;

use super::lifecycle::rest;
use crate::{
    on_every_runtime,
    support::{
        Events, NOWHERE, TestRuntime, TestServer, blocking,
        frame::{self, CLOSE, Frame, PING, PONG, TEXT},
        in_memory_from,
        recorder::{Seen, kind, recorder_with},
    },
};

on_every_runtime!(
    mounted:
    pings_come_as_long_as_they_are_answered,
    a_client_answers_them_by_itself,
    a_silent_peer_is_cut,
    anything_is_an_answer_to_a_ping,
    an_idle_peer_is_closed_with_1001,
    pings_and_pongs_do_not_make_a_peer_less_idle,
    an_old_connection_is_closed_with_1001,
    a_peer_that_takes_nothing_is_cut,
    a_client_that_stops_reading_is_cut,
    a_message_that_is_not_finished_is_closed_with_1008,
    a_peer_that_does_not_answer_a_close_is_cut,
    a_peer_that_does_not_read_a_close_is_cut,
    a_route_may_turn_a_deadline_off;
    alone: a_client_that_reads_slowly_and_steadily_is_not_cut,
    the_kernel_holds_no_more_than_the_unsent_limit,
);

/// Passes soon.
const SOON: Duration = Duration::from_millis(30);
/// Does not pass in a test.
const NEVER: Duration = Duration::from_secs(3600);

async fn pings_come_as_long_as_they_are_answered<R: TestRuntime>() {
    let options = Options::new().ping_interval(SOON).pong_timeout(NEVER);
    let (app, mut events) = recorder_with(options);
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    assert_eq!(events.next().await, Seen::Open);
    for n in 0..4 {
        assert_eq!(raw.frame().await, Frame::new(PING, ""));
        raw.send(frame::masked(PONG, &[n])).await;
        assert_eq!(events.next().await, Seen::Pong(vec![n]));
    }
}

async fn a_client_answers_them_by_itself<R: TestRuntime>() {
    let options = Options::new().ping_interval(SOON).pong_timeout(NEVER);
    let (app, mut events) = recorder_with(options);
    let server = TestServer::start::<R, _>(app).await;
    let mut client = server.connect::<R>("/").await;
    assert_eq!(events.next().await, Seen::Open);
    R::default().spawn(async move { drop(client.closed().await) });
    for _ in 0..4 {
        assert_eq!(events.next().await, Seen::Pong(vec![]));
    }
}

async fn a_silent_peer_is_cut<R: TestRuntime>() {
    let options = Options::new().ping_interval(SOON).pong_timeout(SOON);
    let (app, mut events) = recorder_with(options);
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    assert_eq!(raw.frame().await, Frame::new(PING, ""));
    assert_eq!(raw.try_frame().await, None, "cut, without a close frame");
    let expected = [Seen::Open, Seen::Error("pong timeout"), Seen::close(1006)];
    assert_eq!(rest(&server, &mut events).await, expected);
}

async fn anything_is_an_answer_to_a_ping<R: TestRuntime>() {
    // Long enough for a peer that answers at once, and cut off soon when it stops.
    let options = Options::new().ping_interval(SOON).pong_timeout(Duration::from_millis(500));
    let (app, mut events) = recorder_with(options);
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    let mut pings = 0;
    let answers = [frame::masked(TEXT, b"busy"), frame::masked(PING, b""), vec![0x82]];
    while let Some(frame) = raw.try_frame().await {
        if frame.first == Frame::new(PING, "").first {
            if let Some(answer) = answers.get(pings) {
                raw.send(answer).await;
            }
            pings += 1;
        }
    }
    assert_eq!(pings, 4, "each answer brings another ping");
    let seen = rest(&server, &mut events).await;
    assert_eq!(seen[1], Seen::text("busy"));
    assert_eq!(seen[3..], [Seen::Error("pong timeout"), Seen::close(1006)]);
}

async fn an_idle_peer_is_closed_with_1001<R: TestRuntime>() {
    let (app, mut events) = recorder_with(Options::new().idle_timeout(SOON));
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    assert_eq!(raw.close_code().await, 1001);
    let closed = Seen::Close(1001.into(), "idle".to_owned());
    assert_eq!(rest(&server, &mut events).await, [Seen::Open, closed]);
    let mut client = server.connect::<R>("/").await;
    assert_eq!(client.closed().await, Some((1001, "idle".to_owned())));
}

async fn pings_and_pongs_do_not_make_a_peer_less_idle<R: TestRuntime>() {
    let options = Options::new().idle_timeout(SOON).ping_interval(Duration::from_millis(5));
    let (app, mut events) = recorder_with(options);
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    raw.send(frame::masked(PING, b"")).await;
    let code = loop {
        let frame = raw.frame().await;
        if let Some(code) = frame.close_code() {
            break code;
        }
        // A ping for every pong, a pong for every ping; the server may be closing.
        let answer = if frame.first == Frame::new(PING, "").first { PONG } else { PING };
        raw.try_send(frame::masked(answer, b"")).await;
    };
    assert_eq!(code, 1001);
    raw.try_send(frame::close(1001)).await;
    assert_eq!(raw.read_to_end().await, b"");
    let closed = Seen::Close(1001.into(), "idle".to_owned());
    assert_eq!(rest(&server, &mut events).await.last(), Some(&closed));
}

async fn an_old_connection_is_closed_with_1001<R: TestRuntime>() {
    let (app, mut events) = recorder_with(Options::new().max_lifetime(SOON));
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    // However busy it is.
    let closed = loop {
        raw.try_send(frame::masked(TEXT, b"busy")).await;
        let frame = raw.frame().await;
        if frame != Frame::text("busy") {
            break frame;
        }
    };
    assert_eq!(closed, Frame::new(CLOSE, b"\x03\xe9connection too old"));
    raw.try_send(frame::close(1001)).await;
    assert_eq!(raw.read_to_end().await, b"");
    let closed = Seen::Close(1001.into(), "connection too old".to_owned());
    assert_eq!(rest(&server, &mut events).await.last(), Some(&closed));
}

/// An app that hands out its connections and tells how they end.
fn handed_out(options: Options) -> (App, Events<Ws>, Events<Seen>) {
    let (opened, events) = (Events::new(), Events::new());
    let (open, error, close) = (opened.teller(), events.teller(), events.teller());
    let app = App::new().options(options).ws("/", |route| {
        route
            .open(move |ws: Ws| {
                open(ws);
                async {}
            })
            .error(move |_, error_| {
                error(Seen::Error(kind(&error_)));
                async {}
            })
            .close(move |_, code, reason| {
                close(Seen::Close(code, reason.to_string()));
                async {}
            })
    });
    (app, opened, events)
}

async fn a_peer_that_takes_nothing_is_cut<R: TestRuntime>() {
    let (app, mut opened, mut events) = handed_out(Options::new().write_timeout(SOON));
    let service = app.build().unwrap();
    let mut raw = in_memory_from::<R>(&service, NOWHERE, 64);
    raw.upgrade("/").await;
    let ws = opened.next().await;
    ws.try_send(vec![0; 100_000]).unwrap();
    assert_eq!(ws.send("waits, and is released").await, Err(Closed));
    assert_eq!(events.next().await, Seen::Error("write timeout"));
    assert_eq!(events.next().await, Seen::close(1006));
    assert_eq!(ws.buffered_amount(), 0);
}

async fn a_client_that_stops_reading_is_cut<R: TestRuntime>() {
    let (app, mut opened, mut events) = handed_out(Options::new().write_timeout(SOON));
    let server = TestServer::start::<R, _>(app).await;
    let _raw = server.upgraded::<R>("/").await;
    let ws = opened.next().await;
    while ws.send(vec![0; 256 * 1024]).await.is_ok() {}
    assert_eq!(events.next().await, Seen::Error("write timeout"));
    assert_eq!(events.next().await, Seen::close(1006));
}

async fn a_client_that_reads_slowly_and_steadily_is_not_cut<R: TestRuntime>() {
    // The kernel says that there is room when a third of some MiB is free, which takes a client
    // like this longer than the timeout. On a busy machine it may be kept from reading for a while,
    // but not for as long as that.
    const TIMEOUT: Duration = Duration::from_secs(2);
    const SIZE: usize = 16 << 20;
    let options = Options::new().write_timeout(TIMEOUT).unsent_limit(None);
    let app = App::new().options(options).ws("/", |route| {
        route.open(async |ws| {
            let _ = ws.send(vec![7; SIZE]).await;
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let addr = server.addr;
    let (tell, told) = oneshot::channel();
    thread::spawn(move || {
        let mut stream = blocking::open(addr, "/");
        let received = blocking::read_slowly(&mut stream, TIMEOUT * 3 / 2, SIZE + 10);
        let _ = tell.send(received.len());
    });
    assert_eq!(told.await.unwrap(), SIZE + 10);
}

/// How much the kernel takes for a client that does not read.
async fn taken_by_the_kernel<R: TestRuntime>(options: Options) -> usize {
    let mut opened = Events::new();
    let tell = opened.teller();
    let app = App::new().options(options.send_limit(1 << 20)).ws("/", |route| {
        route.open(move |ws: Ws| {
            tell(ws);
            async {}
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let _peer = server.upgraded::<R>("/").await;
    let ws = opened.next().await;
    let (mut sent, mut full) = (0, 0);
    // Once the queue stays full, the kernel has all that it takes.
    while full < 50 {
        match ws.try_send(vec![0; 100_000]) {
            Ok(_) => (sent, full) = (sent + 100_000, 0),
            Err(_) => {
                full += 1;
                R::default().sleep(Duration::from_millis(1)).await;
            }
        }
    }
    sent - ws.buffered_amount().min(sent)
}

async fn the_kernel_holds_no_more_than_the_unsent_limit<R: TestRuntime>() {
    let unlimited = taken_by_the_kernel::<R>(Options::new().unsent_limit(None)).await;
    let limited = taken_by_the_kernel::<R>(Options::new().unsent_limit(100_000)).await;
    // The rest is on its way to the client, in its receive buffer.
    assert!(limited + (1 << 20) < unlimited, "{limited} and {unlimited} bytes");
}

async fn a_message_that_is_not_finished_is_closed_with_1008<R: TestRuntime>() {
    let (app, mut events) = recorder_with(Options::new().message_timeout(SOON));
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    raw.send(frame::fragment(TEXT, b"and then")).await;
    assert_eq!(raw.close_code().await, 1008);
    let closed = Seen::Close(1008.into(), "message too slow".to_owned());
    assert_eq!(rest(&server, &mut events).await, [Seen::Open, closed]);
}

async fn a_peer_that_does_not_answer_a_close_is_cut<R: TestRuntime>() {
    let (app, mut opened, mut events) = handed_out(Options::new().close_timeout(SOON));
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    opened.next().await.close(4000, "answer me");
    assert_eq!(raw.frame().await.close_code(), Some(4000));
    // Whatever else it says.
    while raw.try_send(frame::masked(TEXT, b"not the answer")).await {}
    assert_eq!(events.next().await, Seen::Error("close timeout"));
    assert_eq!(events.next().await, Seen::close(1006));
}

async fn a_peer_that_does_not_read_a_close_is_cut<R: TestRuntime>() {
    let (app, mut opened, mut events) = handed_out(Options::new().close_timeout(SOON));
    let service = app.build().unwrap();
    for ends in [false, true] {
        let mut raw = in_memory_from::<R>(&service, NOWHERE, 64);
        raw.upgrade("/").await;
        let ws = opened.next().await;
        ws.try_send(vec![0; 1000]).unwrap();
        if ends {
            // It has closed itself, and does not take the answer.
            raw.send(frame::close(1000)).await;
        } else {
            ws.close(4000, "read me");
            assert_eq!(events.next().await, Seen::Error("close timeout"));
        }
        let last = events.next().await;
        assert_eq!(last, Seen::close(if ends { 1000 } else { 1006 }));
    }
}

async fn a_route_may_turn_a_deadline_off<R: TestRuntime>() {
    let mut closes = Events::new();
    let tell = closes.teller();
    let app = App::new()
        .options(Options::new().max_lifetime(SOON).idle_timeout(SOON))
        .ws("/lasting", |route| {
            route.options(Options::new().max_lifetime(None).idle_timeout(None)).message(
                async |ws, msg| {
                    ws.send(msg).await?;
                    Ok(())
                },
            )
        })
        .ws("/passing", |route| {
            route.close(move |_, code, _| {
                tell(code);
                async {}
            })
        });
    let server = TestServer::start::<R, _>(app).await;
    let mut lasting = server.upgraded::<R>("/lasting").await;
    for _ in 0..3 {
        let mut passing = server.upgraded::<R>("/passing").await;
        assert_eq!(passing.close_code().await, 1001);
        assert_eq!(closes.next().await.as_u16(), 1001);
    }
    lasting.send(frame::masked(TEXT, b"still here")).await;
    assert_eq!(lasting.frame().await, Frame::text("still here"));
}
