//! The other two ways to write a route: a `Handler` with a session, and a loop of its own.

use std::{
    pin::pin,
    sync::{Arc, Mutex},
};

use async_tungstenite::tungstenite::Bytes;
use axeom_ws::{
    App, BoxError, CloseCode, CloseFrame, ConnectionError, Event, Handler, HandlerResult, Message,
    Socket, Utf8Bytes, Ws, context::With,
};
use futures::{
    StreamExt,
    channel::{mpsc, oneshot},
    future::{Either, select},
};

use crate::{
    on_every_runtime,
    support::{
        Events, TestRuntime, TestServer,
        frame::{self, Frame, PING, PONG, TEXT},
        recorder::kind,
        until,
    },
};

on_every_runtime!(
    mounted:
    a_handler_keeps_a_session_for_each_connection,
    a_handler_sees_every_event,
    a_session_that_panics_closes_with_1011,
    a_loop_sees_every_event_and_then_none,
    a_loop_that_returns_closes_with_1000,
    a_loop_that_fails_closes_with_1011,
    a_loop_may_hand_its_socket_to_another_task,
    a_socket_that_outlives_its_loop_is_told_of_the_end,
    a_loop_may_wait_for_other_things_too
);

struct Name(&'static str);

/// Counts, and tells all it sees.
struct Counter(mpsc::UnboundedSender<String>);

impl Counter {
    fn tell(&self, session: &mut Session, event: String) -> HandlerResult {
        session.events += 1;
        let _ = self.0.unbounded_send(format!("{} {event}", session.events));
        Ok(())
    }
}

struct Session {
    events: usize,
    name: &'static str,
}

type Data = With<Name, ()>;

impl Handler<Data> for Counter {
    type Session = Session;

    fn session(&self, ws: &Ws<Data>) -> Session {
        assert_ne!(ws.param("how"), "panic", "in session");
        Session { events: 0, name: ws.data().0 }
    }

    async fn open(&self, session: &mut Session, _: Ws<Data>) -> HandlerResult {
        let event = format!("open {}", session.name);
        self.tell(session, event)
    }

    async fn message(&self, session: &mut Session, ws: Ws<Data>, msg: Message) -> HandlerResult {
        self.tell(session, format!("message {msg}"))?;
        ws.send(session.events.to_string()).await?;
        if msg.as_text() == Some("fail") { Err("failed".into()) } else { Ok(()) }
    }

    async fn ping(&self, session: &mut Session, _: Ws<Data>, payload: Bytes) -> HandlerResult {
        self.tell(session, format!("ping {payload:?}"))
    }

    async fn pong(&self, session: &mut Session, _: Ws<Data>, payload: Bytes) -> HandlerResult {
        self.tell(session, format!("pong {payload:?}"))
    }

    async fn error(
        &self,
        session: &mut Session,
        _: Ws<Data>,
        error: ConnectionError,
    ) -> HandlerResult {
        self.tell(session, format!("error {}", kind(&error)))
    }

    async fn close(
        &self,
        session: &mut Session,
        _: Ws<Data>,
        code: CloseCode,
        reason: Utf8Bytes,
    ) -> HandlerResult {
        self.tell(session, format!("close {code} {reason}"))
    }
}

fn counter() -> (App<Data>, Events<String>) {
    let events = Events::new();
    let handler = Counter(events.tx.clone());
    (App::new().decorate(Name("ada")).ws("/:how", |route| route.handler(handler)), events)
}

async fn a_handler_keeps_a_session_for_each_connection<R: TestRuntime>() {
    let (app, _events) = counter();
    let server = TestServer::start::<R, _>(app).await;
    let mut first = server.connect::<R>("/a").await;
    let mut second = server.connect::<R>("/b").await;
    for n in 2..5 {
        first.send("x").await;
        assert_eq!(first.recv_text().await, n.to_string());
    }
    second.send("x").await;
    assert_eq!(second.recv_text().await, "2");
}

async fn a_handler_sees_every_event<R: TestRuntime>() {
    let (app, mut events) = counter();
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/a").await;
    let bytes =
        [frame::masked(PING, b"p"), frame::masked(PONG, b"q"), frame::masked(TEXT, b"fail")];
    raw.send(bytes.concat()).await;
    assert_eq!(raw.frame().await, Frame::new(PONG, "p"));
    assert_eq!(raw.frame().await, Frame::text("4"));
    assert_eq!(raw.close_code().await, 1011);
    for expected in [
        "1 open ada",
        "2 ping b\"p\"",
        "3 pong b\"q\"",
        "4 message fail",
        "5 error handler",
        "6 close 1011 internal error",
    ] {
        assert_eq!(events.next().await, expected);
    }
}

async fn a_session_that_panics_closes_with_1011<R: TestRuntime>() {
    let (app, mut events) = counter();
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/panic").await;
    assert_eq!(raw.close_code().await, 1011);
    until(|| server.handle.connections() == 0).await;
    assert!(events.rest().is_empty(), "there was no open");
}

async fn a_loop_sees_every_event_and_then_none<R: TestRuntime>() {
    let mut events = Events::new();
    let tell = Arc::new(events.teller());
    let app = App::new().ws("/", |route| {
        route.socket(move |mut socket: Socket| {
            let tell = tell.clone();
            async move {
                while let Some(event) = socket.recv().await {
                    if let Event::Message(msg) = &event {
                        socket.send(msg.clone()).await.unwrap();
                    }
                    tell(Some(event));
                }
                tell(socket.recv().await);
            }
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    let bytes = [
        frame::masked(TEXT, b"one"),
        frame::masked(PING, b"p"),
        frame::masked(TEXT, b"two"),
        frame::masked(PONG, b"q"),
        frame::masked(frame::CLOSE, b"\x0f\xa1bye"),
    ];
    raw.send(bytes.concat()).await;
    let mut frames = Vec::new();
    while let Some(frame) = raw.try_frame().await {
        frames.push(frame);
    }
    // A pong is not held back by messages that came before its ping.
    frames.sort_by_key(|frame| frame.first == frame::FIN | PONG);
    assert_eq!(frames[..2], [Frame::text("one"), Frame::text("two")]);
    assert_eq!(frames[2].close_code(), Some(4001));
    assert_eq!(frames[3..], [Frame::new(PONG, "p")]);
    for expected in [
        Some(Event::Message("one".into())),
        Some(Event::Ping(b"p"[..].into())),
        Some(Event::Message("two".into())),
        Some(Event::Pong(b"q"[..].into())),
        Some(Event::Close(CloseFrame::new(4001, "bye"))),
        None,
    ] {
        assert_eq!(events.next().await, expected);
    }
    // A loop is told what ended its connection, too.
    drop(server.upgraded::<R>("/").await);
    let error = events.next().await;
    assert!(matches!(error, Some(Event::Error(ConnectionError::Io(_)))), "{error:?}");
    let expected = Event::Close(CloseFrame::new(1006, ""));
    assert_eq!(events.next().await, Some(expected));
    assert_eq!(events.next().await, None);
}

async fn a_loop_that_returns_closes_with_1000<R: TestRuntime>() {
    let app = App::new().ws("/", |route| {
        route.socket(async |mut socket: Socket| {
            let Some(Event::Message(msg)) = socket.recv().await else { return };
            let _ = socket.send(msg).await;
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut client = server.connect::<R>("/").await;
    client.send("only this").await;
    assert_eq!(client.recv_text().await, "only this");
    assert_eq!(client.closed().await, Some((1000, String::new())));
    until(|| server.handle.connections() == 0).await;
}

async fn a_loop_that_fails_closes_with_1011<R: TestRuntime>() {
    let app = App::new().ws("/:how", |route| {
        route.socket(|socket: Socket| {
            assert_ne!(socket.param("how"), "at-once", "secret");
            async move {
                assert_ne!(socket.param("how"), "panic", "secret");
                Err::<(), BoxError>("secret".into())
            }
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    for path in ["/error", "/panic", "/at-once"] {
        let mut client = server.connect::<R>(path).await;
        assert_eq!(client.closed().await, Some((1011, "internal error".to_owned())), "{path}");
    }
    until(|| server.handle.connections() == 0).await;
}

async fn a_loop_may_hand_its_socket_to_another_task<R: TestRuntime>() {
    let app = App::new().ws("/", |route| {
        route.socket(async |mut socket: Socket| {
            let (end, ended) = oneshot::channel();
            R::default().spawn(async move {
                while let Some(event) = socket.recv().await {
                    if let Event::Message(msg) = event {
                        let _ = socket.send(msg).await;
                    }
                }
                let _ = end.send(());
            });
            let _ = ended.await;
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut client = server.connect::<R>("/").await;
    for n in 0..100 {
        client.send(n.to_string()).await;
    }
    for n in 0..100 {
        assert_eq!(client.recv_text().await, n.to_string());
    }
    assert_eq!(client.close(1000, "").await, Some((1000, String::new())));
    until(|| server.handle.connections() == 0).await;
}

async fn a_socket_that_outlives_its_loop_is_told_of_the_end<R: TestRuntime>() {
    let mut events = Events::new();
    let tell = Arc::new(events.teller());
    let app = App::new().ws("/", |route| {
        route.socket(move |mut socket: Socket| {
            let tell = tell.clone();
            R::default().spawn(async move {
                let mut more = true;
                while more {
                    let event = socket.recv().await;
                    more = event.is_some();
                    tell(event);
                }
            });
            async {}
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut client = server.connect::<R>("/").await;
    assert_eq!(client.closed().await, Some((1000, String::new())));
    let expected = Event::Close(CloseFrame::new(1000, ""));
    assert_eq!(events.next().await, Some(expected));
    assert_eq!(events.next().await, None);
}

async fn a_loop_may_wait_for_other_things_too<R: TestRuntime>() {
    let (news, feed) = feed();
    let app = App::new().ws("/", |route| {
        route.socket(move |mut socket: Socket| {
            let feed = feed.clone();
            async move {
                let mut feed = feed.lock().unwrap().take().unwrap();
                loop {
                    // Whichever is not first is dropped, and loses nothing.
                    let message = {
                        let event = pin!(socket.recv());
                        match select(event, feed.next()).await {
                            Either::Left((Some(Event::Message(msg)), _)) => msg,
                            Either::Left(_) => return,
                            Either::Right((news, _)) => Message::from(news.unwrap()),
                        }
                    };
                    let _ = socket.send(message).await;
                }
            }
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut client = server.connect::<R>("/").await;
    for n in 0..50 {
        client.send("echo").await;
        assert_eq!(client.recv_text().await, "echo");
        news.unbounded_send(n.to_string()).unwrap();
        assert_eq!(client.recv_text().await, n.to_string());
    }
}

type Feed = Arc<Mutex<Option<mpsc::UnboundedReceiver<String>>>>;

fn feed() -> (mpsc::UnboundedSender<String>, Feed) {
    let (tx, rx) = mpsc::unbounded();
    (tx, Arc::new(Mutex::new(Some(rx))))
}
