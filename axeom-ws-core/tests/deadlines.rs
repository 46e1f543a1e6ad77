//! Every deadline of a connection, on a clock that the test moves.

mod support;

use std::{io, time::Duration};

use axeom_ws_core::{
    App, CloseCode, CloseFrame, ConnectionError, Event, HandlerResult, Message, Options, Runtime,
    Ws,
};
use futures::{StreamExt, channel::mpsc};
use support::{Peer, World, client_frames};

const SECOND: Duration = Duration::from_secs(1);

/// What the handlers were told about the end.
#[derive(Debug, PartialEq)]
enum Told {
    /// A message was not sent, because the connection is closed.
    Unsent,
    Error(String),
    Close(CloseCode),
}

struct Connection {
    world: World,
    peer: Peer,
    told: mpsc::UnboundedReceiver<Told>,
}

impl Connection {
    /// An echo connection whose keepalive is as the test says, and otherwise off.
    fn open(options: Options) -> Self {
        let (tell, told) = mpsc::unbounded();
        let (tell_error, tell_unsent) = (tell.clone(), tell.clone());
        let app = App::new().options(Options::new().ping_interval(None)).options(options).ws(
            "/",
            move |route| {
                route
                    .message(move |ws, msg| {
                        let tell = tell_unsent.clone();
                        async move {
                            if ws.send(msg).await.is_err() {
                                let _ = tell.unbounded_send(Told::Unsent);
                            }
                        }
                    })
                    .error(move |_, error: ConnectionError| {
                        let _ = tell_error.unbounded_send(Told::Error(error.to_string()));
                        async {}
                    })
                    .close(move |_, code, _| {
                        let _ = tell.unbounded_send(Told::Close(code));
                        async {}
                    })
            },
        );
        let mut world = World::new();
        let peer = world.open(app);
        Self { world, peer, told }
    }

    fn events_after(&mut self, by: Duration) -> Vec<Event> {
        self.world.advance(by);
        self.peer.events()
    }

    fn told(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        while let Ok(event) = self.told.try_recv() {
            told.push(event);
        }
        told
    }

    fn send(&mut self, bytes: &[u8]) {
        self.peer.send(bytes);
        self.world.settle();
    }
}

const PONG: &[u8] = &[0x8a, 0x80, 0, 0, 0, 0];

fn ping() -> Event {
    Event::Ping(Default::default())
}

#[test]
fn pings_go_out_at_their_interval_as_long_as_they_are_answered() {
    let mut connection = Connection::open(Options::new().ping_interval(25 * SECOND));
    for _ in 0..10 {
        assert_eq!(connection.events_after(24 * SECOND), []);
        assert_eq!(connection.events_after(SECOND), [ping()]);
        connection.send(PONG);
    }
    assert_eq!(connection.told(), []);
}

#[test]
fn the_default_is_a_ping_every_25_seconds_and_20_to_answer() {
    let mut world = World::new();
    let mut peer = world.open(App::new().ws("/", |route| route));
    world.advance(25 * SECOND);
    assert_eq!(peer.events(), [ping()]);
    world.advance(Duration::from_millis(19_999));
    assert!(!peer.is_dropped());
    world.advance(Duration::from_millis(1));
    assert!(peer.is_dropped());
}

#[test]
fn a_half_open_peer_is_found_and_closed_with_1006() {
    let options = Options::new().ping_interval(25 * SECOND).pong_timeout(20 * SECOND);
    let mut connection = Connection::open(options);
    assert_eq!(connection.events_after(25 * SECOND), [ping()]);
    assert_eq!(connection.events_after(20 * SECOND), []);
    assert!(connection.peer.is_dropped());
    let error = ConnectionError::PongTimeout.to_string();
    assert_eq!(connection.told(), [Told::Error(error), Told::Close(CloseCode::ABNORMAL)]);
}

#[test]
fn any_traffic_counts_as_an_answer_to_a_ping() {
    let options = Options::new().ping_interval(25 * SECOND).pong_timeout(20 * SECOND);
    let mut connection = Connection::open(options);
    assert_eq!(connection.events_after(25 * SECOND), [ping()]);
    connection.send(&client_frames(&[Message::from("still here")]));
    assert_eq!(connection.events_after(24 * SECOND).len(), 1);
    assert_eq!(connection.events_after(SECOND), [ping()]);
}

#[test]
fn an_idle_peer_is_closed_with_1001_though_it_answers_pings() {
    let options = Options::new().idle_timeout(60 * SECOND).ping_interval(10 * SECOND);
    let mut connection = Connection::open(options);
    for _ in 0..5 {
        assert_eq!(connection.events_after(10 * SECOND), [ping()]);
        connection.send(PONG);
    }
    let closed = connection.events_after(10 * SECOND);
    assert!(
        matches!(&closed[..], [.., Event::Close(frame)] if frame.code == CloseCode::GOING_AWAY),
        "{closed:?}"
    );
}

#[test]
fn messages_keep_an_idle_timeout_away_and_silence_brings_it_at_most_a_quarter_late() {
    let mut connection = Connection::open(Options::new().idle_timeout(60 * SECOND));
    for _ in 0..10 {
        connection.send(&client_frames(&[Message::from("here")]));
        assert_eq!(connection.events_after(45 * SECOND).len(), 1);
    }
    connection.send(&client_frames(&[Message::from("last")]));
    assert_eq!(connection.events_after(59 * SECOND).len(), 1);
    assert!(matches!(connection.events_after(16 * SECOND)[..], [Event::Close(_)]));
}

#[test]
fn a_peer_that_takes_nothing_is_cut_and_one_that_takes_a_little_is_not() {
    let options = Options::new().write_timeout(30 * SECOND).min_rate(None);
    let mut connection = Connection::open(options);
    connection.peer.accept(100);
    connection.send(&client_frames(&[Message::from(vec![1; 10_000])]));
    for _ in 0..10 {
        connection.world.advance(29 * SECOND);
        connection.peer.accept(10);
        connection.world.settle();
        assert!(!connection.peer.is_dropped());
    }
    connection.world.advance(30 * SECOND);
    assert!(connection.peer.is_dropped());
    let error = ConnectionError::WriteTimeout.to_string();
    assert_eq!(connection.told(), [Told::Error(error), Told::Close(CloseCode::ABNORMAL)]);
}

#[test]
fn a_write_that_goes_on_in_time_ends_its_deadline() {
    let mut connection = Connection::open(Options::new().write_timeout(30 * SECOND));
    connection.peer.accept(0);
    connection.send(&client_frames(&[Message::from("late")]));
    connection.world.advance(29 * SECOND);
    connection.peer.accept(usize::MAX);
    assert_eq!(connection.events_after(300 * SECOND).len(), 1);
    assert_eq!(connection.told(), []);
}

#[test]
fn a_handler_that_waits_to_send_is_released_when_the_peer_is_cut() {
    let options = Options::new().write_timeout(30 * SECOND).high_water_mark(10);
    let mut connection = Connection::open(options);
    connection.peer.accept(0);
    // The first is queued, the second waits in `send` for ever, but for the deadline.
    let messages = [Message::from(vec![1; 100]), Message::from(vec![2; 100])];
    connection.send(&client_frames(&messages));
    connection.world.advance(30 * SECOND);
    let error = Told::Error(ConnectionError::WriteTimeout.to_string());
    let close = Told::Close(CloseCode::ABNORMAL);
    assert_eq!(connection.told(), [Told::Unsent, error, close]);
}

#[test]
fn a_handler_that_passes_on_that_it_cannot_send_hides_no_cause() {
    let (tell, mut told) = mpsc::unbounded();
    let app = App::new().options(Options::new().write_timeout(30 * SECOND).high_water_mark(10)).ws(
        "/",
        move |route| {
            route
                .message(async |ws, msg| -> HandlerResult {
                    loop {
                        ws.send(msg.clone()).await?;
                    }
                })
                .error(move |_, error: ConnectionError| {
                    let _ = tell.unbounded_send(error.to_string());
                    async {}
                })
        },
    );
    let mut world = World::new();
    let mut peer = world.open(app);
    peer.accept(0);
    peer.send_message("over and over");
    world.settle();
    world.advance(30 * SECOND);
    assert_eq!(told.try_recv(), Ok(ConnectionError::WriteTimeout.to_string()));
}

#[test]
fn a_busy_handler_keeps_a_close_waiting_for_the_close_timeout_at_most() {
    let (tick, ticks) = mpsc::unbounded::<()>();
    let (tell, mut told) = mpsc::unbounded();
    let ticks = std::sync::Mutex::new(Some(ticks));
    let app = App::new().ws("/", move |route| {
        route
            .message(move |ws: Ws, _| {
                let mut ticks = ticks.lock().unwrap().take().unwrap();
                async move {
                    while ws.send("tick").await.is_ok() {
                        ticks.next().await;
                    }
                }
            })
            .close(move |_, code, _| {
                let _ = tell.unbounded_send(code);
                async {}
            })
    });
    let mut world = World::new();
    let mut peer = world.open(app);
    peer.send_message("stream to me");
    peer.send(&[0x88, 0x82, 0, 0, 0, 0, 0x0f, 0xa0]);
    world.settle();
    assert_eq!(peer.events(), [Event::Message(Message::from("tick"))]);
    world.advance(9 * SECOND);
    tick.unbounded_send(()).unwrap();
    world.settle();
    assert_eq!(peer.events(), [Event::Message(Message::from("tick"))]);
    world.advance(SECOND);
    assert_eq!(peer.events(), [Event::Close(CloseFrame::new(4000, ""))]);
    assert!(told.try_recv().is_err());
    tick.unbounded_send(()).unwrap();
    world.settle();
    assert_eq!(told.try_recv(), Ok(CloseCode::from(4000)));
}

#[test]
fn a_peer_that_waits_for_what_could_not_be_written_is_cut_at_the_close_timeout() {
    let mut connection = Connection::open(Options::new().close_timeout(5 * SECOND));
    connection.peer.fail_writes(io::ErrorKind::OutOfMemory);
    connection.send(&client_frames(&["hello".into()]));
    assert!(connection.events_after(4 * SECOND).is_empty());
    assert_eq!((connection.told(), connection.peer.is_dropped()), (vec![], false));
    assert!(connection.events_after(2 * SECOND).is_empty());
    let lost = ConnectionError::from(io::Error::from(io::ErrorKind::OutOfMemory)).to_string();
    let expected = [Told::Error(lost), Told::Close(CloseCode::ABNORMAL)];
    assert_eq!(connection.told(), expected);
    assert!(connection.peer.is_dropped());
}

#[test]
fn a_connection_is_closed_with_1001_at_the_end_of_its_life() {
    let mut connection = Connection::open(Options::new().max_lifetime(3600 * SECOND));
    assert_eq!(connection.events_after(3599 * SECOND), []);
    let closed = connection.events_after(SECOND);
    assert!(matches!(&closed[..], [Event::Close(frame)] if frame.code == CloseCode::GOING_AWAY));
    connection.send(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]);
    assert_eq!(connection.told(), [Told::Close(CloseCode::GOING_AWAY)]);
}

#[test]
fn a_peer_that_waits_for_a_slow_handler_is_not_taken_for_a_silent_one() {
    let mut world = World::new();
    let clock = world.clock.clone();
    let options = Options::new()
        .ping_interval(25 * SECOND)
        .pong_timeout(20 * SECOND)
        .idle_timeout(60 * SECOND);
    let app = App::new().options(options).ws("/", move |route| {
        route.message(move |_, _| {
            let clock = clock.clone();
            async move { clock.sleep(600 * SECOND).await }
        })
    });
    let mut peer = world.open(app);
    // More than is read ahead: a pong behind it would not be seen.
    peer.send(&client_frames(&vec![Message::from(vec![0; 1024]); 500]));
    world.settle();
    world.advance(300 * SECOND);
    assert!(!peer.is_dropped());
    assert!(peer.events().iter().all(|event| *event == ping()));
}

#[test]
fn a_peer_that_reads_slowly_and_has_not_come_to_the_ping_is_not_cut() {
    let options =
        Options::new().ping_interval(25 * SECOND).pong_timeout(20 * SECOND).min_rate(None);
    let mut connection = Connection::open(options);
    connection.peer.accept(0);
    connection.send(&client_frames(&[Message::from(vec![1; 60_000])]));
    for _ in 0..100 {
        connection.world.advance(SECOND);
        connection.peer.accept(100);
        connection.world.settle();
    }
    assert!(!connection.peer.is_dropped());
}

#[test]
fn a_peer_that_takes_too_little_is_cut_within_two_windows() {
    for (bytes, is_cut) in [(100, true), (1100, false)] {
        let mut connection = Connection::open(Options::new());
        connection.peer.accept(0);
        connection.send(&client_frames(&[Message::from(vec![1; 500_000])]));
        for _ in 0..61 {
            connection.world.advance(SECOND);
            connection.peer.accept(bytes);
            connection.world.settle();
        }
        assert_eq!(connection.peer.is_dropped(), is_cut, "{bytes} bytes a second");
        let error = Told::Error(ConnectionError::TooSlow.to_string());
        let told = if is_cut { vec![error, Told::Close(CloseCode::ABNORMAL)] } else { vec![] };
        assert_eq!(connection.told(), told);
    }
}

/// The code that the connection is closed with, if it is while the peer sends so many bytes of a
/// message every second.
fn while_a_message_trickles(options: Options, bytes: usize, seconds: usize) -> Option<CloseCode> {
    let mut connection = Connection::open(options.ping_interval(10 * SECOND).pong_timeout(None));
    // A binary frame of 8 MiB, whose mask does not change it.
    connection.send(&[0x82, 0xff, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0]);
    for _ in 0..seconds {
        let closed = connection.events_after(SECOND).into_iter().find_map(|event| match event {
            Event::Close(frame) => Some(frame.code),
            _ => None,
        });
        if closed.is_some() {
            return closed;
        }
        connection.send(&vec![7; bytes]);
    }
    None
}

#[test]
fn a_message_that_comes_too_slowly_is_closed_with_1008() {
    let least = Options::new();
    assert_eq!(while_a_message_trickles(least.clone(), 1, 61), Some(CloseCode::POLICY_VIOLATION));
    assert_eq!(while_a_message_trickles(least.clone(), 0, 61), Some(CloseCode::POLICY_VIOLATION));
    assert_eq!(while_a_message_trickles(least, 1100, 600), None);
    assert_eq!(while_a_message_trickles(Options::new().min_rate(None), 1, 600), None);
    let more = Options::new().min_rate(10_000);
    assert_eq!(while_a_message_trickles(more, 1100, 61), Some(CloseCode::POLICY_VIOLATION));
}

#[test]
fn a_message_that_takes_too_long_is_closed_with_1008_whatever_its_rate() {
    let options = Options::new().message_timeout(20 * SECOND);
    let closed = Some(CloseCode::POLICY_VIOLATION);
    assert_eq!(while_a_message_trickles(options.clone(), 10_000, 26), closed);
    assert_eq!(while_a_message_trickles(options, 10_000, 19), None);
}

#[test]
fn messages_that_are_each_finished_in_time_may_come_in_pieces_for_ever() {
    let options = Options::new().message_timeout(20 * SECOND).ping_interval(None);
    let mut connection = Connection::open(options);
    let message = client_frames(&[Message::from("a few bytes")]);
    let (first, rest) = message.split_at(7);
    for _ in 0..200 {
        // There is always an unfinished message when the connection waits.
        connection.send(first);
        assert_eq!(connection.events_after(SECOND), []);
        connection.send(rest);
        assert_eq!(connection.events_after(Duration::ZERO).len(), 1);
    }
}

#[test]
fn a_message_that_a_busy_handler_keeps_from_arriving_is_not_too_slow() {
    let (open, opened) = futures::channel::oneshot::channel::<()>();
    let opened = std::sync::Mutex::new(Some(opened));
    let app = App::new().options(Options::new().ping_interval(None)).ws("/", move |route| {
        route.message(move |ws: Ws, msg: Message| {
            let opened = opened.lock().unwrap().take();
            async move {
                if let Some(opened) = opened {
                    let _ = opened.await;
                }
                let _ = ws.send(msg.len().to_string()).await;
            }
        })
    });
    let mut world = World::new();
    let mut peer = world.open(app);
    peer.send_message("busy");
    let large = client_frames(&[Message::from(vec![1; 300_000])]);
    let (first, rest) = large.split_at(200_000);
    peer.send(first);
    world.advance(300 * SECOND);
    assert_eq!(peer.events(), []);
    open.send(()).unwrap();
    peer.send(rest);
    world.settle();
    assert_eq!(peer.events(), [Event::Message("4".into()), Event::Message("300000".into())]);
}

#[test]
fn options_that_cannot_work_are_refused_when_the_app_is_built() {
    let zero = Duration::ZERO;
    for (options, name) in [
        (Options::new().ping_interval(zero), "ping_interval"),
        (Options::new().pong_timeout(zero), "pong_timeout"),
        (Options::new().idle_timeout(zero), "idle_timeout"),
        (Options::new().write_timeout(zero), "write_timeout"),
        (Options::new().close_timeout(zero), "close_timeout"),
        (Options::new().max_lifetime(zero), "max_lifetime"),
        (Options::new().max_message_size(0), "max_message_size"),
        (Options::new().max_fragments(0), "max_fragments"),
        (Options::new().high_water_mark(10).low_water_mark(11), "low_water_mark"),
        (Options::new().high_water_mark(10).send_limit(9), "send_limit"),
        (Options::new().allow_origins(["https://example.com/"]), "allow_origins"),
    ] {
        let error = App::new().ws("/here", |route| route.options(options)).build().unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.to_string().contains("/here") && source.contains(name), "{source}");
    }
}
