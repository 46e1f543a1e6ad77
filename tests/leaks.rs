//! What is left of a connection: nothing on the heap and no descriptor, in whichever way it ended;
//! and how much memory a message takes that is announced and does not come.
#![cfg(all(target_os = "linux", any(feature = "tokio", feature = "async-std", feature = "smol")))]

mod support;

use std::{
    fmt,
    future::IntoFuture,
    io::Write,
    net::Ipv4Addr,
    panic,
    sync::{Mutex, Once},
    time::Duration,
};

use axeom_ws::{App, BoxError, Message, Options, Server, Ws};
use futures::{channel::oneshot, future::abortable};
use peak_alloc::PeakAlloc;
use socket2::SockRef;

use self::support::{
    Events, TestRuntime, TestServer, blocking,
    frame::{self, BINARY, CONTINUATION, FIN, Frame, MASK, TEXT},
    raw::Raw,
    run, until, yield_now,
};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// One test at a time, with its runtime: all look at the heap of this process.
static TURN: Mutex<()> = Mutex::new(());

/// Runs tests on every runtime, one after another.
macro_rules! in_turn {
    ($($name:ident),+) => {
        mod in_turn {
            use super::support::runtimes::*;

            $(#[test]
            fn $name() {
                let _turn = super::TURN.lock().unwrap_or_else(|failed| failed.into_inner());
                super::keep_quiet();
                #[cfg(feature = "tokio")]
                super::run::<Tokio>(super::$name::<Tokio>());
                #[cfg(feature = "async-std")]
                super::run::<AsyncStd>(super::$name::<AsyncStd>());
                #[cfg(feature = "smol")]
                super::run::<Smol>(super::$name::<Smol>());
            })+
        }
    };
}

in_turn!(
    nothing_is_left_however_a_connection_ends,
    nothing_is_left_of_a_server_with_its_connections,
    memory_follows_what_arrives_and_not_what_is_announced
);

const AS_TOLD: &str = "as told";

/// Reports no panic that a test asks for: what is reported is kept on the heap.
fn keep_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref() != Some(&AS_TOLD) {
                report(panic);
            }
        }));
    });
}

/// What is in use: bytes of the heap, and descriptors.
fn in_use() -> (usize, usize) {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    (HEAP.current_usage(), descriptors)
}

/// What is in use once that does not change any more.
async fn settled() -> (usize, usize) {
    let mut last = in_use();
    let mut unchanged = 0;
    while unchanged < 200 {
        std::thread::yield_now();
        yield_now().await;
        let now = in_use();
        unchanged = if now == last { unchanged + 1 } else { 0 };
        last = now;
    }
    last
}

/// Rounds of the same, which must leave nothing.
struct Rounds {
    name: &'static str,
    done: usize,
    before: (usize, usize),
    /// What did not come back to its level, and from where.
    left: Vec<[(usize, usize); 2]>,
}

impl Rounds {
    /// From the first of so many rounds to the last, nothing may be left.
    const MEASURED: usize = 10;

    fn of(name: &'static str) -> Self {
        Self { name, done: 0, before: (0, 0), left: Vec::new() }
    }

    /// Whether there is to be another round.
    async fn go_on(&mut self) -> bool {
        match self.done % (1 + Self::MEASURED) {
            0 if self.done > 0 => {
                let (before, after) = (self.before, settled().await);
                if after.0 <= before.0 && after.1 <= before.1 {
                    return false;
                }
                // Threads and the runtime may keep something for later now and then. What a
                // connection leaves is left each time.
                self.left.push([before, after]);
                assert!(self.left.len() < 8, "{} left bytes or descriptors: {self}", self.name);
            }
            1 => self.before = settled().await,
            _ => {}
        }
        self.done += 1;
        true
    }
}

impl fmt::Display for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.left.iter().try_for_each(|[before, after]| write!(f, "{before:?} to {after:?}; "))
    }
}

/// Passes soon.
const SOON: Duration = Duration::from_millis(20);

/// How a connection ends, and the close code that its peer is told.
const WAYS: [(&str, Option<u16>); 16] = [
    ("close by the peer", Some(1000)),
    ("close by a handler", Some(4000)),
    ("close by another handle", Some(4001)),
    ("violation", Some(1002)),
    ("too many fragments", Some(1008)),
    ("message too big", Some(1009)),
    ("idle", Some(1001)),
    ("lifetime", Some(1001)),
    ("pong timeout", None),
    ("write timeout", None),
    ("close timeout", Some(4000)),
    ("reset", None),
    ("end", None),
    ("panic", Some(1011)),
    ("error", Some(1011)),
    ("terminate", None),
];

fn options(way: &str) -> Options {
    let options = Options::new().max_fragments(2).max_message_size(1000);
    match way {
        "idle" => options.idle_timeout(SOON),
        "lifetime" => options.max_lifetime(SOON),
        "pong timeout" => options.ping_interval(SOON).pong_timeout(SOON),
        "write timeout" => options.write_timeout(SOON),
        "close timeout" => options.close_timeout(SOON),
        _ => options,
    }
}

async fn end_as_told(way: &str, ws: Ws, message: Message) -> Result<(), BoxError> {
    match (way, message.as_text()) {
        (_, Some("hello")) => ws.send(message).await?,
        ("close by a handler" | "close timeout", _) => ws.close(4000, "done"),
        ("write timeout", _) => while ws.send(vec![0; 256 * 1024]).await.is_ok() {},
        ("panic", _) => panic::panic_any(AS_TOLD),
        ("error", _) => return Err("an error".into()),
        ("terminate", _) => ws.terminate(),
        _ => {}
    }
    Ok(())
}

/// A route for each way, and the connections that are opened on them.
fn app() -> (App, Events<Ws>) {
    let opened = Events::new();
    let app = WAYS.into_iter().fold(App::new(), |app, (way, _)| {
        let tell = opened.teller();
        app.ws(&path(way), move |route| {
            route
                .options(options(way))
                .open(move |ws: Ws| {
                    ws.subscribe("news");
                    tell(ws);
                    async {}
                })
                .message(move |ws, message| end_as_told(way, ws, message))
        })
    });
    (app, opened)
}

fn path(way: &str) -> String {
    format!("/{}", way.replace(' ', "-"))
}

/// Opens a connection, uses it, and ends it.
async fn open_and_end<R: TestRuntime>(
    server: &TestServer,
    opened: &mut Events<Ws>,
    way: &str,
    code: Option<u16>,
) {
    let path = path(way);
    if way == "reset" {
        let mut stream = blocking::open(server.addr, &path);
        stream.write_all(&frame::masked(TEXT, b"hello")).unwrap();
        drop(opened.next().await);
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
        return until(|| server.handle.connections() == 0).await;
    }
    let mut raw = server.upgraded::<R>(&path).await;
    let ws = opened.next().await;
    raw.send(frame::masked(TEXT, b"hello")).await;
    let last = match way {
        "close by the peer" => frame::close(1000),
        "violation" => frame::masked(3, b""),
        "too many fragments" => frame::fragment(TEXT, b"")
            .into_iter()
            .chain(frame::fragment(CONTINUATION, b"").repeat(2))
            .collect(),
        "message too big" => frame::header(FIN | BINARY, 1001, Some(MASK)),
        "close by another handle" => {
            ws.close(4001, "");
            Vec::new()
        }
        "end" => frame::fragment(TEXT, b"half a message"),
        "idle" | "lifetime" | "pong timeout" => Vec::new(),
        _ => frame::masked(TEXT, b"go"),
    };
    drop(ws);
    raw.try_send(last).await;
    if way == "end" {
        raw.shutdown().await;
    }
    if way != "write timeout" {
        assert_eq!(closed(&mut raw, way != "close timeout").await, code, "{way}");
        drop(raw);
    }
    until(|| server.handle.connections() == 0).await;
}

/// Reads to the end. The close code that came, which is answered or not.
async fn closed(raw: &mut Raw, answers: bool) -> Option<u16> {
    let mut code = None;
    while let Some(frame) = raw.try_frame().await {
        code = code.or(frame.close_code());
        if let (Some(code), true) = (code, answers) {
            raw.try_send(frame::close(code)).await;
        }
    }
    code
}

async fn nothing_is_left_however_a_connection_ends<R: TestRuntime>() {
    let (app, mut opened) = app();
    let server = TestServer::start::<R, _>(app).await;
    for (way, code) in WAYS {
        let mut rounds = Rounds::of(way);
        while rounds.go_on().await {
            open_and_end::<R>(&server, &mut opened, way, code).await;
        }
    }
}

/// A server and its connection, which end together.
async fn nothing_is_left_of_a_server_with_its_connections<R: TestRuntime>() {
    let mut rounds = Rounds::of("shutdown");
    while rounds.go_on().await {
        let (app, mut opened) = app();
        let mut server = TestServer::start::<R, _>(app).await;
        let mut raw = server.upgraded::<R>(&path("close by the peer")).await;
        drop(opened.next().await);
        server.handle.shutdown();
        assert_eq!(closed(&mut raw, true).await, Some(1001));
        (&mut server.ended).await.unwrap().unwrap();
    }
    let mut rounds = Rounds::of("the server is dropped");
    while rounds.go_on().await {
        let (app, mut opened) = app();
        let handle = app.handle();
        let server = Server::<R>::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = server.local_addr().socket_addr().unwrap();
        let (serving, cancel) = abortable(server.serve(app).into_future());
        let (end, ended) = oneshot::channel();
        R::default().spawn(async move {
            drop(serving.await);
            let _ = end.send(());
        });
        let mut raw = Raw::new(R::connect_tcp(addr).await);
        raw.upgrade(&path("close by the peer")).await;
        drop(opened.next().await);
        cancel.abort();
        assert_eq!(closed(&mut raw, true).await, None);
        ended.await.unwrap();
        until(|| handle.connections() == 0).await;
    }
}

async fn memory_follows_what_arrives_and_not_what_is_announced<R: TestRuntime>() {
    const ARRIVES: usize = 1 << 20;
    let options = Options::new().max_message_size(usize::MAX);
    let app = App::new().options(options).ws("/", |route| {
        route.message(async |ws, message| {
            let _ = ws.send(message).await;
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let payload = vec![0; ARRIVES];
    let mut other = server.upgraded::<R>("/").await;
    for first in [FIN | BINARY, FIN | TEXT, BINARY] {
        let mut raw = server.upgraded::<R>("/").await;
        let (before, _) = settled().await;
        HEAP.reset_peak_usage();
        raw.send(frame::header(first, 1 << 62, Some([0; 4]))).await;
        raw.send(&payload).await;
        until(|| HEAP.current_usage() >= before + ARRIVES).await;
        // And then it is silent, and others are served.
        other.send(frame::masked(TEXT, b"hello")).await;
        assert_eq!(other.frame().await, Frame::text("hello"));
        let most = HEAP.peak_usage() - before;
        assert!(most < 4 * ARRIVES, "{most} bytes for {ARRIVES} that came");
        drop(raw);
        until(|| server.handle.connections() == 1).await;
    }
}
