use crate::{Result, servers::Job};

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) job: Job,
    pub(crate) work: Work,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// Connections, messages in flight on each.
    Echo(usize, usize, Payload),
    /// Bytes for each of so many connections that do nothing.
    Idle(usize),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Payload {
    Binary(usize),
    Text(usize),
}

const fn echo(
    name: &'static str,
    title: &'static str,
    connections: usize,
    in_flight: usize,
    payload: Payload,
) -> Row {
    Row { name, title, job: Job::Echo, work: Work::Echo(connections, in_flight, payload) }
}

/// Every row, in the order of the table.
pub(crate) const ROWS: &[Row] = &[
    echo("echo-20-1", "20 B (64, 1)", 64, 1, Payload::Binary(20)),
    echo("echo-20-32", "20 B (64, 32)", 64, 32, Payload::Binary(20)),
    echo("echo-1k-1", "1 KiB (64, 1)", 64, 1, Payload::Binary(1 << 10)),
    echo("echo-16k-4", "16 KiB (16, 4)", 16, 4, Payload::Binary(16 << 10)),
    echo("echo-1m-1", "1 MiB (4, 1)", 4, 1, Payload::Binary(1 << 20)),
    echo("echo-text-16", "1 KiB text (64, 16)", 64, 16, Payload::Text(1 << 10)),
    Row {
        name: "idle",
        title: "bytes per idle connection",
        job: Job::Echo,
        work: Work::Idle(5000),
    },
];

impl Row {
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
}
