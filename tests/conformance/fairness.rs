//! A peer that sends without end, and the connections of others beside it.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use axeom_ws::{App, Options};
use futures::channel::oneshot;

use crate::{
    on_every_runtime,
    support::{
        TestRuntime, TestServer, blocking,
        frame::{self, TEXT},
    },
};

on_every_runtime!(a_flood_of_messages_does_not_starve_another_connection);

/// How long the handler of a flood computes.
const COSTS: Duration = Duration::from_micros(20);

async fn a_flood_of_messages_does_not_starve_another_connection<R: TestRuntime>() {
    let handled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handled);
    let app = App::new()
        .options(Options::new().close_timeout(Duration::from_millis(10)))
        .ws("/flood", move |route| {
            route.message(move |_, _| {
                let began = Instant::now();
                while began.elapsed() < COSTS {}
                count.fetch_add(1, Ordering::Relaxed);
                async {}
            })
        })
        .ws("/echo", |route| {
            route.message(async |ws, msg| {
                let _ = ws.send(msg).await;
            })
        });
    let server = TestServer::start::<R, _>(app).await;
    let addr = server.addr;
    let mut quiet = blocking::open(addr, "/echo");
    let cores = thread::available_parallelism().unwrap().get();
    let floods: Vec<_> = (0..2 * cores).map(|_| flood(addr)).collect();
    let (tell, told) = oneshot::channel();
    thread::spawn(move || {
        // Every worker has something to do by now.
        while handled.load(Ordering::Relaxed) < 1000 {
            thread::yield_now();
        }
        let worst = (0..5).map(|_| {
            let before = handled.load(Ordering::Relaxed);
            quiet.write_all(&frame::masked(TEXT, b"quiet")).unwrap();
            let mut echo = [0; 7];
            quiet.read_exact(&mut echo).unwrap();
            assert_eq!(echo, *b"\x81\x05quiet");
            handled.load(Ordering::Relaxed) - before
        });
        let _ = tell.send(worst.max().unwrap());
    });
    let worst = told.await.unwrap();
    server.handle.shutdown();
    // A turn has fifty of them. A task that takes its turns ahead of I/O has thousands.
    assert!(worst < 1000 * cores, "{worst} messages of floods between a message and its echo");
    drop(server);
    for flood in floods {
        flood.join().unwrap();
    }
}

/// Sends empty messages until the connection ends.
fn flood(addr: SocketAddr) -> JoinHandle<()> {
    let mut stream = blocking::open(addr, "/flood");
    let frames = frame::masked(TEXT, b"").repeat(10_000);
    thread::spawn(move || while stream.write_all(&frames).is_ok() {})
}
