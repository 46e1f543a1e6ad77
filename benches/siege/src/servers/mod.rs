//! The servers. Each is a process of its own with two worker threads, where it has any, and prints
//! its address. All of them know the same paths:
//!
//! | path | what a message does |
//! | --- | --- |
//! | `/echo` | it comes back |
//! | `/work` | it costs 1 ms of computing, unless it is empty |
//! | `/busy` | its handler waits for 1 s; messages may be compressed |
//! | `/room` | none is sent; everything published comes |
//! | `/publish` | it is published |
//! | `/panic` | its handler panics, or throws |
//! | `/hang` | its handler never returns |
//! | `/leak` | its handler keeps what it sends with for good |
//!
//! A GET of any other path is answered with a page of 16 MiB.

mod axum;
mod ours;
mod process;

use std::{io::Read, thread, time::Duration};

pub(crate) use self::process::{Process, WS};
use crate::{Result, attacks::Attack};

const WORK: Duration = Duration::from_millis(1);
const BUSY: Duration = Duration::from_secs(1);
const PAGE: usize = 16 << 20;

/// How many connections of ours may come from one address.
pub(crate) const PER_IP: usize = 256;

pub(crate) struct Server {
    pub(crate) name: &'static str,
    run: Run,
    /// Attacks that it has nothing for, and why.
    skips: &'static [(&'static str, &'static str)],
}

enum Run {
    /// In this program.
    Here(fn() -> Result<()>),
    /// The script for Node.
    Node,
}

/// Every server, in the order of the table.
pub(crate) const SERVERS: &[Server] = &[
    Server { name: "ours-tokio", run: Run::Here(ours::on_tokio), skips: &[] },
    Server { name: "ours-smol", run: Run::Here(ours::on_smol), skips: &[] },
    Server { name: "ours-async-std", run: Run::Here(ours::on_async_std), skips: &[] },
    Server {
        name: "axum",
        run: Run::Here(axum::serve),
        skips: &[("bombs", "it has no compression")],
    },
    Server {
        name: "node-ws",
        run: Run::Node,
        skips: &[("pages", "pages are for Node's own HTTP server")],
    },
];

impl Server {
    pub(crate) fn find(name: &str) -> Result<&'static Self> {
        SERVERS.iter().find(|server| server.name == name).ok_or_else(|| {
            let names: Vec<_> = SERVERS.iter().map(|server| server.name).collect();
            format!("no server {name}; there are {}", names.join(", ")).into()
        })
    }

    /// Whether the bounds are for it.
    pub(crate) fn is_ours(&self) -> bool {
        self.name.starts_with("ours-")
    }

    /// Why there is nothing to attack.
    pub(crate) fn skips(&self, attack: &Attack) -> Option<&'static str> {
        self.skips.iter().find(|(name, _)| *name == attack.name).map(|(_, reason)| *reason)
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Runs a server in this process, until the end of its input: then the one that attacks is gone.
pub(crate) fn serve(name: &str) -> Result<()> {
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    // Handlers panic as they are told to.
    std::panic::set_hook(Box::new(|panic| {
        if panic.payload_as_str() != Some(AS_TOLD) {
            eprintln!("{panic}");
        }
    }));
    match Server::find(name)?.run {
        Run::Here(run) => run(),
        Run::Node => Err("not a server of this program".into()),
    }
}

const AS_TOLD: &str = "as told";

/// Tells the parent process where the server is.
fn announce(addr: impl std::fmt::Display) {
    println!("{addr}");
}

/// Computes for [`WORK`], unless the message is empty.
fn work(message: &[u8]) {
    let began = std::time::Instant::now();
    while !message.is_empty() && began.elapsed() < WORK {}
}
