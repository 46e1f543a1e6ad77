//! axum, whose WebSocket is tungstenite on tokio, with its default limits.

use std::{
    future::pending,
    sync::{Mutex, PoisonError},
};

use axum::{
    Router,
    extract::{
        State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    routing::get,
    serve::ListenerExt,
};
use bytes::Bytes;
use futures::{SinkExt, StreamExt, stream::SplitSink};
use tokio::sync::broadcast;

use super::{AS_TOLD, BUSY, PAGE, announce, work};
use crate::Result;

/// Messages that a receiver may be behind.
const ROOM: usize = 64;

pub(super) fn serve() -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?);
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let serving = async { axum::serve(listener, router()).await };
        Ok(tokio::spawn(serving).await??)
    })
}

fn router() -> Router {
    let page = Bytes::from(vec![b'x'; PAGE]);
    let room = broadcast::Sender::new(ROOM);
    macro_rules! ws {
        ($run:expr) => {
            get(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade($run))
        };
    }
    Router::new()
        .route("/echo", ws!(echo))
        .route("/work", ws!(|socket| each(socket, async |message| work(&message.into_data()))))
        .route("/busy", ws!(|socket| each(socket, async |_| tokio::time::sleep(BUSY).await)))
        .route("/panic", ws!(|socket| each(socket, async |_| panic!("{AS_TOLD}"))))
        .route("/hang", ws!(|socket| each(socket, async |_| pending().await)))
        .route("/leak", ws!(leak))
        .route(
            "/room",
            get(async |State(room): State<Room>, upgrade: WebSocketUpgrade| {
                upgrade.on_upgrade(|socket| listen(socket, room))
            }),
        )
        .route(
            "/publish",
            get(async |State(room): State<Room>, upgrade: WebSocketUpgrade| {
                upgrade.on_upgrade(|socket| {
                    each(socket, async move |message| {
                        let _ = room.send(message);
                    })
                })
            }),
        )
        .fallback(async || page)
        .with_state(room)
}

type Room = broadcast::Sender<Message>;

async fn each(mut socket: WebSocket, handle: impl AsyncFn(Message)) {
    while let Some(Ok(message)) = socket.recv().await {
        if let Message::Text(_) | Message::Binary(_) = message {
            handle(message).await;
        }
    }
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if let Message::Text(_) | Message::Binary(_) = message
            && socket.send(message).await.is_err()
        {
            return;
        }
    }
}

async fn listen(socket: WebSocket, room: Room) {
    let (mut sink, mut stream) = socket.split();
    let mut published = room.subscribe();
    loop {
        tokio::select! {
            received = stream.next() => match received {
                Some(Ok(_)) => {}
                _ => return,
            },
            message = published.recv() => match message {
                Ok(message) => if sink.send(message).await.is_err() {
                    return;
                },
                // What it was too slow for it misses.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }
}

/// Keeps the sending half for good.
async fn leak(socket: WebSocket) {
    static KEPT: Mutex<Vec<SplitSink<WebSocket, Message>>> = Mutex::new(Vec::new());
    let (sink, mut stream) = socket.split();
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(sink);
    while let Some(Ok(_)) = stream.next().await {}
}
