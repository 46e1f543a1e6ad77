//! The driver over a stream in memory, where every write and every second is counted.

mod support;

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axeom_ws_core::{App, Event, Message, Options, SendStatus, TrySendError, Ws};
use futures::{
    channel::{mpsc, oneshot},
    io::{AsyncRead, AsyncWrite},
    task::LocalSpawnExt,
};
use support::{HANDSHAKE, Stream, World, client_frames};

fn plain_echo() -> App {
    App::new().ws("/", |route| {
        route.message(async |ws, msg| {
            let _ = ws.send(msg).await;
        })
    })
}

fn message(text: impl Into<String>) -> Event {
    Event::Message(Message::from(text.into()))
}

#[test]
fn pipelined_messages_leave_in_one_write() {
    let mut world = World::new();
    let mut peer = world.open(plain_echo());
    peer.take_writes();
    let messages: Vec<_> = (0..32).map(|n| Message::from(format!("message {n}"))).collect();
    peer.send(&client_frames(&messages));
    world.settle();
    assert_eq!(peer.take_writes(), 1);
    let expected: Vec<_> = messages.into_iter().map(Event::Message).collect();
    assert_eq!(peer.events(), expected);
}

#[test]
fn a_flush_that_takes_several_turns_is_seen_through() {
    let mut world = World::new();
    let mut peer = world.open(plain_echo());
    peer.delay_flush(3);
    peer.send_message("held back by the stream");
    world.settle();
    assert!(peer.is_flushed());
    assert_eq!(peer.events(), [message("held back by the stream")]);
}

#[test]
fn large_payloads_leave_in_one_vectored_write() {
    let mut world = World::new();
    let mut peer = world.open(plain_echo());
    peer.take_writes();
    let messages: Vec<_> = (0..4u8).map(|n| Message::from(vec![n; 8 * 1024])).collect();
    peer.send(&client_frames(&messages));
    world.settle();
    assert_eq!(peer.take_writes(), 1);
    assert_eq!(peer.events().len(), 4);
}

#[test]
fn a_batch_of_publishes_is_one_write_for_each_subscriber() {
    let mut world = World::new();
    let app = App::new().ws("/", |route| {
        route.open(async |ws| {
            ws.subscribe("news");
        })
    });
    let server = app.handle();
    let service = app.build().unwrap();
    let mut peers: Vec<_> = (0..3).map(|_| world.connect(&service)).collect();
    for peer in &mut peers {
        peer.send(HANDSHAKE);
    }
    world.settle();
    for peer in &mut peers {
        peer.take();
        peer.take_writes();
    }
    for n in 0..10 {
        assert_eq!(server.publish("news", format!("{n}")), 3);
    }
    world.settle();
    for peer in &mut peers {
        assert_eq!(peer.take_writes(), 1);
        assert_eq!(peer.events(), (0..10).map(|n| message(n.to_string())).collect::<Vec<_>>());
    }
}

#[test]
fn backpressure_is_counted_in_bytes_and_drains_once() {
    let drains = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&drains);
    let (give, mut got) = oneshot::channel();
    let give = std::sync::Mutex::new(Some(give));
    let app = App::new()
        .options(Options::new().high_water_mark(1000).low_water_mark(100).send_limit(2000))
        .ws("/", move |route| {
            route
                .open(move |ws: Ws| {
                    let give = give.lock().unwrap().take();
                    async move {
                        let _ = give.unwrap().send(ws);
                    }
                })
                .drain(move |_| {
                    counted.fetch_add(1, Ordering::Relaxed);
                    async {}
                })
        });
    let mut world = World::new();
    let mut peer = world.open(app);
    let ws = got.try_recv().unwrap().unwrap();
    peer.accept(0);

    // A frame of 500 bytes has a header of 4.
    let part = || Message::from(vec![7; 496]);
    assert_eq!(ws.try_send(part()), Ok(SendStatus::Sent));
    assert_eq!(ws.try_send(part()), Ok(SendStatus::Sent));
    assert_eq!(ws.buffered_amount(), 1000);
    assert_eq!(ws.try_send(part()), Ok(SendStatus::Backpressure));
    assert_eq!(ws.try_send(part()), Ok(SendStatus::Backpressure));
    assert_eq!(ws.try_send(part()), Err(TrySendError::Full(part().into())));
    world.settle();
    assert_eq!(ws.buffered_amount(), 2000);

    peer.accept(1899);
    world.settle();
    assert_eq!((ws.buffered_amount(), drains.load(Ordering::Relaxed)), (101, 0));
    peer.accept(1);
    world.settle();
    assert_eq!((ws.buffered_amount(), drains.load(Ordering::Relaxed)), (100, 1));
    peer.accept(usize::MAX);
    world.settle();
    assert_eq!((ws.buffered_amount(), drains.load(Ordering::Relaxed)), (0, 1));
    // One message may be as large as it likes, if nothing else waits.
    assert_eq!(ws.try_send(vec![0; 5000]), Ok(SendStatus::Backpressure));
    world.settle();
    assert_eq!(drains.load(Ordering::Relaxed), 2);
    assert_eq!(peer.events().len(), 5);
}

#[test]
fn a_handler_that_never_waits_is_relieved_while_input_is_at_hand() {
    let app = App::new().ws("/", |route| {
        route.message(async |ws, _| {
            ws.try_send(vec![0; 1024]).expect("the peer reads all there is");
        })
    });
    let mut world = World::new();
    let mut peer = world.open(app);
    peer.send(&client_frames(&vec![Message::from("more"); 5000]));
    world.settle();
    assert_eq!(peer.events().len(), 5000);
}

#[test]
fn of_many_unanswered_pings_the_latest_is_answered() {
    let mut world = World::new();
    let mut peer = world.open(plain_echo());
    peer.accept(1);
    peer.send_message("blocks");
    world.settle();
    for n in 0..1000u32 {
        let mut ping = vec![0x89, 0x84, 0, 0, 0, 0];
        ping.extend(n.to_be_bytes());
        peer.send(&ping);
        world.settle();
    }
    peer.accept(usize::MAX);
    world.settle();
    let latest = Event::Pong(999u32.to_be_bytes().to_vec().into());
    assert_eq!(peer.events(), [message("blocks"), latest]);
}

#[test]
fn pings_do_not_fill_the_queue_of_a_peer_that_does_not_read() {
    const LIMIT: usize = 1000;
    let (give, mut got) = mpsc::unbounded();
    let options = Options::new().high_water_mark(LIMIT).send_limit(LIMIT);
    let app = App::new().options(options).ws("/", move |route| {
        route.open(move |ws: Ws| {
            let _ = give.unbounded_send(ws);
            async {}
        })
    });
    let mut world = World::new();
    let mut peer = world.open(app);
    let ws = got.try_recv().unwrap();
    peer.accept(0);
    for _ in 0..10_000 {
        assert_eq!(ws.ping("are you there?"), Ok(()));
        world.settle();
    }
    assert!(ws.buffered_amount() <= LIMIT + 16, "{}", ws.buffered_amount());
    peer.accept(usize::MAX);
    world.settle();
    assert_eq!(ws.ping("and now?"), Ok(()));
    world.settle();
    assert_eq!(peer.events().last(), Some(&Event::Ping("and now?".into())));
}

#[test]
fn a_head_that_does_not_come_is_answered_with_408() {
    let mut world = World::new();
    let service = plain_echo().build().unwrap();
    let mut peer = world.connect(&service);
    peer.send(&HANDSHAKE[..40]);
    world.advance(Duration::from_millis(9_999));
    assert!(peer.take().is_empty());
    world.advance(Duration::from_millis(1));
    assert!(peer.take().starts_with(b"HTTP/1.1 408 "));
    assert!(peer.has_ended());
}

#[test]
fn an_idle_connection_waits_for_its_stream_and_one_timer() {
    let mut world = World::new();
    let mut peer = world.open(plain_echo());
    peer.send_message("once");
    world.settle();
    assert_eq!(peer.events(), [message("once")]);
    assert_eq!(world.clock.sleepers(), 1);
}

/// Holds what is written until it is flushed, as TLS may.
struct Buffered {
    stream: Stream,
    held: Vec<u8>,
}

impl AsyncRead for Buffered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Buffered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.held.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.held.is_empty() {
            let n = ready!(Pin::new(&mut this.stream).poll_write(cx, &this.held))?;
            this.held.drain(..n);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[test]
fn a_flush_that_has_to_wait_is_finished_later() {
    let mut world = World::new();
    let app = plain_echo().options(Options::new().ping_interval(None));
    let service = app.build().unwrap();
    let mut peer = world.connect_through(&service, |stream| Buffered { stream, held: Vec::new() });
    peer.send(HANDSHAKE);
    world.settle();
    peer.take();
    peer.accept(10);
    peer.send_message("more than ten bytes");
    world.settle();
    peer.accept(usize::MAX);
    world.settle();
    assert_eq!(peer.events(), [message("more than ten bytes")]);
    // A peer that takes nothing is found all the same.
    peer.accept(0);
    peer.send_message("and again");
    world.settle();
    world.advance(Duration::from_secs(30));
    assert!(peer.is_dropped());
}

#[test]
fn a_protocol_callback_that_panics_is_answered_with_500() {
    let app =
        App::new().ws("/", |route| route.select_protocol(|_, offered| Some(offered[7].to_owned())));
    let mut world = World::new();
    let mut peer = world.connect(&app.build().unwrap());
    peer.send(HANDSHAKE);
    world.settle();
    assert!(peer.take().starts_with(b"HTTP/1.1 500 "));
}

/// How far `count` got beyond zero when another task of the thread had its turn.
fn next_turn(world: &World, count: &Arc<AtomicUsize>) -> Arc<AtomicUsize> {
    let seen = Arc::new(AtomicUsize::new(0));
    let (count, other) = (Arc::clone(count), Arc::clone(&seen));
    let waits = std::future::poll_fn(move |cx| {
        other.store(count.load(Ordering::Relaxed), Ordering::Relaxed);
        if other.load(Ordering::Relaxed) > 0 {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    });
    world.spawner().spawn_local(waits).unwrap();
    seen
}

#[test]
fn a_flood_of_small_messages_lets_others_have_a_turn() {
    let handled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handled);
    let app = App::new().ws("/", move |route| {
        route.message(move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            async {}
        })
    });
    let mut world = World::new();
    let mut peer = world.open(app);
    peer.send(&client_frames(&vec![Message::from(""); 100_000]));
    let seen = next_turn(&world, &handled);
    world.settle();
    assert_eq!(handled.load(Ordering::Relaxed), 100_000);
    assert!((1..10_000).contains(&seen.load(Ordering::Relaxed)), "{seen:?}");
}

#[test]
fn a_flood_lets_others_have_a_turn_the_sooner_the_longer_its_handlers_take() {
    let mut world = World::new();
    let handled = Arc::new(AtomicUsize::new(0));
    let (count, clock) = (Arc::clone(&handled), world.clock.clone());
    let app = App::new().ws("/", move |route| {
        route.message(move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            clock.advance(Duration::from_millis(1));
            async {}
        })
    });
    let mut peer = world.open(app);
    peer.send(&client_frames(&vec![Message::from(""); 1000]));
    let seen = next_turn(&world, &handled);
    world.settle();
    assert_eq!(handled.load(Ordering::Relaxed), 1000);
    assert!((1..20).contains(&seen.load(Ordering::Relaxed)), "{seen:?}");
}

/// Queues a message with every write, as another thread could.
struct Fed {
    stream: Stream,
    ws: Arc<Mutex<Option<Ws>>>,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Fed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Fed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(ws) = &*self.ws.lock().unwrap() {
            if self.writes.fetch_add(1, Ordering::Relaxed) < 10_000 {
                ws.try_send("one more").unwrap();
            }
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[test]
fn a_connection_that_is_fed_without_end_lets_others_have_a_turn() {
    let ws = Arc::new(Mutex::new(None));
    let give = Arc::clone(&ws);
    let app = App::new().ws("/", move |route| {
        route.message(move |ws, _| {
            *give.lock().unwrap() = Some(ws.clone());
            async move {
                let _ = ws.send("the first").await;
            }
        })
    });
    let mut world = World::new();
    let writes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&writes);
    let mut peer =
        world.connect_through(&app.build().unwrap(), |stream| Fed { stream, ws, writes: count });
    peer.send(HANDSHAKE);
    world.settle();
    peer.send_message("begin");
    let seen = next_turn(&world, &writes);
    world.settle();
    assert_eq!(writes.load(Ordering::Relaxed), 10_001);
    assert!((1..100).contains(&seen.load(Ordering::Relaxed)), "{seen:?}");
}
