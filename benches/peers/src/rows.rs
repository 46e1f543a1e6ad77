use crate::{
    Result,
    servers::{Job, Peer},
};

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) job: Job,
    pub(crate) work: Work,
    /// Not all servers that do the job, but these.
    only: Option<&'static [&'static str]>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// Connections, messages in flight on each.
    Echo(usize, usize, Payload),
    /// Connections, messages in flight on each.
    Deflate(usize, usize),
    /// So many at the same time.
    Handshakes(usize),
    /// Subscribers, messages under way.
    Broadcast(usize, usize),
    /// Clients.
    Chat(usize),
    /// Connections that do nothing.
    Idle(usize),
    /// Connections that did an echo of 1 MiB.
    Kept(usize),
    /// Connections, of which 64 at most have a message in flight, in turns.
    Growth(usize),
    /// Connections, messages in flight on each.
    Syscalls(usize, usize),
    /// Connections, messages in flight on each.
    Workers(usize, usize),
    /// The same with compressed messages, which leave the client little to do.
    DeflateWorkers(usize, usize),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Payload {
    Binary(usize),
    Text(usize),
}

/// What a row's figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// µs of CPU time for each message.
    Micros,
    Bytes,
    Kibibytes,
    /// System calls for each message.
    Calls,
}

const GROWING: &[&str] = &[
    "raw-epoll",
    "ours-tokio",
    "ours-smol",
    "ours-async-std",
    "fastwebsockets",
    "tokio-websockets",
    "async-tungstenite-tuned",
    "uwebsockets",
    "bun",
];

const fn row(name: &'static str, title: &'static str, job: Job, work: Work) -> Row {
    Row { name, title, job, work, only: None }
}

const fn growth(name: &'static str, title: &'static str, connections: usize) -> Row {
    Row { only: Some(GROWING), ..row(name, title, Job::Echo, Work::Growth(connections)) }
}

/// Every row, in the order of the tables.
#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = {
    use Payload::{Binary, Text};
    use Work::*;
    const KIB: usize = 1024;
    const MIB: usize = 1024 * KIB;
    &[
        row("echo-20-1", "echo 20 B (64, 1)", Job::Echo, Echo(64, 1, Binary(20))),
        row("echo-20-32", "echo 20 B (64, 32)", Job::Echo, Echo(64, 32, Binary(20))),
        row("echo-1k-1", "echo 1 KiB (64, 1)", Job::Echo, Echo(64, 1, Binary(KIB))),
        row("echo-16k-4", "echo 16 KiB (16, 4)", Job::Echo, Echo(16, 4, Binary(16 * KIB))),
        row("echo-1m-1", "echo 1 MiB (4, 1)", Job::Echo, Echo(4, 1, Binary(MIB))),
        row("echo-text-16", "echo 1 KiB of UTF-8 text (64, 16)", Job::Echo, Echo(64, 16, Text(KIB))),
        row("deflate", "compressed echo, 1 KiB of JSON (64, 16)", Job::Deflate, Deflate(64, 16)),
        row("broadcast", "broadcast of 100 B to 200, per delivery", Job::Broadcast, Broadcast(200, 16)),
        row("chat", "chat room of 32, per delivery", Job::Chat, Chat(32)),
        row("handshakes", "connect, upgrade, close", Job::Echo, Handshakes(16)),
        row("idle", "memory of an idle connection", Job::Echo, Idle(5000)),
        row("kept", "memory kept after an echo of 1 MiB", Job::Echo, Kept(200)),
        row("syscalls-1-1", "system calls, echo 20 B (1, 1)", Job::Echo, Syscalls(1, 1)),
        row("syscalls-64-1", "system calls, echo 20 B (64, 1)", Job::Echo, Syscalls(64, 1)),
        row("syscalls-64-32", "system calls, echo 20 B (64, 32)", Job::Echo, Syscalls(64, 32)),
        growth("growth-1", "echo 20 B, 1 connection", 1),
        growth("growth-10", "echo 20 B, 10 connections", 10),
        growth("growth-100", "echo 20 B, 100 connections", 100),
        growth("growth-1000", "echo 20 B, 1 000 connections", 1_000),
        growth("growth-10000", "echo 20 B, 10 000 connections", 10_000),
        row("publish-1", "publish of 100 B to 1, per delivery", Job::Broadcast, Broadcast(1, 16)),
        row("publish-100", "publish of 100 B to 100, per delivery", Job::Broadcast, Broadcast(100, 16)),
        row("publish-10000", "publish of 100 B to 10 000, per delivery", Job::Broadcast, Broadcast(10_000, 16)),
        row("workers", "echo 20 B (64, 32) on all cores, shared with the client", Job::Workers, Workers(64, 32)),
        row("workers-deflate", "compressed echo (64, 16) on all cores, shared with the client", Job::Workers, DeflateWorkers(64, 16)),
    ]
};

impl Row {
    /// The row of this name.
    pub(crate) fn named(name: &str) -> Result<&'static Self> {
        Ok(ROWS.iter().find(|row| row.name == name).ok_or_else(|| format!("no row {name}"))?)
    }

    /// The row of this name, or those whose names begin with it.
    pub(crate) fn find(name: &str) -> Result<Vec<&'static Self>> {
        let exactly: Vec<_> = ROWS.iter().filter(|row| row.name == name).collect();
        if !exactly.is_empty() {
            return Ok(exactly);
        }
        let found: Vec<_> = ROWS.iter().filter(|row| row.name.starts_with(name)).collect();
        if found.is_empty() {
            let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
            return Err(format!("no row {name}; there are {}", names.join(", ")).into());
        }
        Ok(found)
    }

    pub(crate) fn unit(&self) -> Unit {
        match self.work {
            Work::Idle(_) => Unit::Bytes,
            Work::Kept(_) => Unit::Kibibytes,
            Work::Syscalls(..) => Unit::Calls,
            _ => Unit::Micros,
        }
    }

    /// It is compared with a byte echo.
    pub(crate) fn has_baseline(&self) -> bool {
        matches!(self.work, Work::Echo(..))
    }

    /// Those of the selected servers that do this job, and the byte echoes to compare with.
    pub(crate) fn servers(&self, selected: &[&'static Peer]) -> Vec<&'static Peer> {
        let raw: Vec<_> = selected.iter().filter_map(|peer| peer.raw()).collect();
        let wanted = |peer: &Peer| {
            selected.iter().any(|selected| selected.name == peer.name)
                || self.has_baseline() && (peer.name == "raw-epoll" || raw.contains(&peer.name))
        };
        let measured = |peer: &Peer| match (self.only, self.work) {
            (Some(only), _) => only.contains(&peer.name),
            (None, Work::Echo(..) | Work::Syscalls(..)) => true,
            (None, _) => !peer.is_raw(),
        };
        let all = crate::servers::PEERS.iter();
        all.filter(|peer| peer.jobs.contains(&self.job) && measured(peer) && wanted(peer)).collect()
    }
}
