//! Messages there and back.

use async_tungstenite::tungstenite::Message;
use axeom_ws::App;

use crate::{
    on_every_runtime,
    support::{TestRuntime, TestServer},
};

pub(crate) fn echo() -> App {
    App::new().ws("/*", |route| {
        route.message(async |ws, msg| {
            let _ = ws.send(msg).await;
        })
    })
}

on_every_runtime!(mounted: every_size_comes_back, the_peer_closes);

async fn every_size_comes_back<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(echo()).await;
    let mut client = server.connect::<R>("/").await;
    for size in [0, 1, 125, 126, 127, 65_535, 65_536, 65_537, 1 << 20, (1 << 22) + 1] {
        let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        client.send(bytes.clone()).await;
        assert_eq!(client.recv().await, Message::from(bytes), "{size} bytes");
        let text = "é".repeat(size / 2);
        client.send(text.clone()).await;
        assert_eq!(client.recv().await, Message::from(text), "{size} bytes of text");
    }
}

async fn the_peer_closes<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(echo()).await;
    let mut client = server.connect::<R>("/").await;
    assert_eq!(client.close(4001, "bye").await, Some((4001, "bye".to_owned())));
}
