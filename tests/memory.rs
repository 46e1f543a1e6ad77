//! What peers can make a server hold: a subscriber that does not read, no more than its send limit;
//! messages that wait for a busy handler, no more than was sent of them.
#![cfg(all(target_os = "linux", any(feature = "tokio", feature = "async-std", feature = "smol")))]

mod support;

use std::sync::LazyLock;

use axeom_ws::{App, Compression, Message, Options, Ws, http::Response};
use futures::{FutureExt, channel::oneshot};

use self::support::{
    Events, TestRuntime, TestServer, deflate,
    frame::{self, BINARY, Frame, PING, PONG, TEXT},
    request::Request,
    until,
};

on_every_runtime!(
    a_stalled_subscriber_holds_no_more_than_its_limit,
    compressed_messages_stay_compressed_while_a_handler_is_busy,
    a_page_is_not_copied_for_each_client_that_asks_for_it
);

/// How much is published, and how much more may be resident after it, in bytes.
const PUBLISHED: usize = 200 << 20;
const NOISE: usize = 8 << 20;

const LIMIT: usize = 1 << 20;

/// One at a time: they all look at the memory of this process.
static TURN: LazyLock<futures::lock::Mutex<()>> = LazyLock::new(Default::default);

/// Resident bytes of this process.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: usize = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    kib << 10
}

/// Publishes messages of these sizes, in turn; how many bytes the subscriber did not miss.
fn publish(server: &TestServer, sizes: &[usize], total: usize) -> usize {
    let (mut published, mut taken) = (0, 0);
    for size in sizes.iter().cycle() {
        // A message of its own each time, as from a feed.
        taken += size * server.handle.publish("feed", vec![0; *size]);
        published += size;
        if published >= total {
            break;
        }
    }
    taken
}

async fn a_stalled_subscriber_holds_no_more_than_its_limit<R: TestRuntime>() {
    let _turn = TURN.lock().await;
    let mut opened = Events::new();
    let tell = opened.teller();
    let options = Options::new().send_limit(LIMIT);
    let app = App::new().options(options).ws("/", |route| {
        route.open(move |ws: Ws| {
            ws.subscribe("feed");
            tell(ws);
            async {}
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    let ws = opened.next().await;
    let sizes = [1 << 10, 100, 1 << 16, 20, 300_000];

    // Until both sockets are full, and the queue too.
    let mut taken = publish(&server, &sizes, PUBLISHED / 4);
    until(|| {
        let more = publish(&server, &[100], 100);
        taken += more;
        more == 0
    })
    .await;
    let before = resident();
    taken += publish(&server, &sizes, PUBLISHED / 2);
    // One that reads a little now and then holds no more.
    let mut received = 0;
    for _ in 0..50 {
        taken += publish(&server, &sizes, PUBLISHED / 100);
        // No more than is on its way.
        for _ in 0..16 {
            if received + raw.received.len() < taken {
                assert!(raw.read().await, "the connection ended");
            }
        }
        received += std::mem::take(&mut raw.received).len();
        assert!(ws.buffered_amount() <= LIMIT + 64, "{} bytes are queued", ws.buffered_amount());
    }
    let after = resident();
    assert!(
        after < before + NOISE,
        "{PUBLISHED} bytes published: from {before} to {after} bytes resident"
    );
    assert!(!ws.is_closed());
}

async fn compressed_messages_stay_compressed_while_a_handler_is_busy<R: TestRuntime>() {
    let _turn = TURN.lock().await;
    let mut sizes = Events::new();
    let tell = sizes.teller();
    let (gate, opened) = oneshot::channel::<()>();
    let opened = opened.shared();
    let options = Options::new().compression(Compression::new());
    let app = App::new().options(options).ws("/", |route| {
        route.message(move |_, message: Message| {
            tell(message.len());
            opened.clone().map(drop)
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let offer = Request::get("/").and("Sec-WebSocket-Extensions: permessage-deflate");
    let large = 16 << 20;
    // The whole message in one frame, with RSV1.
    let bomb = deflate::compress(&vec![0; large]);
    let bomb = frame::encode(0xc0 | BINARY, &bomb, Some([1, 2, 3, 4]));
    assert!(bomb.len() < 32 * 1024);
    let before = resident();
    let mut peers = Vec::new();
    for _ in 0..10 {
        let mut peer = server.raw::<R>().await;
        peer.send(offer.text()).await;
        assert_eq!(peer.head().await.status, 101);
        peer.send([frame::masked(TEXT, b"go"), bomb.clone(), frame::masked(PING, b"")].concat())
            .await;
        assert_eq!(sizes.next().await, 2);
        // The server has read all of it.
        assert_eq!(peer.frame().await, Frame::new(PONG, ""));
        peers.push(peer);
    }
    let after = resident();
    assert!(after < before + 2 * large, "from {before} to {after} bytes resident");
    drop(gate);
    for _ in 0..peers.len() {
        assert_eq!(sizes.next().await, large);
    }
}

async fn a_page_is_not_copied_for_each_client_that_asks_for_it<R: TestRuntime>() {
    let _turn = TURN.lock().await;
    let mut asked = Events::new();
    let tell = asked.teller();
    let size = 16 << 20;
    let page = axeom_ws::Bytes::from(vec![b'x'; size]);
    let app = App::new().fallback(move |_| {
        tell(());
        futures::future::ready(Response::new(page.clone()))
    });
    let server = TestServer::start::<R, _>(app).await;
    let before = resident();
    let mut peers = Vec::new();
    for _ in 0..20 {
        let mut peer = server.raw::<R>().await;
        peer.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        asked.next().await;
        // The response has begun.
        assert!(peer.read().await);
        peers.push(peer);
    }
    let after = resident();
    assert!(after < before + 2 * size, "from {before} to {after} bytes resident");
}
