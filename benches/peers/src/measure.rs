use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use crate::{
    Result,
    args::Selection,
    load::{Echo, Frames, Load, Opcode, Pace, Target, binary, text},
    process::Process,
    rows::{Payload, Row, Work},
    servers::{Job, Peer},
};

/// What one measurement found.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// What the row is about: µs of CPU time, or bytes.
    pub(crate) figure: f64,
    /// µs of it in user code.
    pub(crate) user: f64,
    /// How many a second.
    pub(crate) rate: f64,
}

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) rows: Vec<RowResults>,
}

#[derive(Debug)]
pub(crate) struct RowResults {
    pub(crate) row: &'static Row,
    pub(crate) cells: Vec<Cell>,
}

#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) peer: &'static Peer,
    pub(crate) runs: Vec<Result<Sample, String>>,
}

/// Row by row, run by run, all servers in turn.
pub(crate) fn everything(selection: &Selection) -> Result<Results> {
    let progress = std::io::stderr().is_terminal();
    let mut rows = Vec::new();
    for row in &selection.rows {
        let mut cells: Vec<_> = row
            .servers(&selection.servers)
            .into_iter()
            .map(|peer| Cell { peer, runs: Vec::new() })
            .collect();
        for run in 1..=selection.runs {
            for cell in &mut cells {
                if progress {
                    eprint!("\r\x1b[K{} run {run}: {}", row.name, cell.peer.name);
                }
                let sample = measure(row, cell.peer, selection.time);
                cell.runs.push(sample.map_err(|error| error.to_string()));
            }
        }
        if progress {
            eprint!("\r\x1b[K");
        }
        rows.push(RowResults { row, cells });
    }
    Ok(Results { rows })
}

impl Row {
    /// Those of the selected servers that do this job, and the byte echoes to compare with.
    fn servers(&self, selected: &[&'static Peer]) -> Vec<&'static Peer> {
        let does = |peer: &&&'static Peer| {
            peer.jobs.contains(&self.job) && (matches!(self.work, Work::Echo(..)) || !peer.is_raw())
        };
        let mut servers: Vec<_> = selected.iter().filter(does).copied().collect();
        if matches!(self.work, Work::Echo(..)) {
            let raw: Vec<_> = servers.iter().filter_map(|peer| peer.raw()).collect();
            for name in ["raw-async-std", "raw-smol", "raw-tokio", "raw-epoll"] {
                let needed = name == "raw-epoll" || raw.contains(&name);
                if needed && !servers.iter().any(|peer| peer.name == name) {
                    servers.extend(Peer::find(name));
                    servers.rotate_right(1);
                }
            }
        }
        servers
    }
}

fn measure(row: &Row, peer: &Peer, time: Duration) -> Result<Sample> {
    let server = Process::start(peer, row.job)?;
    match row.work {
        Work::Echo(connections, in_flight, payload) => {
            let (opcode, payload) = match payload {
                Payload::Binary(len) => (Opcode::Binary, binary(len)),
                Payload::Text(len) => (Opcode::Text, text(len)),
            };
            let mut frames = Frames::new(in_flight, opcode, &payload);
            if peer.is_raw() {
                frames = frames.answered_with_itself();
            }
            let target = target(peer, &server, row.job);
            let mut load = Echo::new(&target, connections, Pace::Each(in_flight), frames)?;
            cpu_of_each(&server, &mut load, time)
        }
        Work::Idle(connections) => idle(&target(peer, &server, row.job), &server, connections),
    }
}

fn target(peer: &Peer, server: &Process, job: Job) -> Target {
    let headers = match job {
        Job::Deflate => {
            "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
             client_no_context_takeover\r\n"
        }
        _ => "",
    };
    if peer.is_raw() {
        Target::bytes(server.addr)
    } else {
        Target::websocket(server.addr, "/", headers)
    }
}

/// The server's CPU time for each thing that the load did.
fn cpu_of_each(server: &Process, load: &mut impl Load, time: Duration) -> Result<Sample> {
    load.run(time / 4)?;
    let (before, start) = (server.cpu()?, Instant::now());
    let count = load.run(time)?;
    let (cpu, elapsed) = (server.cpu()? - before, start.elapsed());
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count.max(1) as f64;
    Ok(Sample {
        figure: each(cpu.total()),
        user: each(cpu.user()),
        rate: count as f64 / elapsed.as_secs_f64(),
    })
}

/// Time for a server to free what it does not keep.
const SETTLE: Duration = Duration::from_millis(300);

fn idle(target: &Target, server: &Process, connections: usize) -> Result<Sample> {
    let frames = Frames::new(1, Opcode::Binary, &binary(20));
    let warm = connections / 10;
    let mut first = Echo::new(target, warm, Pace::Each(1), frames)?;
    first.run_for(Duration::from_secs(5), 2 * warm as u64)?;
    std::thread::sleep(SETTLE);
    let before = server.resident()?;
    let idle = (0..connections).map(|_| target.connect()).collect::<Result<Vec<_>>>()?;
    std::thread::sleep(SETTLE);
    let bytes = server.resident()?.saturating_sub(before) as f64 / connections as f64;
    drop(idle);
    Ok(Sample { figure: bytes, ..Sample::default() })
}

impl Cell {
    /// The median, or the first thing that failed.
    pub(crate) fn median(&self, value: impl Fn(&Sample) -> f64) -> Result<f64, &str> {
        let mut values = Vec::new();
        for run in &self.runs {
            values.push(value(run.as_ref().map_err(String::as_str)?));
        }
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        Ok(match values.len() % 2 {
            0 => (values[middle - 1] + values[middle]) / 2.0,
            _ => values[middle],
        })
    }
}

impl RowResults {
    /// The median of the ratios to another server, run by run.
    pub(crate) fn ratio(&self, cell: &Cell, to: &str) -> Option<f64> {
        let base = self.cells.iter().find(|cell| cell.peer.name == to)?;
        let ratios = cell.runs.iter().zip(&base.runs).map(|(run, base)| {
            let figure = run.as_ref().ok()?.figure / base.as_ref().ok()?.figure;
            Some(Ok(Sample { figure, ..Sample::default() }))
        });
        let ratios = Cell { peer: cell.peer, runs: ratios.collect::<Option<_>>()? };
        ratios.median(|sample| sample.figure).ok()
    }
}

/// A row on the terminal.
pub(crate) fn print(results: &RowResults) {
    println!("\n{} – {}", results.row.name, results.row.title);
    let ratio = |ratio: Option<f64>| ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
    if matches!(results.row.work, Work::Echo(..)) {
        let (a, b, c) = ("messages/s", "user µs", "system µs");
        println!("{:34}{a:>12}{b:>10}{c:>10}{:>8}{:>12}", "", "× epoll", "× runtime");
    }
    for cell in &results.cells {
        let name = cell.peer.name;
        match (cell.median(|sample| sample.figure), results.row.work) {
            (Err(error), _) => println!("{name:34}failed: {error}"),
            (Ok(figure), Work::Idle(_)) => println!("{name:34}{figure:>12.0}"),
            (Ok(figure), Work::Echo(..)) => {
                let user = cell.median(|sample| sample.user).unwrap_or_default();
                let rate = cell.median(|sample| sample.rate).unwrap_or_default();
                let epoll = ratio(results.ratio(cell, "raw-epoll"));
                let runtime = ratio(cell.peer.raw().and_then(|raw| results.ratio(cell, raw)));
                let system = figure - user;
                println!("{name:34}{rate:>12.0}{user:>10.3}{system:>10.3}{epoll:>8}{runtime:>12}");
            }
        }
    }
}
