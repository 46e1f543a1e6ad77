//! The servers, one file for each peer. Each runs in a process of its own on one thread and
//! prints its address.

mod async_tungstenite;
mod batch;
mod cork;
mod fastwebsockets;
mod ours;
mod raw;
mod raw_epoll;
mod runtimes;

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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runtime {
    Epoll,
    Tokio,
    Smol,
    AsyncStd,
    Script,
}

/// A server that can be measured.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) runtime: Runtime,
    pub(crate) jobs: &'static [Job],
    pub(crate) run: Run,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Run {
    /// In this program.
    Here(fn(Job) -> Result<()>),
}

const ECHO: &[Job] = &[Job::Echo];
const ALL: &[Job] = &[Job::Echo, Job::Deflate, Job::Broadcast, Job::Chat];

const fn here(
    name: &'static str,
    runtime: Runtime,
    jobs: &'static [Job],
    run: fn(Job) -> Result<()>,
) -> Peer {
    Peer { name, runtime, jobs, run: Run::Here(run) }
}

/// Every server, in the order of the table.
pub(crate) const PEERS: &[Peer] = &[
    here("raw-epoll", Runtime::Epoll, ECHO, |_| raw_epoll::serve()),
    here("raw-tokio", Runtime::Tokio, ECHO, |_| raw::on_tokio()),
    here("raw-smol", Runtime::Smol, ECHO, |_| raw::on_smol()),
    here("raw-async-std", Runtime::AsyncStd, ECHO, |_| raw::on_async_std()),
    here("ours-tokio", Runtime::Tokio, ALL, ours::on_tokio),
    here("ours-smol", Runtime::Smol, ALL, ours::on_smol),
    here("ours-async-std", Runtime::AsyncStd, ALL, ours::on_async_std),
    here("fastwebsockets", Runtime::Tokio, ECHO, fastwebsockets::serve),
    here("async-tungstenite", Runtime::Tokio, ECHO, |_| async_tungstenite::on_tokio(false)),
    here("async-tungstenite-tuned", Runtime::Tokio, ECHO, |_| async_tungstenite::on_tokio(true)),
    here("async-tungstenite-smol", Runtime::Smol, ECHO, |_| async_tungstenite::on_smol(false)),
    here("async-tungstenite-smol-tuned", Runtime::Smol, ECHO, |_| async_tungstenite::on_smol(true)),
    here("async-tungstenite-async-std", Runtime::AsyncStd, ECHO, |_| {
        async_tungstenite::on_async_std(false)
    }),
    here("async-tungstenite-async-std-tuned", Runtime::AsyncStd, ECHO, |_| {
        async_tungstenite::on_async_std(true)
    }),
];

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

    /// The byte echo on the same runtime.
    pub(crate) fn raw(&self) -> Option<&'static str> {
        match self.runtime {
            Runtime::Tokio => Some("raw-tokio"),
            Runtime::Smol => Some("raw-smol"),
            Runtime::AsyncStd => Some("raw-async-std"),
            Runtime::Epoll | Runtime::Script => None,
        }
    }
}

impl Job {
    pub(crate) const ALL: &[Self] = ALL;

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Deflate => "deflate",
            Self::Broadcast => "broadcast",
            Self::Chat => "chat",
        }
    }
}

/// Runs a server in this process, for good.
pub(crate) fn serve(name: &str, job: &str) -> Result<()> {
    let job = *Job::ALL.iter().find(|known| known.name() == job).ok_or("no such job")?;
    match Peer::find(name)?.run {
        Run::Here(run) => run(job),
    }
}

/// Tells the parent process where the server is.
fn announce(addr: SocketAddr) {
    println!("{addr}");
}
