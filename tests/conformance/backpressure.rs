//! Senders that are faster than the peer: what they are told, who waits, and what happens to
//! the messages.
//!
//! Most of these run over a stream in memory that takes [`TAKEN`] bytes and no more, so that
//! what is queued is known to the byte.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use axeom_ws::{App, Closed, Event, Message, Options, SendStatus, Service, TrySendError, Ws};
use futures::future::{Either, join, select};

use crate::{
    on_every_runtime,
    support::{
        Events, NOWHERE, TestRuntime, TestServer,
        frame::{self, BINARY, CLOSE, Frame, PING, PONG, TEXT},
        in_memory, in_memory_from,
        raw::Raw,
        until, yield_now,
    },
};

on_every_runtime!(
    mounted:
    the_status_follows_the_queue,
    one_large_message_fits_an_empty_queue,
    a_large_message_waits_for_an_empty_queue,
    each_episode_ends_in_one_drain,
    congestion_lasts_until_the_low_water_mark,
    send_waits_and_keeps_the_order,
    a_large_send_goes_before_the_small_ones_behind_it,
    a_cancelled_send_passes_its_turn_on,
    everything_arrives_once_a_client_reads_again,
    ready_waits_for_the_low_water_mark,
    waiting_ends_with_the_connection,
    pings_and_pongs_bypass_the_limit,
    the_close_frame_bypasses_the_limit,
    try_send_closes_on_full,
    publish_closes_on_full,
    a_slow_subscriber_delays_nobody_and_misses_by_its_own_limit,
    a_cancelled_wait_leaves_nothing_behind,
    a_wait_that_is_cancelled_when_it_is_over_keeps_nobody_waiting,
    a_send_that_is_cancelled_and_repeated_sends_once,
    a_receive_that_is_cancelled_and_repeated_loses_nothing,
    the_options_of_a_route_win
);

/// What the stream takes while its peer does not read.
const TAKEN: usize = 64;

const HIGH: usize = 1000;
const LOW: usize = 500;
const LIMIT: usize = 3000;

fn options() -> Options {
    Options::new().high_water_mark(HIGH).send_limit(LIMIT)
}

/// A message that says which it is.
fn message(n: u32) -> Vec<u8> {
    let mut message = vec![0; 100];
    message[..4].copy_from_slice(&n.to_be_bytes());
    message
}

/// A message's size on the wire.
const FRAME: usize = 102;

/// An app that hands out its connections, and tells what else its handlers see. All
/// connections subscribe to `topic`.
fn app(options: Options) -> (App, Events<Ws>, Events<String>) {
    let (opened, events) = (Events::new(), Events::new());
    let (open, tell) = (opened.teller(), events.teller());
    let (ping, pong, drain, close) = (tell.clone(), tell.clone(), tell.clone(), tell.clone());
    let app = App::new().options(options).ws("/*", |route| {
        route
            .open(move |ws: Ws| {
                ws.subscribe("topic");
                open(ws);
                async {}
            })
            .message(move |_, _| {
                tell("message".to_owned());
                async {}
            })
            .ping(move |_, _| {
                ping("ping".to_owned());
                async {}
            })
            .pong(move |_, _| {
                pong("pong".to_owned());
                async {}
            })
            .drain(move |_| {
                drain("drain".to_owned());
                async {}
            })
            .close(move |_, code, _| {
                close(format!("close {code}"));
                async {}
            })
    });
    (app, opened, events)
}

/// A connection whose peer reads nothing but what a test reads.
struct Stalled {
    raw: Raw,
    ws: Ws,
    events: Events<String>,
    service: Service,
}

async fn stalled<R: TestRuntime>(options: Options) -> Stalled {
    let (app, mut opened, events) = app(options);
    let service = app.build().unwrap();
    let mut raw = in_memory_from::<R>(&service, NOWHERE, TAKEN);
    raw.upgrade("/").await;
    Stalled { raw, ws: opened.next().await, events, service }
}

impl Stalled {
    /// Queues messages until one is refused; how many were not.
    async fn fill(&mut self) -> u32 {
        fill(&self.ws).await
    }

    async fn expect(&mut self, messages: u32) {
        expect(&mut self.raw, messages).await;
    }

    /// Waits until the handlers have seen a ping, and with it all that was before it, and
    /// tells what that was.
    async fn seen(&mut self) -> Vec<String> {
        self.raw.send(frame::masked(PING, b"")).await;
        let mut seen = Vec::new();
        loop {
            match self.events.next().await {
                ping if ping == "ping" => return seen,
                event => seen.push(event),
            }
        }
    }
}

/// Queues messages until one is refused; how many were not.
async fn fill(ws: &Ws) -> u32 {
    for n in 0.. {
        match ws.try_send(message(n)) {
            Ok(_) => {}
            Err(TrySendError::Full(_)) => return n,
            Err(error) => panic!("{error:?}"),
        }
        settled(ws, n).await;
    }
    unreachable!()
}

/// The stream takes what it can of the first message.
async fn settled(ws: &Ws, n: u32) {
    if n == 0 {
        until(|| ws.buffered_amount() == FRAME - TAKEN).await;
    }
}

/// What the peer has read counts as queued until the connection's task goes on.
async fn emptied(ws: &Ws) {
    until(|| ws.buffered_amount() == 0).await;
}

/// Reads the messages that [`fill`] queued, and pongs in between.
async fn expect(raw: &mut Raw, messages: u32) {
    for n in 0..messages {
        loop {
            let frame = raw.frame().await;
            if frame.first != Frame::new(PONG, "").first {
                assert_eq!(frame, Frame::new(BINARY, message(n)), "message {n}");
                break;
            }
        }
    }
}

/// Polls a future once, with a waker that wakes nobody.
fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    poll_with(Waker::noop(), future)
}

fn poll_with<F: Future>(waker: &Waker, future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

async fn the_status_follows_the_queue<R: TestRuntime>() {
    let mut stalled = stalled::<R>(options()).await;
    let ws = stalled.ws.clone();
    let mut queued = 0;
    let mut sent = 0;
    loop {
        let fits = message(sent).len() <= LIMIT - queued;
        match ws.try_send(message(sent)) {
            Ok(status) => {
                settled(&ws, sent).await;
                queued += if sent == 0 { FRAME - TAKEN } else { FRAME };
                let expected =
                    if queued > HIGH { SendStatus::Backpressure } else { SendStatus::Sent };
                assert_eq!((status, fits), (expected, true), "{queued} bytes are queued");
            }
            Err(error) => {
                assert_eq!(error, TrySendError::Full(message(sent).into()), "it is handed back");
                assert!(!fits, "refused with {queued} bytes queued");
                break;
            }
        }
        assert_eq!(ws.buffered_amount(), queued);
        sent += 1;
    }
    assert_eq!(ws.buffered_amount(), queued, "what is refused is not queued");
    // A smaller one still fits.
    assert_eq!(ws.try_send("x"), Ok(SendStatus::Backpressure));
    stalled.expect(sent).await;
    assert_eq!(stalled.raw.frame().await, Frame::text("x"));
    assert_eq!(stalled.events.next().await, "drain");
    emptied(&ws).await;
    assert_eq!(ws.try_send(message(0)), Ok(SendStatus::Sent));
    stalled.expect(1).await;
    // Closed is closed, however full.
    emptied(&ws).await;
    assert_eq!(stalled.fill().await, sent);
    ws.close(1000, "");
    let closed = TrySendError::Closed(Message::from("late").into());
    assert_eq!(ws.try_send("late"), Err(closed.clone()));
    assert_eq!(closed.into_message(), Message::from("late"));
}

async fn one_large_message_fits_an_empty_queue<R: TestRuntime>() {
    let mut stalled = stalled::<R>(options()).await;
    let large = vec![7; 10 * LIMIT];
    for _ in 0..3 {
        assert_eq!(stalled.ws.try_send(large.clone()), Ok(SendStatus::Backpressure));
        until(|| stalled.ws.buffered_amount() == large.len() + 4 - TAKEN).await;
        let kept = stalled.ws.try_send(Message::from("x").compress(false)).unwrap_err();
        assert_eq!(kept.into_inner(), Message::from("x").compress(false), "all of it");
        for small in ["x", ""] {
            // An empty message has a frame, too.
            assert!(matches!(stalled.ws.try_send(small), Err(TrySendError::Full(_))));
        }
        assert_eq!(stalled.raw.frame().await, Frame::new(BINARY, large.clone()));
        assert_eq!(stalled.events.next().await, "drain");
        emptied(&stalled.ws).await;
    }
}

async fn a_large_message_waits_for_an_empty_queue<R: TestRuntime>() {
    let mut stalled = stalled::<R>(options()).await;
    let ws = stalled.ws.clone();
    let large = vec![7; 10 * LIMIT];
    ws.try_send(message(0)).unwrap();
    settled(&ws, 0).await;
    // No backpressure, and yet no room for this one.
    assert_eq!(ws.ready().await, Ok(()));
    let mut sending = pin!(ws.send(large.clone()));
    assert!(poll_once(sending.as_mut()).is_pending());
    let (raw, received) = (&mut stalled.raw, large.clone());
    let reading = async move {
        expect(raw, 1).await;
        assert_eq!(raw.frame().await, Frame::new(BINARY, received));
    };
    let (sent, ()) = join(sending, reading).await;
    assert_eq!(sent, Ok(()));
}

async fn each_episode_ends_in_one_drain<R: TestRuntime>() {
    let mut stalled = stalled::<R>(options()).await;
    for _ in 0..10 {
        let messages = stalled.fill().await;
        assert_eq!(stalled.seen().await, [""; 0], "nothing was read");
        stalled.expect(messages).await;
        assert_eq!(stalled.raw.frame().await, Frame::new(PONG, ""));
        assert_eq!(stalled.seen().await, ["drain"]);
        assert_eq!(stalled.raw.frame().await, Frame::new(PONG, ""));
        emptied(&stalled.ws).await;
    }
    // Without backpressure there is nothing to drain.
    stalled.ws.send(message(0)).await.unwrap();
    stalled.expect(1).await;
    assert_eq!(stalled.seen().await, [""; 0]);
}

async fn congestion_lasts_until_the_low_water_mark<R: TestRuntime>() {
    let mut stalled = stalled::<R>(options()).await;
    let ws = stalled.ws.clone();
    let messages = stalled.fill().await;
    // One read makes room for as many bytes.
    let mut queued = ws.buffered_amount();
    while queued > LOW + TAKEN {
        let received = stalled.raw.received.len();
        stalled.raw.read().await;
        queued -= stalled.raw.received.len() - received;
        until(|| ws.buffered_amount() == queued).await;
    }
    assert!((LOW + 1..HIGH).contains(&queued), "{queued}");
    assert_eq!(stalled.seen().await, [""; 0], "between the marks nothing changes");
    assert!(poll_once(pin!(ws.ready())).is_pending());
    assert!(poll_once(pin!(ws.send("waits"))).is_pending());
    assert_eq!(ws.try_send(message(messages)), Ok(SendStatus::Backpressure));
    while ws.buffered_amount() > LOW {
        stalled.raw.read().await;
        yield_now().await;
    }
    assert_eq!(stalled.events.next().await, "drain");
    assert_eq!(ws.ready().await, Ok(()));
    assert_eq!(ws.try_send(message(messages + 1)), Ok(SendStatus::Sent));
    stalled.expect(messages + 2).await;
}

async fn send_waits_and_keeps_the_order<R: TestRuntime>() {
    let mut stalled = stalled::<R>(options()).await;
    let mut sent = Events::new();
    let (ws, tell) = (stalled.ws.clone(), sent.teller());
    R::default().spawn(async move {
        for n in 0..500 {
            ws.send(message(n)).await.unwrap();
            tell(n);
        }
    });
    until(|| poll_once(pin!(stalled.ws.ready())).is_pending()).await;
    assert!(poll_once(pin!(stalled.ws.send("me too"))).is_pending());
    for n in 0..500 {
        assert!(stalled.ws.buffered_amount() <= HIGH + FRAME);
        assert_eq!(stalled.raw.frame().await, Frame::new(BINARY, message(n)));
    }
    for n in 0..500 {
        assert_eq!(sent.next().await, n);
    }
}

/// Begins to send, and waits: the sender has its place among those that wait, and goes on as a task.
fn wait_to_send<R: TestRuntime>(ws: &Ws, message: Vec<u8>) {
    let ws = ws.clone();
    let mut sending = Box::pin(async move { ws.send(message).await.unwrap() });
    assert!(poll_once(sending.as_mut()).is_pending(), "it overtakes those that wait");
    R::default().spawn(sending);
}

async fn a_large_send_goes_before_the_small_ones_behind_it<R: TestRuntime>() {
    let mut stalled = stalled::<R>(options()).await;
    let ws = stalled.ws.clone();
    // There is room for more, but none for a message that needs an empty queue.
    for n in 0..5 {
        assert_eq!(ws.try_send(message(n)), Ok(SendStatus::Sent));
        settled(&ws, n).await;
    }
    let large = vec![7; 2 * LIMIT];
    wait_to_send::<R>(&ws, large.clone());
    for n in 6..40 {
        wait_to_send::<R>(&ws, message(n));
    }
    // This one waits for nobody.
    assert_eq!(ws.try_send(message(5)), Ok(SendStatus::Sent));
    stalled.expect(6).await;
    assert_eq!(stalled.raw.frame().await, Frame::new(BINARY, large));
    for n in 6..40 {
        assert_eq!(stalled.raw.frame().await, Frame::new(BINARY, message(n)));
    }
    emptied(&ws).await;
    // Nobody waits any more, so nobody has to.
    assert_eq!(poll_once(pin!(ws.send("free"))), Poll::Ready(Ok(())));
    assert_eq!(stalled.raw.frame().await, Frame::text("free"));
}

async fn a_cancelled_send_passes_its_turn_on<R: TestRuntime>() {
    let mut stalled = stalled::<R>(options()).await;
    let ws = stalled.ws.clone();
    assert_eq!(ws.try_send(message(0)), Ok(SendStatus::Sent));
    settled(&ws, 0).await;
    let mut large = Box::pin(ws.send(vec![7; 2 * LIMIT]));
    assert!(poll_once(large.as_mut()).is_pending());
    let mut second = Box::pin(ws.send(vec![8; 2 * LIMIT]));
    assert!(poll_once(second.as_mut()).is_pending());
    wait_to_send::<R>(&ws, message(1));
    wait_to_send::<R>(&ws, message(2));
    // One in between, then the first. The peer reads nothing meanwhile.
    drop(second);
    drop(large);
    until(|| ws.buffered_amount() == 3 * FRAME - TAKEN).await;
    stalled.expect(3).await;
    emptied(&ws).await;
}

async fn everything_arrives_once_a_client_reads_again<R: TestRuntime>() {
    const MESSAGES: u32 = 1500;
    let (app, mut opened, mut events) = app(Options::new());
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    let ws = opened.next().await;
    let large = |n: u32| n.to_be_bytes().repeat(4096);
    // More than the buffers of both sockets hold, until it is refused.
    let mut sent = 0;
    while sent < MESSAGES / 2 {
        match ws.try_send(large(sent)) {
            Ok(_) => sent += 1,
            Err(TrySendError::Full(message)) if sent > 100 => {
                assert_eq!(message, large(sent).into());
                break;
            }
            Err(_) => yield_now().await,
        }
    }
    let sender = ws.clone();
    R::default().spawn(async move {
        for n in sent..MESSAGES {
            sender.send(large(n)).await.unwrap();
        }
        sender.close(1000, "that was all");
    });
    for n in 0..MESSAGES {
        let frame = raw.frame().await;
        assert!(frame == Frame::new(BINARY, large(n)), "message {n}");
    }
    assert_eq!(raw.close_code().await, 1000);
    while events.next().await != "close 1000" {}
    assert_eq!(ws.buffered_amount(), 0);
}

async fn ready_waits_for_the_low_water_mark<R: TestRuntime>() {
    let mut stalled = stalled::<R>(options()).await;
    assert_eq!(stalled.ws.ready().await, Ok(()), "nothing is queued");
    for _ in 0..3 {
        let messages = stalled.fill().await;
        let mut ready = Events::new();
        for _ in 0..10 {
            let (ws, tell) = (stalled.ws.clone(), ready.teller());
            R::default().spawn(async move { tell((ws.ready().await, ws.buffered_amount())) });
        }
        assert!(poll_once(pin!(stalled.ws.ready())).is_pending());
        stalled.expect(messages).await;
        for _ in 0..10 {
            let (ready, queued) = ready.next().await;
            assert_eq!(ready, Ok(()));
            assert!(queued <= LOW, "ready with {queued} bytes queued");
        }
        emptied(&stalled.ws).await;
    }
}

async fn waiting_ends_with_the_connection<R: TestRuntime>() {
    let how: [fn(&mut Stalled); 4] = [
        |stalled| stalled.ws.close(1000, ""),
        |stalled| stalled.ws.terminate(),
        |stalled| stalled.raw = Raw::new(crate::support::pipe::pipe().0),
        |stalled| stalled.service.handle().shutdown(),
    ];
    for end in how {
        let mut stalled = stalled::<R>(options()).await;
        stalled.fill().await;
        let mut done = Events::new();
        for _ in 0..3 {
            let (ready, send) = (stalled.ws.clone(), stalled.ws.clone());
            let (tell, too) = (done.teller(), done.teller());
            R::default().spawn(async move { tell(ready.ready().await) });
            R::default().spawn(async move { too(send.send("never").await) });
        }
        assert!(poll_once(pin!(stalled.ws.ready())).is_pending());
        end(&mut stalled);
        for _ in 0..6 {
            assert_eq!(done.next().await, Err(Closed));
        }
    }
}

async fn pings_and_pongs_bypass_the_limit<R: TestRuntime>() {
    let mut stalled = stalled::<R>(options()).await;
    let messages = stalled.fill().await;
    let queued = stalled.ws.buffered_amount();
    stalled.ws.ping("are you there?").unwrap();
    assert_eq!(stalled.ws.buffered_amount(), queued + 16);
    // Of the peer's pings the last is answered.
    for payload in [&b"first"[..], b"last"] {
        stalled.raw.send(frame::masked(PING, payload)).await;
        assert_eq!(stalled.events.next().await, "ping");
    }
    stalled.expect(messages).await;
    assert_eq!(stalled.raw.frame().await, Frame::new(PING, "are you there?"));
    assert_eq!(stalled.raw.frame().await, Frame::new(PONG, "last"));
    assert_eq!(stalled.events.next().await, "drain");
    stalled.raw.send(frame::masked(PONG, b"yes")).await;
    assert_eq!(stalled.events.next().await, "pong");
}

async fn the_close_frame_bypasses_the_limit<R: TestRuntime>() {
    // This side's, and the answer to the peer's.
    let mut ours = stalled::<R>(options()).await;
    let messages = ours.fill().await;
    ours.ws.close(4000, "enough");
    ours.expect(messages).await;
    assert_eq!(ours.raw.close_code().await, 4000);
    assert_eq!(ours.events.next().await, "close 4000");

    let mut theirs = stalled::<R>(options()).await;
    let messages = theirs.fill().await;
    theirs.raw.send(frame::close(4001)).await;
    until(|| theirs.ws.is_closed()).await;
    theirs.expect(messages).await;
    assert_eq!(theirs.raw.close_code().await, 4001);
    assert_eq!(theirs.events.next().await, "close 4001");
}

async fn try_send_closes_on_full<R: TestRuntime>() {
    let mut stalled = stalled::<R>(options().close_on_full(true)).await;
    let (ws, mut waited) = (stalled.ws.clone(), Events::new());
    let tell = waited.teller();
    // Whoever can wait does not close anything.
    let mut messages = 0;
    while ws.try_send(message(messages)) == Ok(SendStatus::Sent) {
        settled(&ws, messages).await;
        messages += 1;
    }
    assert!(poll_once(pin!(ws.send(vec![0; 2 * LIMIT]))).is_pending());
    assert!(!ws.is_closed());
    let sender = ws.clone();
    R::default().spawn(async move { tell(sender.send("waits").await) });
    let refused = (messages + 1..).find(|&n| ws.try_send(message(n)).is_err()).unwrap();
    assert!(ws.is_closed());
    assert_eq!(waited.next().await, Err(Closed));
    assert!(matches!(ws.try_send("late"), Err(TrySendError::Closed(_))));
    // What was queued before goes out, then the close frame.
    stalled.expect(refused).await;
    assert_eq!(stalled.raw.close_code().await, 1013);
    assert_eq!(stalled.events.next().await, "close 1013");
}

/// Publishes messages that `fast` reads one by one, until a slow subscriber misses one; how
/// many it did not miss.
async fn outrun(service: &Service, slow: &Ws, fast: &mut Raw) -> u32 {
    let mut took = None;
    for n in 0..200 {
        let reached = service.handle().publish("topic", message(n));
        assert_eq!(fast.frame().await, Frame::new(BINARY, message(n)));
        settled(slow, n).await;
        if reached == 1 {
            took.get_or_insert(n);
        }
        assert_eq!(reached, if took.is_some() { 1 } else { 2 }, "message {n}");
    }
    let took = took.expect("the slow one misses nothing");
    assert_eq!(took as usize, (LIMIT + TAKEN) / FRAME, "a limit of its own");
    took
}

async fn publish_closes_on_full<R: TestRuntime>() {
    let mut slow = stalled::<R>(options().close_on_full(true)).await;
    let mut fast = in_memory::<R>(&slow.service);
    fast.upgrade("/fast").await;
    until(|| slow.service.handle().subscriber_count("topic") == 2).await;
    let took = outrun(&slow.service, &slow.ws, &mut fast).await;
    assert!(slow.ws.is_closed());
    assert_eq!(slow.ws.missed(), 1);
    slow.expect(took).await;
    assert_eq!(slow.raw.close_code().await, 1013);
    assert_eq!(slow.events.next().await, "close 1013");
    until(|| slow.service.handle().subscriber_count("topic") == 1).await;
    assert_eq!(slow.service.handle().publish("topic", "on it goes"), 1);
    assert_eq!(fast.frame().await, Frame::text("on it goes"));
}

async fn a_slow_subscriber_delays_nobody_and_misses_by_its_own_limit<R: TestRuntime>() {
    let mut slow = stalled::<R>(options()).await;
    let mut fast = in_memory::<R>(&slow.service);
    fast.upgrade("/fast").await;
    until(|| slow.service.handle().subscriber_count("topic") == 2).await;
    let took = outrun(&slow.service, &slow.ws, &mut fast).await;
    assert_eq!(slow.ws.missed(), u64::from(200 - took));
    // It has all that it did not miss, and is served again.
    slow.expect(took).await;
    assert_eq!(slow.events.next().await, "drain");
    assert_eq!(slow.service.handle().publish("topic", "back"), 2);
    assert_eq!(slow.raw.frame().await, Frame::text("back"));
    assert_eq!(fast.frame().await, Frame::text("back"));
    assert_eq!(slow.ws.missed(), u64::from(200 - took));
    // The count is there to the end, and what fails otherwise is not in it.
    slow.ws.close(1000, "");
    assert!(slow.ws.try_send("late").is_err());
    slow.raw.send(frame::close(1000)).await;
    assert_eq!(slow.events.next().await, "close 1000");
    assert_eq!(slow.ws.missed(), u64::from(200 - took));
}

/// A waker that wakes nobody, and shows who holds on to it.
struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

async fn a_cancelled_wait_leaves_nothing_behind<R: TestRuntime>() {
    let mut stalled = stalled::<R>(options()).await;
    let ws = stalled.ws.clone();
    let messages = stalled.fill().await;
    let queued = ws.buffered_amount();
    let nobody = Arc::new(Nobody);
    let waker = Waker::from(Arc::clone(&nobody));
    for polls in [0, 1, 2].into_iter().cycle().take(3000) {
        let (mut send, mut ready) = (pin!(ws.send("never sent")), pin!(ws.ready()));
        for _ in 0..polls {
            assert!(poll_with(&waker, send.as_mut()).is_pending());
            assert!(poll_with(&waker, ready.as_mut()).is_pending());
        }
    }
    assert_eq!(Arc::strong_count(&nobody), 2, "somebody still waits");
    assert_eq!(ws.buffered_amount(), queued);
    stalled.expect(messages).await;
    assert_eq!(stalled.events.next().await, "drain");
    assert_eq!(ws.try_send("sent"), Ok(SendStatus::Sent));
    assert_eq!(stalled.raw.frame().await, Frame::text("sent"));
}

async fn a_wait_that_is_cancelled_when_it_is_over_keeps_nobody_waiting<R: TestRuntime>() {
    let mut stalled = stalled::<R>(options()).await;
    let ws = stalled.ws.clone();
    for _ in 0..20 {
        let messages = stalled.fill().await;
        let mut cancelled: Vec<_> =
            (0..5).map(|_| (Box::pin(ws.send("never sent")), Box::pin(ws.ready()))).collect();
        let mut done = Events::new();
        for (send, ready) in &mut cancelled {
            assert!(poll_once(send.as_mut()).is_pending());
            assert!(poll_once(ready.as_mut()).is_pending());
            let (waiting, tell) = (ws.clone(), done.teller());
            R::default().spawn(async move { tell(waiting.ready().await) });
        }
        stalled.expect(messages).await;
        assert_eq!(stalled.events.next().await, "drain");
        // They were woken, or would have been.
        drop(cancelled);
        for _ in 0..5 {
            assert_eq!(done.next().await, Ok(()));
        }
        emptied(&ws).await;
    }
}

async fn a_send_that_is_cancelled_and_repeated_sends_once<R: TestRuntime>() {
    let mut stalled = stalled::<R>(options()).await;
    let ws = stalled.ws.clone();
    R::default().spawn(async move {
        for n in 0..600 {
            match n % 3 {
                // Given up whenever it does not come to an end at once.
                0 => {
                    while poll_once(pin!(ws.send(message(n)))).is_pending() {
                        yield_now().await;
                    }
                }
                1 => loop {
                    match select(pin!(ws.send(message(n))), pin!(yield_now())).await {
                        Either::Left((sent, _)) => break sent.unwrap(),
                        Either::Right(_) => {}
                    }
                },
                _ => {
                    while ws.try_send(message(n)).is_err() {
                        select(pin!(ws.ready()), pin!(yield_now())).await;
                    }
                }
            }
        }
        ws.close(1000, "");
    });
    for n in 0..600 {
        assert_eq!(stalled.raw.frame().await, Frame::new(BINARY, message(n)));
    }
    assert_eq!(stalled.raw.frame().await.first, Frame::new(CLOSE, "").first);
}

async fn a_receive_that_is_cancelled_and_repeated_loses_nothing<R: TestRuntime>() {
    let app = App::new().ws("/", |route| {
        route.socket(async |mut socket| {
            loop {
                // Of two that wait for the same, one is given up each time.
                let event = match select(pin!(socket.recv()), pin!(yield_now())).await {
                    Either::Left((event, _)) => event,
                    Either::Right(_) => continue,
                };
                match event {
                    Some(Event::Message(message)) => socket.send(message).await.unwrap(),
                    Some(Event::Close(_)) | None => return,
                    Some(_) => {}
                }
            }
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    for n in 0..300_u32 {
        // Some alone, some together.
        if n % 10 == 0 {
            let batch = (n..n + 10).flat_map(|n| frame::masked(TEXT, n.to_string().as_bytes()));
            raw.send(batch.collect::<Vec<_>>()).await;
        }
        assert_eq!(raw.frame().await, Frame::text(&n.to_string()));
    }
    raw.send(frame::close(1000)).await;
    assert_eq!(raw.close_code().await, 1000);
}

async fn the_options_of_a_route_win<R: TestRuntime>() {
    let mut opened = Events::new();
    let tell = opened.teller();
    let open = || {
        let tell = tell.clone();
        move |ws: Ws| {
            tell(ws);
            async {}
        }
    };
    let small = || Options::new().high_water_mark(200).send_limit(400);
    let app = App::new()
        .options(options())
        .ws("/app", |route| route.open(open()))
        .ws("/route", |route| route.options(small()).open(open()))
        .group("/group", |group| {
            group
                .options(Options::new().high_water_mark(600))
                .ws("/app", |route| route.open(open()))
                .ws("/route", |route| route.open(open()).options(small().close_on_full(true)))
        });
    let service = app.build().unwrap();
    for (path, high, limit, closes) in [
        ("/app", HIGH, LIMIT, false),
        ("/route", 200, 400, false),
        ("/group/app", 600, LIMIT, false),
        ("/group/route", 200, 400, true),
    ] {
        let mut raw = in_memory_from::<R>(&service, NOWHERE, TAKEN);
        raw.upgrade(path).await;
        let ws = opened.next().await;
        let mut sent = 0;
        while ws.try_send(message(sent)) == Ok(SendStatus::Sent) {
            assert!(ws.buffered_amount() <= high, "{path}");
            settled(&ws, sent).await;
            sent += 1;
        }
        assert!((high + 1..=high + FRAME).contains(&ws.buffered_amount()), "{path}");
        while ws.try_send("x").is_ok() {}
        assert!(ws.buffered_amount() >= limit, "{path}");
        assert_eq!(ws.is_closed(), closes, "{path}");
    }
}
