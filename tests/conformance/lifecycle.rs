//! The life of a connection: its events in order, and `close` exactly once for every way
//! in which it may end.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axeom_ws::{App, CloseCode, Closed, Options, TrySendError, Ws};
use futures::{FutureExt, channel::oneshot};

use super::messages::echo;
use crate::{
    on_every_runtime,
    support::{
        Events, TestRuntime, TestServer,
        frame::{self, BINARY, CLOSE, Frame, PING, TEXT},
        raw::Raw,
        recorder::{Seen, kind, recorder},
        request::Request,
        until, yield_now,
    },
};

on_every_runtime!(
    mounted over http1:
    events_come_in_order_and_one_at_a_time,
    open_ends_before_the_first_message_begins,
    the_peer_may_close_with_a_code_and_without,
    the_server_may_close,
    a_close_reaches_the_peer_while_a_handler_is_busy,
    what_is_queued_goes_out_before_the_close_frame,
    messages_after_a_local_close_are_dropped,
    messages_before_the_peers_close_are_answered,
    messages_before_the_end_of_the_stream_are_answered,
    terminate_cuts_the_connection,
    a_connection_that_is_cut_or_reset_is_abnormal,
    a_peer_that_never_answers_the_close_frame_is_cut,
    the_first_close_counts,
    a_code_that_may_not_be_sent_becomes_1011,
    any_task_may_send,
    a_handle_outlives_its_connection
);

/// All that is left to be seen once a server has no connection any more.
pub(crate) async fn rest(server: &TestServer, events: &mut Events<Seen>) -> Vec<Seen> {
    until(|| server.handle.connections() == 0).await;
    events.rest()
}

async fn events_come_in_order_and_one_at_a_time<R: TestRuntime>() {
    let mut events = Events::new();
    let busy = Arc::new(AtomicBool::new(false));
    let tell = events.teller();
    let handle = move |event: String| {
        let (busy, tell) = (Arc::clone(&busy), tell.clone());
        async move {
            assert!(!busy.swap(true, Ordering::SeqCst), "{event} came into another event");
            for _ in 0..3 {
                yield_now().await;
            }
            tell(event);
            busy.store(false, Ordering::SeqCst);
        }
    };
    let on = [(); 5].map(|()| handle.clone());
    let [open, message, ping, pong, close] = on;
    let app = App::new().ws("/", |route| {
        route
            .open(move |_| open("open".to_owned()))
            .message(move |_, msg| message(msg.to_string()))
            .ping(move |_, payload| ping(format!("ping {payload:?}")))
            .pong(move |_, payload| pong(format!("pong {payload:?}")))
            .close(move |_, code, _| close(format!("close {code}")))
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    let mut bytes = Vec::new();
    let mut expected = vec!["open".to_owned()];
    for n in 0..100_u8 {
        let payload = n.to_string();
        bytes.extend(frame::masked(TEXT, payload.as_bytes()));
        bytes.extend(frame::masked(PING, payload.as_bytes()));
        bytes.extend(frame::masked(frame::PONG, payload.as_bytes()));
        expected.extend([n.to_string(), format!("ping b\"{n}\""), format!("pong b\"{n}\"")]);
    }
    bytes.extend(frame::close(1000));
    expected.push("close 1000".to_owned());
    raw.send(bytes).await;
    for expected in expected {
        assert_eq!(events.next().await, expected);
    }
}

async fn open_ends_before_the_first_message_begins<R: TestRuntime>() {
    let (release, gate) = oneshot::channel::<()>();
    let gate = gate.map(drop).shared();
    let mut events = Events::new();
    let (open, message) = (events.teller(), events.teller());
    let app = App::new().ws("/", |route| {
        route
            .open(move |_| {
                let (gate, open) = (gate.clone(), open.clone());
                async move {
                    open("open begins");
                    gate.await;
                    open("open ends");
                }
            })
            .message(move |_, _| {
                message("message");
                async {}
            })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.raw::<R>().await;
    let mut bytes = Request::get("/").text().into_bytes();
    bytes.extend(frame::masked(TEXT, b"early"));
    bytes.extend(frame::masked(PING, b"p"));
    raw.send(bytes).await;
    assert_eq!(events.next().await, "open begins");
    // The server has read past the message by now.
    raw.head().await;
    assert_eq!(raw.frame().await, Frame::new(frame::PONG, "p"));
    assert!(events.rest().is_empty());
    release.send(()).unwrap();
    assert_eq!(events.next().await, "open ends");
    assert_eq!(events.next().await, "message");
}

async fn the_peer_may_close_with_a_code_and_without<R: TestRuntime>() {
    let (app, mut events) = recorder();
    let server = TestServer::start::<R, _>(app).await;
    for (body, code, reason) in
        [(&b"\x03\xe8"[..], 1000, ""), (b"\x0f\xa1done", 4001, "done"), (b"", 1005, "")]
    {
        let mut raw = server.upgraded::<R>("/").await;
        raw.send(frame::masked(CLOSE, body)).await;
        assert_eq!(raw.frame().await.payload, body, "the answer repeats the code");
        assert_eq!(raw.try_frame().await, None, "the server ends the connection");
        let expected = [Seen::Open, Seen::Close(code.into(), reason.to_owned())];
        assert_eq!(rest(&server, &mut events).await, expected);
    }
    let mut client = server.connect::<R>("/").await;
    assert_eq!(client.close(4002, "bye").await, Some((4002, "bye".to_owned())));
    let expected = [Seen::Open, Seen::Close(4002.into(), "bye".to_owned())];
    assert_eq!(rest(&server, &mut events).await, expected);
}

/// An app whose messages are commands to the handler, told as they come.
fn commanded() -> (App, Events<Seen>) {
    let events = Events::new();
    let (message, error, close) = (events.teller(), events.teller(), events.teller());
    let app = App::new().ws("/", |route| {
        route
            .message(move |ws: Ws, msg| {
                message(Seen::Message(msg.clone()));
                async move {
                    match msg.as_text() {
                        Some("close") => ws.close(4000, "as you wish"),
                        Some("close twice") => {
                            ws.close(4000, "first");
                            ws.close(4001, "second");
                        }
                        Some("close, and hang") => {
                            ws.close(4000, "as you wish");
                            pending().await
                        }
                        Some("terminate") => ws.terminate(),
                        Some("terminate, and hang") => {
                            ws.terminate();
                            pending().await
                        }
                        Some("talk, then close") => {
                            for n in 0..10 {
                                ws.send(n.to_string()).await.unwrap();
                            }
                            ws.close(1005, "never sent");
                        }
                        Some(code) if code.parse::<u16>().is_ok() => {
                            ws.close(code.parse::<u16>().unwrap(), "r".repeat(200));
                        }
                        _ => ws.send(msg).await.unwrap(),
                    }
                }
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
    (app, events)
}

/// A peer that has just given this command.
async fn after<R: TestRuntime>(server: &TestServer, command: &str) -> Raw {
    let mut raw = server.upgraded::<R>("/").await;
    raw.send(frame::masked(TEXT, command.as_bytes())).await;
    raw
}

async fn the_server_may_close<R: TestRuntime>() {
    let (app, mut events) = commanded();
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = after::<R>(&server, "close").await;
    assert_eq!(raw.frame().await, Frame::new(CLOSE, b"\x0f\xa0as you wish"));
    // The connection lasts until the peer has answered, whatever it answers.
    raw.send(frame::close(4321)).await;
    assert_eq!(raw.try_frame().await, None);
    let closed = Seen::Close(4000.into(), "as you wish".to_owned());
    assert_eq!(rest(&server, &mut events).await, [Seen::text("close"), closed.clone()]);

    let mut client = server.connect::<R>("/").await;
    client.send("close").await;
    assert_eq!(client.closed().await, Some((4000, "as you wish".to_owned())));
    assert_eq!(rest(&server, &mut events).await, [Seen::text("close"), closed]);
}

async fn a_close_reaches_the_peer_while_a_handler_is_busy<R: TestRuntime>() {
    let (app, _events) = commanded();
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = after::<R>(&server, "close, and hang").await;
    assert_eq!(raw.frame().await.close_code(), Some(4000));
    let mut raw = after::<R>(&server, "terminate, and hang").await;
    assert_eq!(raw.read_to_end().await, b"");
}

async fn what_is_queued_goes_out_before_the_close_frame<R: TestRuntime>() {
    let (app, mut events) = commanded();
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = after::<R>(&server, "talk, then close").await;
    for n in 0..10 {
        assert_eq!(raw.frame().await, Frame::text(&n.to_string()));
    }
    assert_eq!(raw.frame().await, Frame::new(CLOSE, ""), "1005 stands for no code");
    raw.send(frame::close(1000)).await;
    assert_eq!(raw.try_frame().await, None);
    let rest = rest(&server, &mut events).await;
    assert_eq!(rest, [Seen::text("talk, then close"), Seen::close(1005)]);
}

async fn messages_after_a_local_close_are_dropped<R: TestRuntime>() {
    let (app, mut events) = commanded();
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    let dropped = frame::masked(TEXT, b"dropped");
    raw.send([frame::masked(TEXT, b"close"), dropped.clone()].concat()).await;
    assert_eq!(raw.frame().await.close_code(), Some(4000));
    raw.send([dropped.clone(), frame::masked(PING, b"unanswered"), dropped].concat()).await;
    raw.send(frame::close(4000)).await;
    assert_eq!(raw.try_frame().await, None);
    let closed = Seen::Close(4000.into(), "as you wish".to_owned());
    assert_eq!(rest(&server, &mut events).await, [Seen::text("close"), closed]);
}

async fn messages_before_the_peers_close_are_answered<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(echo()).await;
    let mut raw = server.upgraded::<R>("/").await;
    let mut bytes: Vec<_> = (0..50).flat_map(|n| frame::masked(BINARY, &[n])).collect();
    bytes.extend(frame::close(1000));
    raw.send(bytes).await;
    for n in 0..50 {
        assert_eq!(raw.frame().await, Frame::new(BINARY, [n]));
    }
    assert_eq!(raw.close_code().await, 1000);
}

async fn messages_before_the_end_of_the_stream_are_answered<R: TestRuntime>() {
    let (app, mut events) = recorder();
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    let bytes: Vec<_> = (0..50).flat_map(|n| frame::masked(BINARY, &[n])).collect();
    raw.send(bytes).await;
    raw.shutdown().await;
    for n in 0..50 {
        assert_eq!(raw.frame().await, Frame::new(BINARY, [n]));
    }
    assert_eq!(raw.try_frame().await, None);
    let seen = rest(&server, &mut events).await;
    assert_eq!(seen[50..], [Seen::Message(vec![49].into()), Seen::Error("io"), Seen::close(1006)]);
}

async fn terminate_cuts_the_connection<R: TestRuntime>() {
    let (app, mut events) = commanded();
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = after::<R>(&server, "terminate").await;
    assert_eq!(raw.read_to_end().await, b"", "no close frame");
    let seen = rest(&server, &mut events).await;
    assert_eq!(seen, [Seen::text("terminate"), Seen::close(1006)]);
}

async fn a_connection_that_is_cut_or_reset_is_abnormal<R: TestRuntime>() {
    let lost = [Seen::Error("io"), Seen::close(1006)];
    let (app, mut events) = recorder();
    let server = TestServer::start::<R, _>(app).await;
    drop(server.upgraded::<R>("/").await);
    assert_eq!(rest(&server, &mut events).await[1..], lost);
    // In the middle of a frame, and of a message.
    for bytes in [&frame::masked(TEXT, b"cut")[..5], &frame::fragment(TEXT, b"cut")] {
        let mut raw = server.upgraded::<R>("/").await;
        raw.send(bytes).await;
        drop(raw);
        assert_eq!(rest(&server, &mut events).await[1..], lost);
    }
    // A socket that is closed with bytes still to be read resets its connection.
    let mut raw = server.upgraded::<R>("/").await;
    raw.send(frame::masked(BINARY, &vec![0; 1 << 20])).await;
    raw.read().await;
    drop(raw);
    assert_eq!(rest(&server, &mut events).await[2..], lost);
}

async fn a_peer_that_never_answers_the_close_frame_is_cut<R: TestRuntime>() {
    let (app, mut events) = commanded();
    let app = app.options(Options::new().close_timeout(Duration::from_millis(50)));
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = after::<R>(&server, "close").await;
    assert_eq!(raw.frame().await.close_code(), Some(4000));
    assert_eq!(raw.read_to_end().await, b"");
    let expected = [Seen::text("close"), Seen::Error("close timeout"), Seen::close(1006)];
    assert_eq!(rest(&server, &mut events).await, expected);
    // Neither may a violation, or a close frame, hold the connection longer.
    for last in [frame::masked(3, b""), frame::close(1000)] {
        let mut raw = server.upgraded::<R>("/").await;
        raw.send(last).await;
        rest(&server, &mut events).await;
    }
}

async fn the_first_close_counts<R: TestRuntime>() {
    let (app, mut events) = commanded();
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = after::<R>(&server, "close twice").await;
    assert_eq!(raw.close_code().await, 4000);
    let closed = Seen::Close(4000.into(), "first".to_owned());
    assert_eq!(rest(&server, &mut events).await, [Seen::text("close twice"), closed]);
}

async fn a_code_that_may_not_be_sent_becomes_1011<R: TestRuntime>() {
    let (app, _events) = commanded();
    let server = TestServer::start::<R, _>(app).await;
    for code in ["0", "999", "1004", "1006", "1015", "2000", "5000"] {
        let close = after::<R>(&server, code).await.frame().await;
        assert_eq!(close.close_code(), Some(1011), "{code}");
        assert_eq!(close.payload[2..], [b'r'; 123], "a long reason is cut");
    }
}

async fn any_task_may_send<R: TestRuntime>() {
    let app = App::new().ws("/", |route| {
        route.open(async |ws: Ws| {
            for task in 0..4_u8 {
                let ws = ws.clone();
                R::default().spawn(async move {
                    for n in 0..100 {
                        ws.send(vec![task, n]).await.unwrap();
                        yield_now().await;
                    }
                });
            }
            let ws = ws.clone();
            std::thread::spawn(move || ws.try_send("from a thread").unwrap());
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    let mut next = [0; 4];
    for _ in 0..401 {
        let frame = raw.frame().await;
        if frame == Frame::text("from a thread") {
            continue;
        }
        let [task, n] = frame.payload[..] else { panic!("{frame:?}") };
        assert_eq!(n, std::mem::replace(&mut next[usize::from(task)], n + 1));
    }
    assert_eq!(next, [100; 4]);
}

async fn a_handle_outlives_its_connection<R: TestRuntime>() {
    let mut events = Events::new();
    let tell = events.teller();
    let app = App::new().ws("/chat/:room", |route| {
        route.close(move |ws: Ws, _, _| {
            let tell = tell.clone();
            async move {
                ws.send("from close").await.unwrap_err();
                tell(ws);
            }
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/chat/a").await;
    raw.send(frame::close(1000)).await;
    assert_eq!(raw.close_code().await, 1000);
    let ws = events.next().await;
    assert_eq!(ws.send("late").await, Err(Closed));
    assert_eq!(ws.ready().await, Err(Closed));
    assert_eq!(ws.ping("late"), Err(Closed));
    assert_eq!(ws.try_send("late"), Err(TrySendError::Closed("late".into())));
    assert_eq!(ws.buffered_amount(), 0);
    assert!(ws.is_closed());
    ws.close(CloseCode::NORMAL, "again");
    ws.terminate();
    assert!(!ws.subscribe("topic"));
    assert_eq!(server.handle.subscriber_count("topic"), 0);
    assert_eq!(ws.param("room"), "a");
    assert_eq!(ws.uri().path(), "/chat/a");
    until(|| server.handle.connections() == 0).await;
}
