//! What becomes of connections and of the server when calls to the machine fail, do less than they
//! were asked for, are interrupted or late, and when its clock stands still or jumps: for each seed,
//! others of them.

#[path = "../../tests/support/frame.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests of the whole library")]
mod frame;
#[path = "faults/machine.rs"]
mod machine;
mod support;

use std::{
    cell::Cell,
    panic,
    sync::{
        Arc, LazyLock, Once,
        atomic::{AtomicUsize, Ordering},
    },
};

use axeom_ws_core::{App, AppHandle, Message, Peer as From, Server, Ws};
use futures::{channel::oneshot, task::LocalSpawnExt};

use self::{
    frame::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT},
    machine::{Faults, Machine},
    support::{HANDSHAKE, Peer, World, pipe},
};

thread_local! {
    /// How many panics there were: those in a connection's task do not leave it.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            report(panic);
        }));
    });
}

/// How often each was called.
#[derive(Default)]
struct Calls {
    opened: AtomicUsize,
    closed: AtomicUsize,
}

impl Calls {
    fn app(self: &Arc<Self>) -> App {
        let (on_open, on_close) = (Arc::clone(self), Arc::clone(self));
        App::new().ws("/", move |route| {
            route
                .open(move |ws: Ws| {
                    on_open.opened.fetch_add(1, Ordering::SeqCst);
                    ws.subscribe("news");
                    async {}
                })
                .message(async |ws, message: Message| {
                    let _ = ws.send(message).await;
                })
                .close(move |_, _, _| {
                    on_close.closed.fetch_add(1, Ordering::SeqCst);
                    async {}
                })
        })
    }
}

/// Large enough to be read straight to where it stays, once its header is there.
static LARGE: LazyLock<Vec<u8>> = LazyLock::new(|| vec![7; 70 * 1024]);

/// What a client says: the pieces of a conversation.
static CONVERSATION: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let large = frame::masked(BINARY, &LARGE);
    let (large, rest) = large.split_at(20);
    vec![
        HANDSHAKE.to_vec(),
        frame::masked(TEXT, "grüße".as_bytes()),
        frame::masked(PING, b"there?"),
        [frame::fragment(TEXT, b"in "), frame::masked(CONTINUATION, b"pieces")].concat(),
        large.to_vec(),
        rest.to_vec(),
        frame::close(1000),
    ]
});

/// What the server says to it, behind the head of its answer.
static ANSWERS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let frame = |opcode, payload| frame::encode(FIN | opcode, payload, None);
    [
        frame(TEXT, "grüße".as_bytes()),
        frame(PONG, b"there?"),
        frame(TEXT, b"in pieces"),
        frame(BINARY, &LARGE),
        frame(CLOSE, &[3, 0xe8]),
    ]
    .concat()
});

/// Whether this is what a peer hears whose conversation was served.
fn is_served(peer: &mut Peer) -> bool {
    let bytes = peer.take();
    let end_of_head = bytes.windows(4).position(|end| end == b"\r\n\r\n");
    end_of_head.is_some_and(|end| bytes[end + 4..] == **ANSWERS)
}

/// A world whose machine fails by a seed.
struct Trial {
    seed: u64,
    world: World,
    machine: Machine,
    calls: Arc<Calls>,
}

impl Trial {
    fn new(seed: u64, faults: Faults) -> Self {
        count_panics();
        Self {
            seed,
            world: World::new(),
            machine: Machine::new(seed, faults),
            calls: Arc::default(),
        }
    }

    /// Lets clients say everything, and time pass in between.
    fn converse(&mut self, peers: &mut [Peer]) {
        for piece in &*CONVERSATION {
            peers.iter_mut().for_each(|peer| peer.send(piece));
            self.machine.settle(&mut self.world);
            self.machine.pass(&mut self.world, 1);
        }
    }

    /// Lets the peers go, and looks at what is left of their connections.
    fn expect_nothing_left(&mut self, peers: &mut [Peer], app: &AppHandle) {
        let seed = self.seed;
        self.machine.heal();
        peers.iter_mut().for_each(Peer::end);
        // Until every deadline has passed.
        self.machine.pass(&mut self.world, 120);
        let Calls { opened, closed, .. } = &*self.calls;
        let [opened, closed] = [opened, closed].map(|calls| calls.load(Ordering::SeqCst));
        assert_eq!(opened, closed, "seed {seed}: each `open` has one `close`");
        assert_eq!(app.connections(), 0, "seed {seed}");
        assert_eq!(app.subscriber_count("news"), 0, "seed {seed}");
        assert!(peers.iter().all(Peer::is_dropped), "seed {seed}: a transport is left");
    }

    fn expect_the_end(&self) {
        assert_eq!(self.machine.clock.sleepers(), 0, "seed {}: somebody waits", self.seed);
        assert_eq!(PANICS.get(), 0, "seed {}: a panic", self.seed);
    }
}

/// Three conversations at once with a server, and whether all were served.
fn with_a_server(seed: u64, faults: Faults) -> bool {
    let mut trial = Trial::new(seed, faults);
    let app = trial.calls.app();
    let handle = app.handle();
    let (end, mut ended) = oneshot::channel();
    let machine = trial.machine.clone();
    let serving = async move {
        let server = Server::bind_on(machine, "127.0.0.1:0").await.unwrap();
        let _ = end.send(server.serve(app).await);
    };
    trial.world.spawner().spawn_local(serving).unwrap();
    let mut peers = [(); 3].map(|()| trial.machine.connect());
    trial.converse(&mut peers);
    // Some may not be accepted yet.
    trial.machine.pass(&mut trial.world, 10);
    let served = peers.iter_mut().all(is_served);
    trial.expect_nothing_left(&mut peers, &handle);

    let mut next = trial.machine.connect();
    trial.converse(std::slice::from_mut(&mut next));
    assert!(is_served(&mut next), "seed {seed}: the server does not serve any more");
    handle.shutdown();
    trial.machine.settle(&mut trial.world);
    assert!(matches!(ended.try_recv(), Ok(Some(Ok(())))), "seed {seed}: the server does not end");
    trial.expect_the_end();
    served
}

/// A conversation without a server, and whether it was served.
fn alone(seed: u64, faults: Faults) -> bool {
    let mut trial = Trial::new(seed, faults);
    let service = trial.calls.app().build().unwrap();
    let (stream, peer) = pipe();
    let mut peers = [peer];
    let transport = trial.machine.transport(stream);
    let serving = service.serve_transport(trial.machine.clone(), transport, From::Memory);
    trial.world.spawner().spawn_local(serving).unwrap();
    trial.converse(&mut peers);
    trial.machine.pass(&mut trial.world, 10);
    let served = peers.iter_mut().all(is_served);
    trial.expect_nothing_left(&mut peers, &service.handle());
    trial.expect_the_end();
    served
}

#[test]
fn a_server_survives_every_failure() {
    let served = (0..1500).filter(|seed| with_a_server(*seed, Faults::All)).count();
    assert!(0 < served && served < 1500, "nothing went wrong, or everything");
}

#[test]
fn a_connection_without_a_server_ends_after_every_failure() {
    let served = (0..3000).filter(|seed| alone(*seed, Faults::All)).count();
    assert!(0 < served && served < 3000, "nothing went wrong, or everything");
}

#[test]
fn calls_that_are_short_interrupted_or_late_change_nothing() {
    for seed in 0..1000 {
        assert!(alone(seed, Faults::Harmless), "seed {seed}");
        assert!(with_a_server(seed, Faults::Harmless), "seed {seed}, with a server");
    }
}
