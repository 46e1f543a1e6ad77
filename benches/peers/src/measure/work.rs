//! What a row does to a server.

use std::time::{Duration, Instant};

use super::{Sample, syscalls::Trace};
use crate::{
    Result,
    load::{
        Broadcast, Chat, Echo, Frames, Handshakes, Load, Opcode, Pace, Target, binary, compressed,
        json, text,
    },
    process::Process,
    rows::{Payload, Row, Work},
    servers::Peer,
};

/// Both sides keep no context.
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; \
                     server_no_context_takeover; client_no_context_takeover\r\n";

/// Time for a server to free what it does not keep.
const SETTLE: Duration = Duration::from_millis(300);

const PATIENCE: Duration = Duration::from_secs(30);

/// A measurement of a server that was started for it.
pub(super) fn measure(row: &Row, peer: &Peer, time: Duration) -> Result<Sample> {
    let server = Process::start(peer, row.job)?;
    let headers = match row.work {
        Work::Deflate(..) | Work::DeflateWorkers(..) => OFFER,
        _ => "",
    };
    let target = match peer.is_raw() {
        true => Target::bytes(server.addr),
        false => Target::websocket(server.addr, "/", headers),
    };
    let frames = |count, payload| {
        let frames = match payload {
            Payload::Binary(len) => Frames::new(count, Opcode::Binary, &binary(len)),
            Payload::Text(len) => Frames::new(count, Opcode::Text, &text(len)),
        };
        if peer.is_raw() { frames.answered_with_itself() } else { frames }
    };
    let small = |count| frames(count, Payload::Binary(20));
    match row.work {
        Work::Echo(conns, count, payload) => {
            let load = Echo::new(&target, conns, Pace::Each(count), frames(count, payload))?;
            cpu_of_each(&server, load, time)
        }
        Work::Workers(conns, count) => {
            let load = Echo::new(&target, conns, Pace::Each(count), small(count))?;
            cpu_of_each(&server, load, time)
        }
        Work::Growth(conns) => {
            let load = Echo::new(&target, conns, Pace::Turns(conns.min(64)), small(64))?;
            cpu_of_each(&server, load, time)
        }
        Work::Deflate(conns, count) | Work::DeflateWorkers(conns, count) => {
            let frames = compressed(&target, count, &json(1024))?;
            let load = Echo::new(&target, conns, Pace::Each(count), frames)?;
            cpu_of_each(&server, load, time)
        }
        Work::Handshakes(conns) => cpu_of_each(&server, Handshakes::new(target, conns)?, time),
        Work::Broadcast(conns, count) => {
            let load = Broadcast::new(&target, conns, count, &binary(100))?;
            cpu_of_each(&server, load, time)
        }
        Work::Chat(conns) => cpu_of_each(&server, Chat::new(&target, conns)?, time),
        Work::Idle(conns) => {
            let mut first = Echo::new(&target, conns / 10, Pace::Each(1), small(1))?;
            first.run_for(PATIENCE, 2 * conns as u64 / 10)?;
            memory_of_each(&server, conns, || {
                (0..conns).map(|_| target.connect()).collect::<Result<Vec<_>>>()
            })
        }
        Work::Kept(conns) => {
            let echo = |conns| {
                let frames = frames(1, Payload::Binary(1 << 20));
                let mut load = Echo::new(&target, conns, Pace::Turns(1), frames)?;
                load.run_for(PATIENCE, conns as u64)?;
                Ok(load)
            };
            let _first = echo(8)?;
            let kept = memory_of_each(&server, conns, || echo(conns))?;
            Ok(Sample { figure: kept.figure / 1024.0, ..kept })
        }
        Work::Syscalls(conns, count) => {
            let mut load = Echo::new(&target, conns, Pace::Each(count), small(count))?;
            load.run(Duration::from_millis(100))?;
            let trace = Trace::start(&server)?;
            let messages = load.run(time.min(Duration::from_secs(1)))?;
            trace.end(messages)
        }
    }
}

/// The server's CPU time for each thing that the load does.
fn cpu_of_each(server: &Process, mut load: impl Load, time: Duration) -> Result<Sample> {
    load.run(time / 4)?;
    let (before, start) = (server.cpu()?, Instant::now());
    let count = load.run(time)?;
    let (cpu, elapsed) = (server.cpu()? - before, start.elapsed());
    if count == 0 {
        return Err("nothing was done".into());
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    Ok(Sample {
        figure: each(cpu.total()),
        user: each(cpu.user()),
        rate: count as f64 / elapsed.as_secs_f64(),
        note: String::new(),
    })
}

/// The memory that each of so many connections adds.
fn memory_of_each<T>(
    server: &Process,
    connections: usize,
    connect: impl FnOnce() -> Result<T>,
) -> Result<Sample> {
    std::thread::sleep(SETTLE);
    let before = server.resident()?;
    let _connected = connect()?;
    std::thread::sleep(SETTLE);
    let added = server.resident()?.saturating_sub(before);
    Ok(Sample { figure: added as f64 / connections as f64, ..Sample::default() })
}
