//! How long connections may take before their request.

mod support;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axeom_ws_core::{App, Incoming, Io, Listener, LocalAddr, Peer as From, Runtime, Server};
use futures::{
    AsyncReadExt, StreamExt,
    channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded},
    future::BoxFuture,
    lock,
    task::LocalSpawnExt,
};
use support::{Clock, NoListener, Peer, Stream, World, pipe};

/// A runtime that keeps what is spawned for the test to run.
#[derive(Clone)]
struct Queue {
    clock: Clock,
    spawned: Arc<Mutex<Vec<BoxFuture<'static, ()>>>>,
}

impl Runtime for Queue {
    type Listener = NoListener;

    async fn bind(&self, addr: SocketAddr) -> io::Result<NoListener> {
        self.clock.bind(addr).await
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawned.lock().unwrap().push(Box::pin(task));
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.clock.sleep(duration)
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }
}

/// Accepts what the test sends.
struct Sent(lock::Mutex<UnboundedReceiver<Stream>>);

impl Listener for Sent {
    async fn accept(&self) -> io::Result<Incoming> {
        let stream = self.0.lock().await.next().await;
        Ok(Incoming::new(Io::new(stream.expect("the test goes on")), From::Memory))
    }

    fn local_addr(&self) -> io::Result<LocalAddr> {
        Ok(LocalAddr::Memory)
    }
}

struct Served {
    world: World,
    runtime: Queue,
    accept: UnboundedSender<Stream>,
}

impl Served {
    /// A server whose acceptor waits for four bytes.
    fn start() -> Self {
        let world = World::new();
        let runtime = Queue { clock: world.clock.clone(), spawned: Arc::default() };
        let (accept, accepted) = unbounded();
        let server = Server::new(runtime.clone(), Sent(lock::Mutex::new(accepted))).unwrap();
        let server = server.acceptor(async |mut incoming: Incoming| {
            incoming.stream_mut().read_exact(&mut [0; 4]).await?;
            Ok(incoming)
        });
        let serving = server.serve(App::new().ws("/", |route| route)).into_future();
        let serving = async { serving.await.unwrap() };
        world.spawner().spawn_local(serving).unwrap();
        Self { world, runtime, accept }
    }

    fn connect(&mut self) -> Peer {
        let (stream, peer) = pipe();
        self.accept.unbounded_send(stream).unwrap();
        self.world.settle();
        for task in std::mem::take(&mut *self.runtime.spawned.lock().unwrap()) {
            self.world.spawner().spawn_local(task).unwrap();
        }
        self.world.settle();
        peer
    }
}

#[test]
fn acceptors_and_the_request_head_have_one_deadline() {
    let mut served = Served::start();
    let mut slow = served.connect();
    served.world.advance(Duration::from_secs(6));
    slow.send(b"four");
    served.world.advance(Duration::from_millis(3900));
    assert_eq!(slow.take(), b"");
    served.world.advance(Duration::from_millis(200));
    let response = String::from_utf8(slow.take()).unwrap();
    assert!(response.starts_with("HTTP/1.1 408 "), "{response:?}");
}

#[test]
fn a_connection_that_stalls_before_http_is_cut_at_the_deadline() {
    let mut served = Served::start();
    let mut stalled = served.connect();
    stalled.send(b"fo");
    served.world.advance(Duration::from_millis(9900));
    assert!(!stalled.is_dropped());
    served.world.advance(Duration::from_millis(200));
    assert_eq!(stalled.take(), b"");
    assert!(stalled.is_dropped());
}
