//! axeom-ws, with the handlers that a user writes.

use std::sync::Arc;

use axeom_ws::{App, Compression, Options, Server};

use super::{Job, announce, runtimes::tokio_thread};
use crate::Result;

const TOPIC: &str = "room";

fn app(job: Job) -> App {
    match job {
        Job::Echo | Job::Deflate | Job::Workers => {
            App::new().options(options(job)).ws("/*", |route| {
                route.message(async |ws, message| {
                    let _ = ws.send(message).await;
                })
            })
        }
        Job::Broadcast => App::new().ws("/*", |route| {
            route
                .open(async |ws| {
                    ws.subscribe(TOPIC);
                })
                .message(async |ws, message| {
                    ws.publish_to_all(TOPIC, message);
                })
        }),
        Job::Chat => App::new().options(options(job)).ws("/*", |route| {
            route
                .open(async |ws| {
                    ws.subscribe(TOPIC);
                })
                .message(async |ws, message| {
                    ws.publish_to_all(TOPIC, format!("{}: {message}", ws.param("*")));
                })
        }),
    }
}

fn options(job: Job) -> Options {
    match job {
        // Neither side keeps a context: the client asks for the same.
        Job::Deflate | Job::Workers => {
            Options::new().compression(Compression::new().client_context_takeover(false))
        }
        // As Bun: whoever is slower than a burst of the others misses nothing of it.
        Job::Chat => Options::new().send_limit(16 << 20),
        _ => Options::new(),
    }
}

pub(super) fn on_tokio(job: Job) -> Result<()> {
    tokio_thread()?.block_on(serve(axeom_ws::tokio::Adapter::default(), job))
}

/// On a runtime of several threads.
pub(super) fn workers(count: usize) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(count).enable_all().build()?;
    let serving = serve(axeom_ws::tokio::Adapter::default(), Job::Workers);
    runtime.block_on(runtime.spawn(serving))?
}

pub(super) fn on_smol(job: Job) -> Result<()> {
    let executor = Arc::new(smol::Executor::new());
    let adapter = axeom_ws::smol::Adapter::new(executor.clone());
    smol::block_on(executor.run(serve(adapter, job)))
}

pub(super) fn on_async_std(job: Job) -> Result<()> {
    async_std::task::block_on(async_std::task::spawn(serve(
        axeom_ws::async_std::Adapter::default(),
        job,
    )))
}

async fn serve<R: axeom_ws::Runtime>(runtime: R, job: Job) -> Result<()> {
    let server = Server::bind_on(runtime, "127.0.0.1:0").await?;
    announce(server.local_addr());
    Ok(server.serve(app(job)).await?)
}
