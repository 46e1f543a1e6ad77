//! The servers, one file for each peer. Each runs in a process of its own on one thread and
//! prints its address.

mod actix;
mod async_tungstenite;
mod axum;
mod batch;
mod cork;
mod fastwebsockets;
mod ours;
mod raw;
mod raw_epoll;
mod room;
mod runtimes;
mod tokio_tungstenite;
mod tokio_websockets;
mod yawc;

use std::net::SocketAddr;

use crate::Result;

/// What a server is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// Every message goes back.
    Echo,
    /// The same, with permessage-deflate and no context takeover on either side.
    Deflate,
    /// Every message goes to every connection, the sender included.
    Broadcast,
    /// The same, behind the name that the sender gave when it connected.
    Chat,
    /// An echo on worker threads, free to use all cores.
    Workers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runtime {
    Epoll,
    Tokio,
    Smol,
    AsyncStd,
    /// The server's own.
    Own,
}

/// A server that can be measured.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) runtime: Runtime,
    /// The crate or npm package whose version counts.
    pub(crate) package: &'static str,
    pub(crate) jobs: &'static [Job],
    pub(crate) run: Run,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Run {
    /// In this program.
    Here(fn(Job) -> Result<()>),
    /// The one in C++.
    Uwebsockets,
    /// In a program of npm's or the system's: its arguments, then the script.
    Script(&'static [&'static str], &'static str),
}

const ECHO: &[Job] = &[Job::Echo];
const DEFLATE: &[Job] = &[Job::Echo, Job::Deflate];
const ROOM: &[Job] = &[Job::Echo, Job::Broadcast, Job::Chat];
const ALL: &[Job] = &[Job::Echo, Job::Deflate, Job::Broadcast, Job::Chat];

const fn peer(
    name: &'static str,
    runtime: Runtime,
    package: &'static str,
    jobs: &'static [Job],
    run: Run,
) -> Peer {
    Peer { name, runtime, package, jobs, run }
}

/// Every server, in the order of the tables.
#[rustfmt::skip]
pub(crate) const PEERS: &[Peer] = {
    use Run::{Here, Script};
    use Runtime::{AsyncStd, Epoll, Own, Smol, Tokio};
    const BUN: &[&str] = &["js/node_modules/bun/bin/bun.exe", "run"];
    const DENO: &[&str] = &["js/node_modules/deno/deno", "run", "--quiet", "--allow-all"];
    &[
        peer("raw-epoll", Epoll, "", ECHO, Here(|_| raw_epoll::serve())),
        peer("raw-tokio", Tokio, "tokio", ECHO, Here(|_| raw::on_tokio())),
        peer("raw-smol", Smol, "smol", ECHO, Here(|_| raw::on_smol())),
        peer("raw-async-std", AsyncStd, "async-std", ECHO, Here(|_| raw::on_async_std())),
        peer("ours-tokio", Tokio, "axeom-ws", ALL, Here(ours::on_tokio)),
        peer("ours-smol", Smol, "axeom-ws", ALL, Here(ours::on_smol)),
        peer("ours-async-std", AsyncStd, "axeom-ws", ALL, Here(ours::on_async_std)),
        peer("ours-1-worker", Tokio, "axeom-ws", &[Job::Workers], Here(|_| ours::workers(1))),
        peer("ours-2-workers", Tokio, "axeom-ws", &[Job::Workers], Here(|_| ours::workers(2))),
        peer("fastwebsockets", Tokio, "fastwebsockets", ROOM, Here(fastwebsockets::serve)),
        peer("tokio-websockets", Tokio, "tokio-websockets", ECHO, Here(|_| tokio_websockets::serve())),
        peer("yawc", Tokio, "yawc", DEFLATE, Here(yawc::serve)),
        peer("tokio-tungstenite", Tokio, "tokio-tungstenite", ECHO, Here(|_| tokio_tungstenite::serve(false))),
        peer("tokio-tungstenite-tuned", Tokio, "tokio-tungstenite", ECHO, Here(|_| tokio_tungstenite::serve(true))),
        peer("async-tungstenite", Tokio, "async-tungstenite", ROOM, Here(|job| async_tungstenite::on_tokio(job, false))),
        peer("async-tungstenite-tuned", Tokio, "async-tungstenite", ECHO, Here(|job| async_tungstenite::on_tokio(job, true))),
        peer("async-tungstenite-smol", Smol, "async-tungstenite", ECHO, Here(|_| async_tungstenite::on_smol(false))),
        peer("async-tungstenite-smol-tuned", Smol, "async-tungstenite", ECHO, Here(|_| async_tungstenite::on_smol(true))),
        peer("async-tungstenite-async-std", AsyncStd, "async-tungstenite", ECHO, Here(|_| async_tungstenite::on_async_std(false))),
        peer("async-tungstenite-async-std-tuned", AsyncStd, "async-tungstenite", ECHO, Here(|_| async_tungstenite::on_async_std(true))),
        peer("axum", Tokio, "axum", ROOM, Here(axum::serve)),
        peer("actix-ws", Tokio, "actix-ws", ECHO, Here(|_| actix::serve())),
        peer("uwebsockets", Own, "libuwebsockets-sys", ALL, Run::Uwebsockets),
        peer("bun", Own, "bun", ALL, Script(BUN, "js/bun.js")),
        peer("node-ws", Own, "ws", ALL, Script(&["node"], "js/node-ws.js")),
        peer("deno", Own, "deno", ROOM, Script(DENO, "js/deno.js")),
    ]
};

impl Peer {
    pub(crate) fn find(name: &str) -> Result<&'static Self> {
        PEERS.iter().find(|peer| peer.name == name).ok_or_else(|| {
            let names: Vec<_> = PEERS.iter().map(|peer| peer.name).collect();
            format!("no server {name}; there are {}", names.join(", ")).into()
        })
    }

    /// The bytes echoed are not those of a WebSocket.
    pub(crate) fn is_raw(&self) -> bool {
        self.name.starts_with("raw-")
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.name.starts_with("ours-")
    }

    /// The byte echo on the same runtime.
    pub(crate) fn raw(&self) -> Option<&'static str> {
        match self.runtime {
            Runtime::Tokio => Some("raw-tokio"),
            Runtime::Smol => Some("raw-smol"),
            Runtime::AsyncStd => Some("raw-async-std"),
            Runtime::Epoll | Runtime::Own => None,
        }
    }
}

impl Job {
    const EVERY: &[Self] = &[Self::Echo, Self::Deflate, Self::Broadcast, Self::Chat, Self::Workers];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Deflate => "deflate",
            Self::Broadcast => "broadcast",
            Self::Chat => "chat",
            Self::Workers => "workers",
        }
    }
}

/// Runs a server in this process, for good.
pub(crate) fn serve(name: &str, job: &str) -> Result<()> {
    let job = *Job::EVERY.iter().find(|known| known.name() == job).ok_or("no such job")?;
    match Peer::find(name)?.run {
        Run::Here(run) => run(job),
        Run::Uwebsockets | Run::Script(..) => Err("not a server of this program".into()),
    }
}

/// Tells the parent process where the server is.
fn announce(addr: impl std::fmt::Display) {
    println!("{addr}");
}
