//! axeom-ws. Its timeouts are shorter than by default, so that an attack sees them pass; all other
//! options of messages, queues and rates are the defaults.

use std::{
    future::pending,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axeom_ws::{App, Bytes, Compression, Message, Options, Runtime, Server, Ws, http::Response};

use super::{AS_TOLD, BUSY, PAGE, PER_IP, announce, work};
use crate::Result;

const ROOM: &str = "room";

fn app<R: Runtime>(runtime: R) -> App {
    let page = Bytes::from(vec![b'x'; PAGE]);
    App::new()
        .handshake_timeout(Duration::from_secs(2))
        .max_connections_per_ip(PER_IP)
        .options(Options::new().close_timeout(Duration::from_secs(1)))
        .fallback(move |_| {
            let page = page.clone();
            async { Response::new(page) }
        })
        .ws("/echo", |route| {
            route.message(async |ws, message| {
                let _ = ws.send(message).await;
            })
        })
        .ws("/work", |route| route.message(async |_, message: Message| work(message.as_bytes())))
        .ws("/busy", |route| {
            let options = Options::new().compression(Compression::new());
            route.options(options).message(move |_, _| {
                let runtime = runtime.clone();
                async move { runtime.sleep(BUSY).await }
            })
        })
        .ws("/room", |route| {
            route.open(async |ws| {
                ws.subscribe(ROOM);
            })
        })
        .ws("/publish", |route| {
            route.message(async |ws, message| {
                ws.publish(ROOM, message);
            })
        })
        .ws("/panic", |route| {
            route.message(|_, _| -> std::future::Ready<()> { panic!("{AS_TOLD}") })
        })
        .ws("/hang", |route| route.message(|_, _| pending::<()>()))
        .ws("/leak", |route| route.message(async |ws, _| keep(ws)))
}

/// Keeps a handle for good.
fn keep(ws: Ws) {
    static KEPT: Mutex<Vec<Ws>> = Mutex::new(Vec::new());
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(ws);
}

pub(super) fn on_tokio() -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let serving = runtime.spawn(serve(axeom_ws::tokio::Adapter::default()));
    runtime.block_on(serving)?
}

/// On the adapter's own executor, which has a thread for each core.
pub(super) fn on_smol() -> Result<()> {
    smol::block_on(serve(axeom_ws::smol::Adapter::default()))
}

pub(super) fn on_async_std() -> Result<()> {
    async_std::task::block_on(serve(axeom_ws::async_std::Adapter::default()))
}

async fn serve<R: Runtime>(runtime: R) -> Result<()> {
    let server = Server::bind_on(runtime.clone(), "127.0.0.1:0").await?;
    announce(server.local_addr());
    Ok(server.serve(app(runtime)).await?)
}
