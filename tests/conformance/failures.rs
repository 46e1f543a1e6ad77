//! Handlers that fail: they close their own connection, and touch no other.

use axeom_ws::{App, BoxError, CloseCode, ConnectionError, Event, Message, Socket, Utf8Bytes, Ws};

use super::lifecycle::rest;
use crate::{
    on_every_runtime,
    support::{
        Events, TestRuntime, TestServer,
        frame::{self, Frame, PING, PONG, TEXT},
        raw::Raw,
        recorder::{Seen, kind},
    },
};

on_every_runtime!(
    mounted:
    an_error_in_a_handler_closes_with_1011,
    a_panic_in_a_handler_closes_with_1011,
    a_panic_before_the_first_await_is_one_as_well,
    a_failing_last_handler_is_survived,
    passing_on_that_the_connection_is_closed_is_no_failure,
    an_error_is_told_with_what_it_says,
    a_failing_connection_leaves_the_others_alone
);

/// Fails where the path says, in the way it says.
fn fail(ws: &Ws, here: &str) -> Result<(), BoxError> {
    match ws.param("how") {
        _ if ws.param("at") != here => Ok(()),
        "error" => Err("secret".into()),
        how => panic!("secret {how}"),
    }
}

fn failing() -> (App, Events<Seen>) {
    let events = Events::new();
    let tell = || events.teller();
    let (open, message, ping, pong, error, close) =
        (tell(), tell(), tell(), tell(), tell(), tell());
    let app = App::new().ws("/:at/:how", |route| {
        route
            .open(move |ws: Ws| {
                open(Seen::Open);
                async move { fail(&ws, "open") }
            })
            .message(move |ws: Ws, msg| {
                message(Seen::Message(msg.clone()));
                async move {
                    fail(&ws, "message")?;
                    ws.send(msg).await?;
                    Ok::<_, BoxError>(())
                }
            })
            .ping(move |ws: Ws, payload| {
                ping(Seen::Ping(payload.to_vec()));
                async move { fail(&ws, "ping") }
            })
            .pong(move |ws: Ws, payload| {
                pong(Seen::Pong(payload.to_vec()));
                async move { fail(&ws, "pong") }
            })
            .error(move |ws: Ws, error_| {
                error(Seen::Error(kind(&error_)));
                async move { fail(&ws, "error") }
            })
            .close(move |ws: Ws, code, reason: Utf8Bytes| {
                close(Seen::Close(code, reason.to_string()));
                async move { fail(&ws, "close") }
            })
    });
    (app, events)
}

/// Says what makes any handler fail that is to.
async fn provoke<R: TestRuntime>(server: &TestServer, path: &str) -> Raw {
    let mut raw = server.upgraded::<R>(path).await;
    let bytes =
        [frame::masked(PONG, b"pong"), frame::masked(PING, b"ping"), frame::masked(TEXT, b"text")];
    raw.send(bytes.concat()).await;
    raw
}

async fn closes_with_1011<R: TestRuntime>(how: &str, told: &'static str) {
    let (app, mut events) = failing();
    let server = TestServer::start::<R, _>(app).await;
    let before = [Seen::Open, Seen::Pong(b"pong".to_vec()), Seen::Ping(b"ping".to_vec())];
    for (at, handled) in [("open", 1), ("pong", 2), ("ping", 3), ("message", 4)] {
        let mut raw = provoke::<R>(&server, &format!("/{at}/{how}")).await;
        let close = loop {
            let frame = raw.frame().await;
            assert_ne!(frame, Frame::text("text"), "nothing more is handled");
            if frame.close_code().is_some() {
                break frame;
            }
        };
        assert_eq!(close.close_code(), Some(1011));
        assert!(!String::from_utf8_lossy(&close.payload).contains("secret"), "{close:?}");
        raw.send(frame::close(1011)).await;
        assert_eq!(raw.try_frame().await, None);

        let mut expected: Vec<_> = before.iter().chain([&Seen::text("text")]).cloned().collect();
        expected.truncate(handled);
        expected.push(Seen::Error(told));
        expected.push(Seen::Close(1011.into(), "internal error".to_owned()));
        assert_eq!(rest(&server, &mut events).await, expected, "at {at}");
    }
}

async fn an_error_in_a_handler_closes_with_1011<R: TestRuntime>() {
    closes_with_1011::<R>("error", "handler").await;
}

async fn a_panic_in_a_handler_closes_with_1011<R: TestRuntime>() {
    closes_with_1011::<R>("panic", "panic").await;
}

async fn a_panic_before_the_first_await_is_one_as_well<R: TestRuntime>() {
    let mut events = Events::new();
    let tell = events.teller();
    let app = App::new().ws("/", |route| {
        route
            .message(|ws: Ws, _| {
                assert_eq!(ws.uri().path(), "/elsewhere", "the closure itself panics");
                async {}
            })
            .close(move |_, code, reason| {
                tell(Seen::Close(code, reason.to_string()));
                async {}
            })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    raw.send(frame::masked(TEXT, b"x")).await;
    assert_eq!(raw.close_code().await, 1011);
    assert!(matches!(events.next().await, Seen::Close(CloseCode::INTERNAL_ERROR, _)));
}

async fn a_failing_last_handler_is_survived<R: TestRuntime>() {
    let (app, mut events) = failing();
    let server = TestServer::start::<R, _>(app).await;
    for how in ["error", "panic"] {
        // The close frame was sent before `close` ran: it says what really happened.
        let mut raw = server.upgraded::<R>(&format!("/close/{how}")).await;
        raw.send(frame::close(1000)).await;
        assert_eq!(raw.close_code().await, 1000);
        assert_eq!(rest(&server, &mut events).await, [Seen::Open, Seen::close(1000)]);
        // `close` runs even if `error` fails.
        let mut raw = server.upgraded::<R>(&format!("/error/{how}")).await;
        raw.send(frame::masked(3, b"")).await;
        assert_eq!(raw.close_code().await, 1002);
        drop(raw);
        let seen = rest(&server, &mut events).await;
        assert_eq!(seen[..2], [Seen::Open, Seen::Error("violation")]);
        assert!(matches!(seen[2..], [Seen::Close(CloseCode::PROTOCOL_ERROR, _)]), "{seen:?}");
    }
}

async fn an_error_is_told_with_what_it_says<R: TestRuntime>() {
    let mut events = Events::new();
    let tell = events.teller();
    let app = App::new().ws("/:at/:how", |route| {
        route.open(async |ws: Ws| fail(&ws, "open")).error(move |_, error| {
            let says = match error {
                ConnectionError::Handler(error) => error.to_string(),
                ConnectionError::Panic(says) => says,
                other => panic!("{other}"),
            };
            tell(says);
            async {}
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    for (path, says) in [("/open/error", "secret"), ("/open/panic", "secret panic")] {
        let mut raw = server.upgraded::<R>(path).await;
        assert_eq!(raw.close_code().await, 1011);
        assert_eq!(events.next().await, says);
    }
}

async fn a_failing_connection_leaves_the_others_alone<R: TestRuntime>() {
    let (app, _events) = failing();
    let server = TestServer::start::<R, _>(app).await;
    let mut others = Vec::new();
    for _ in 0..5 {
        others.push(server.connect::<R>("/nowhere/error").await);
    }
    for path in ["/open/panic", "/message/panic", "/open/error", "/message/error"] {
        let mut raw = provoke::<R>(&server, path).await;
        while raw.frame().await.close_code().is_none() {}
        raw.send(frame::close(1011)).await;
        assert_eq!(raw.try_frame().await, None);
        for other in &mut others {
            other.send("still here").await;
            assert_eq!(other.recv_text().await, "still here");
        }
        others.push(server.connect::<R>("/nowhere/error").await);
    }
}

async fn passing_on_that_the_connection_is_closed_is_no_failure<R: TestRuntime>() {
    let mut events = Events::new();
    let (on_error, on_close) = (events.teller(), events.teller());
    let app = App::new()
        .ws("/:how", move |route| {
            let (on_error, on_close) = (on_error.clone(), on_close.clone());
            route
                .message(async |ws: Ws, msg: Message| {
                    ws.close(4000, "");
                    match ws.param("how") {
                        "send" => ws.send(msg).await?,
                        #[cfg(feature = "json")]
                        "send_json" => ws.send_json("late").await?,
                        _ => drop(ws.try_send(msg)?),
                    }
                    Ok(())
                })
                .error(move |_, error| {
                    on_error(Err(kind(&error)));
                    async {}
                })
                .close(move |_, code: CloseCode, _| {
                    on_close(Ok(code.as_u16()));
                    async {}
                })
        })
        .ws("/loop/*", |route| {
            route.socket(async |mut socket: Socket| {
                while let Some(Event::Message(message)) = socket.recv().await {
                    socket.close(4000, "");
                    socket.send(message).await?;
                }
                Ok(())
            })
        });
    let server = TestServer::start::<R, _>(app).await;
    for path in ["/send", "/send_json", "/try_send"] {
        let mut client = server.connect::<R>(path).await;
        client.send("go").await;
        assert_eq!(client.closed().await, Some((4000, String::new())), "{path}");
        assert_eq!(events.next().await, Ok(4000), "{path}");
    }
    let mut client = server.connect::<R>("/loop/").await;
    client.send("go").await;
    assert_eq!(client.closed().await, Some((4000, String::new())));
}
