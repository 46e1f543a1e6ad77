//! What is counted, seen by a recorder as an exporter would see it.
#![cfg(all(feature = "metrics", any(feature = "tokio", feature = "async-std", feature = "smol")))]

mod support;

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{Arc, LazyLock, Mutex, MutexGuard, atomic::AtomicU64, atomic::Ordering},
};

use axeom_ws::{App, BoxError, Handler, Options, Rejection, Ws};
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    set_global_recorder,
};

use self::support::{
    Events, NOWHERE, TestRuntime, TestServer,
    frame::{self, Frame, TEXT},
    in_memory_from,
    request::Request,
    until,
};

on_every_runtime!(
    connections_are_counted_up_and_down,
    handshakes_are_counted_by_status,
    messages_and_bytes_are_counted_both_ways,
    backpressure_and_what_it_costs_are_counted,
    closes_are_counted_by_code,
    panics_are_counted_wherever_they_are_caught
);

/// All that was counted in this process, by name and labels.
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>);

impl Counts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<AtomicU64>>> {
        self.0.lock().unwrap()
    }

    fn entry(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<_> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = [&[key.name().to_owned()], &labels[..]].concat().join(" ");
        Arc::clone(self.lock().entry(name).or_default())
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.entry(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.entry(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("nothing is documented to be a histogram: {key}")
    }
}

/// One test counts at a time: a process has one recorder.
struct Counting {
    before: BTreeMap<String, u64>,
    _turn: futures::lock::MutexGuard<'static, Counts>,
}

static COUNTS: LazyLock<Counts> = LazyLock::new(|| {
    let counts = Counts::default();
    set_global_recorder(counts.clone()).unwrap();
    counts
});

static TURN: LazyLock<futures::lock::Mutex<Counts>> =
    LazyLock::new(|| futures::lock::Mutex::new(COUNTS.clone()));

impl Counting {
    async fn begin() -> Self {
        let turn = TURN.lock().await;
        // The last connections of the test before.
        until(|| connections() == 0.0).await;
        Self { before: counted(), _turn: turn }
    }

    /// What was counted since, without what was not.
    fn since(&self) -> Vec<(String, u64)> {
        let mut counts = counted();
        counts.retain(|name, count| {
            *count -= self.before.get(name).unwrap_or(&0);
            *count > 0
        });
        counts.into_iter().collect()
    }

    /// The same, of one metric.
    fn of(&self, metric: &str) -> Vec<(String, u64)> {
        let metric = format!("axeom_ws_{metric}_total");
        self.since()
            .into_iter()
            .filter_map(|(name, count)| {
                Some((name.strip_prefix(&metric)?.trim_start().to_owned(), count))
            })
            .collect()
    }

    fn total(&self, metric: &str) -> u64 {
        self.of(metric).into_iter().map(|(_, count)| count).sum()
    }
}

const CONNECTIONS: &str = "axeom_ws_connections";

fn counted() -> BTreeMap<String, u64> {
    let counts = COUNTS.lock();
    let counters = counts.iter().filter(|(name, _)| *name != CONNECTIONS);
    counters.map(|(name, count)| (name.clone(), count.load(Ordering::SeqCst))).collect()
}

fn connections() -> f64 {
    COUNTS.lock().get(CONNECTIONS).map_or(0.0, |bits| f64::from_bits(bits.load(Ordering::SeqCst)))
}

fn app() -> App {
    App::new()
        .guard(async |ctx| match ctx.query("banned") {
            Some(_) => Err(Rejection::forbidden("no")),
            None => Ok(()),
        })
        .ws("/", |route| {
            route.message(async |ws: Ws, msg| -> Result<(), BoxError> {
                match msg.as_text() {
                    Some("close") => ws.close(4000, ""),
                    Some("terminate") => ws.terminate(),
                    Some("fail") => return Err("as told".into()),
                    Some("panic") => panic!("as told"),
                    _ => ws.send(msg).await?,
                }
                Ok(())
            })
        })
        .ws("/socket", |route| route.socket(async |_| ()))
        .ws("/no-session", |route| route.handler(NoSession))
}

struct NoSession;

impl Handler<()> for NoSession {
    type Session = ();

    fn session(&self, _: &Ws) {
        panic!("as told")
    }
}

fn labelled(label: &str, counts: &[(impl Display, u64)]) -> Vec<(String, u64)> {
    counts.iter().map(|(value, count)| (format!("{label}={value}"), *count)).collect()
}

async fn connections_are_counted_up_and_down<R: TestRuntime>() {
    let _counting = Counting::begin().await;
    let server = TestServer::start::<R, _>(app()).await;
    let mut raws = Vec::new();
    for n in 1..=5 {
        raws.push(server.upgraded::<R>("/").await);
        assert_eq!(connections(), f64::from(n));
        assert_eq!(server.handle.connections(), n as usize);
    }
    // Not a connection yet, and never one.
    let _silent = server.raw::<R>().await;
    assert_eq!(server.raw::<R>().await.ask(&Request::get("/?banned")).await.status, 403);
    assert_eq!(connections(), 5.0);
    drop(raws.pop());
    until(|| connections() == 4.0).await;
    raws[0].send(frame::close(1000)).await;
    until(|| connections() == 3.0).await;
    server.handle.shutdown();
    drop(raws);
    until(|| connections() == 0.0).await;
}

async fn handshakes_are_counted_by_status<R: TestRuntime>() {
    let counting = Counting::begin().await;
    let server = TestServer::start::<R, _>(app().max_connections(2)).await;
    let good = Request::get("/");
    for (request, status) in [
        (Request::get("/?banned"), 403),
        (Request::get("/nowhere"), 404),
        (Request::plain("GET /"), 426),
        (good.clone().without("Host"), 400),
        // Refused before there is a request at all.
        (good.clone().and("no header"), 400),
        (good.clone().and(format!("X-Large: {}", "x".repeat(20_000))), 431),
    ] {
        let mut raw = server.raw::<R>().await;
        raw.try_send(request.text()).await;
        assert_eq!(raw.head().await.status, status, "{request:?}");
    }
    let _inside = [server.upgraded::<R>("/").await, server.upgraded::<R>("/").await];
    assert_eq!(server.raw::<R>().await.response().await.status, 503);
    let statuses = [(101, 2), (400, 2), (403, 1), (404, 1), (426, 1), (431, 1), (503, 1)];
    assert_eq!(counting.of("handshakes"), labelled("status", &statuses));
}

async fn messages_and_bytes_are_counted_both_ways<R: TestRuntime>() {
    let counting = Counting::begin().await;
    let server = TestServer::start::<R, _>(app()).await;
    let mut client = server.connect::<R>("/").await;
    for size in [0, 1, 60_000] {
        client.send("x".repeat(size)).await;
        client.recv().await;
        client.send(vec![0; size]).await;
        client.recv().await;
    }
    // Fragments are one message, and control frames are none.
    let mut raw = server.upgraded::<R>("/").await;
    raw.send(frame::fragment(TEXT, b"one")).await;
    raw.send(frame::masked(frame::PING, b"ping")).await;
    assert_eq!(raw.frame().await, Frame::new(frame::PONG, "ping"));
    raw.send(frame::masked(frame::CONTINUATION, b"two")).await;
    assert_eq!(raw.frame().await, Frame::text("onetwo"));
    for way in ["received", "sent"] {
        assert_eq!(counting.total(&format!("messages_{way}")), 7, "{way}");
        assert_eq!(counting.total(&format!("bytes_{way}")), 120_008, "{way}");
    }
    assert_eq!(counting.total("backpressure"), 0);
    assert_eq!(counting.total("messages_dropped"), 0);
}

async fn backpressure_and_what_it_costs_are_counted<R: TestRuntime>() {
    let counting = Counting::begin().await;
    let mut opened = Events::new();
    let tell = opened.teller();
    let options = Options::new().high_water_mark(1000).send_limit(3000);
    let app = App::new().options(options).ws("/", |route| {
        route.open(move |ws: Ws| {
            ws.subscribe("topic");
            tell(ws);
            async {}
        })
    });
    let service = app.build().unwrap();
    let mut raw = in_memory_from::<R>(&service, NOWHERE, 64);
    raw.upgrade("/").await;
    let ws = opened.next().await;
    for episode in 1..=3 {
        let mut sent = 0;
        while ws.try_send(vec![0; 100]).is_ok() {
            sent += 1;
            if sent == 1 {
                // The stream takes what it can.
                until(|| ws.buffered_amount() == 102 - 64).await;
            }
        }
        assert_eq!(counting.total("backpressure"), episode, "once for each episode");
        // Who is handed a message back may still send it; what is published is gone.
        assert_eq!(counting.total("messages_dropped"), 2 * (episode - 1));
        for _ in 0..2 {
            assert_eq!(service.handle().publish("topic", vec![0; 100]), 0);
        }
        assert_eq!(counting.total("messages_dropped"), 2 * episode);
        for _ in 0..sent {
            raw.frame().await;
        }
        until(|| ws.buffered_amount() == 0).await;
    }
}

async fn closes_are_counted_by_code<R: TestRuntime>() {
    let counting = Counting::begin().await;
    let server = TestServer::start::<R, _>(app()).await;
    let say = |what: &str| frame::masked(TEXT, what.as_bytes());
    for last in [
        frame::close(1000),
        frame::close(3999),
        frame::close(4321),
        frame::masked(frame::CLOSE, b""),
        say("close"),
        say("close"),
        say("terminate"),
        say("fail"),
        say("panic"),
        frame::masked(3, b"a violation"),
        frame::masked(TEXT, b"\xff"),
    ] {
        let mut raw = server.upgraded::<R>("/").await;
        raw.send(last).await;
        while let Some(frame) = raw.try_frame().await {
            raw.try_send(frame::close(frame.close_code().unwrap_or(1000))).await;
        }
    }
    drop(server.upgraded::<R>("/").await);
    // One whose handler owns the loop, and has ended it.
    assert_eq!(server.upgraded::<R>("/socket").await.close_code().await, 1000);
    // One whose handler never came to be.
    assert_eq!(server.upgraded::<R>("/no-session").await.close_code().await, 1011);
    until(|| connections() == 0.0).await;
    let codes = [
        ("1000", 2),
        ("1002", 1),
        ("1005", 1),
        ("1006", 2),
        ("1007", 1),
        ("1011", 3),
        ("3xxx", 1),
        ("4xxx", 3),
    ];
    assert_eq!(counting.of("closes"), labelled("code", &codes));
}

async fn panics_are_counted_wherever_they_are_caught<R: TestRuntime>() {
    /// A session that panics when it is dropped.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a session panics");
        }
    }

    struct Panics;

    impl Handler for Panics {
        type Session = Bomb;

        fn session(&self, _: &Ws) -> Bomb {
            Bomb
        }

        async fn close(
            &self,
            _: &mut Bomb,
            _: Ws,
            _: axeom_ws::CloseCode,
            _: axeom_ws::Utf8Bytes,
        ) -> Result<(), BoxError> {
            panic!("a handler panics");
        }
    }

    let counting = Counting::begin().await;
    let app = App::new().ws("/", |route| route.handler(Panics)).group("/derive", |group| {
        group.guard(async |_| panic!("a guard panics")).ws("/", |route| route)
    });
    let server = TestServer::start::<R, _>(app).await;
    server.connect::<R>("/").await.close(1000, "").await;
    until(|| counting.total("panics") == 2).await;
    assert!(server.request::<R>("/derive", &[]).await.is_err());
    assert_eq!(counting.total("panics"), 3);
    assert_eq!(
        counting.of("handshakes"),
        [("status=101".to_owned(), 1), ("status=500".to_owned(), 1)]
    );
}
