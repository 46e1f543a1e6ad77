//! One server under one attack.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use crate::{
    Result,
    attacks::{Attack, Siege},
    measure::Proc,
    quiet::{self, Quiet, Waits},
    servers::{Process, Server},
};

/// How long a server may take to be done with its attackers. Nothing that bounds that is longer in
/// the options of ours.
const SETTLES: Duration = Duration::from_secs(6);

/// How long an echo may take once an attack is over.
const SERVES_AGAIN: Duration = Duration::from_secs(5);

/// How long each of both may take in the short form: a loaded machine does not get there, and a
/// server that hangs does.
const PATIENCE: Duration = Duration::from_secs(60);

const WARM_UP: usize = 64;

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) attack: &'static Attack,
    pub(crate) server: &'static Server,
    /// No bound of time counts.
    short: bool,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Measured(Figures),
    /// Something does not hold that should, such as that the server still serves.
    Failed(String),
    /// There is nothing to measure, and why.
    Skipped(String),
}

#[derive(Debug)]
struct Figures {
    /// What the attack has done, in its own unit.
    done: u64,
    memory: Before<usize>,
    /// The most memory, in bytes, and the most descriptors.
    peak: usize,
    most_descriptors: usize,
    descriptors: Before<usize>,
    cpu: Duration,
    waits: Waits,
    /// Why the server does not serve as before, if it does not.
    broken: Option<String>,
}

/// A figure before the attack and after it.
#[derive(Debug, Clone, Copy)]
struct Before<T> {
    before: T,
    after: T,
}

impl Row {
    pub(crate) fn measure(attack: &'static Attack, server: &'static Server, short: bool) -> Self {
        let outcome = match server.skips(attack) {
            Some(reason) => Outcome::Skipped(reason.to_owned()),
            None => match Process::start(server) {
                Err(error) if !server.is_ours() => Outcome::Skipped(error.to_string()),
                Err(error) => Outcome::Failed(error.to_string()),
                Ok(process) => match under(attack, &process, short) {
                    Ok(figures) => Outcome::Measured(figures),
                    Err(error) => Outcome::Failed(error.to_string()),
                },
            },
        };
        Self { attack, server, short, outcome }
    }

    /// A line for each bound that a server of ours has not kept.
    pub(crate) fn out_of_bounds(&self) -> Vec<String> {
        if !self.server.is_ours() {
            return Vec::new();
        }
        let figures = match &self.outcome {
            Outcome::Measured(figures) => figures,
            Outcome::Failed(reason) | Outcome::Skipped(reason) => {
                return vec![format!("{} on {}: {reason}", self.attack.name, self.server.name)];
            }
        };
        let bound = &self.attack.bound;
        let Figures { memory, descriptors, .. } = figures;
        let kept_open = descriptors.after as i64 - descriptors.before as i64;
        let most_open = figures.most_descriptors.saturating_sub(descriptors.before);
        let worst = if self.short { i64::MAX } else { bound.worst as i64 };
        [
            ("ms for the worst echo", figures.waits.worst.as_millis() as i64, worst),
            ("MiB at the peak", mib(figures.peak) - mib(memory.before), bound.peak as i64),
            ("MiB after", mib(memory.after) - mib(memory.before), bound.after as i64),
            ("descriptors at the peak", most_open as i64, bound.descriptors as i64),
            ("descriptors after", kept_open, 0),
        ]
        .into_iter()
        .filter(|(_, measured, most)| measured > most)
        .map(|(what, measured, most)| format!("{measured} {what}, and the bound is {most}"))
        .chain(figures.broken.clone())
        .map(|what| format!("{} on {}: {what}", self.attack.name, self.server.name))
        .collect()
    }
}

fn under(attack: &Attack, process: &Process, short: bool) -> Result<Figures> {
    let (settles, serves_again) =
        if short { (PATIENCE, PATIENCE) } else { (SETTLES, SERVES_AGAIN) };
    let proc = Proc(process.id());
    for _ in 0..WARM_UP {
        quiet::is_served(&mut quiet::open(process.addr)?, serves_again)?;
    }
    let mut stream = quiet::open(process.addr)?;
    quiet::is_served(&mut stream, serves_again)?;
    thread::sleep(Duration::from_millis(300));
    let (memory, descriptors, cpu) = (proc.resident()?, proc.descriptors()?, proc.cpu()?);
    proc.forget_peak()?;

    let quiet = Quiet::start(stream);
    let siege = Siege::new(process.addr, proc, short);
    let (most_descriptors, done) = proc.most_descriptors(|| (attack.run)(&siege));
    let (waits, mut stream) = quiet.finish()?;
    let cpu = proc.cpu()? - cpu;

    // Until the server is done with all of it, or will never be.
    let patience = Instant::now() + settles;
    let settled = || -> Result<bool> {
        let most = memory + (attack.bound.after << 20);
        Ok(proc.descriptors()? <= descriptors && proc.resident()? <= most)
    };
    while Instant::now() < patience && !settled()? {
        thread::sleep(Duration::from_millis(50));
    }
    let after = (proc.resident()?, proc.descriptors()?);
    let broken = quiet::is_served(&mut stream, serves_again)
        .and_then(|()| quiet::is_served(&mut quiet::open(process.addr)?, serves_again));
    let figures = Figures {
        done: done?,
        memory: Before { before: memory, after: after.0 },
        peak: proc.peak()?,
        most_descriptors,
        descriptors: Before { before: descriptors, after: after.1 },
        cpu,
        waits,
        broken: broken.err().map(|error| format!("after the attack: {error}")),
    };
    match figures.done {
        0 => Err("the attack has done nothing".into()),
        _ => Ok(figures),
    }
}

/// Bytes in MiB, rounded up.
fn mib(bytes: usize) -> i64 {
    bytes.div_ceil(1 << 20) as i64
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} | {} | ", self.attack.name, self.server.name)?;
        let figures = match &self.outcome {
            Outcome::Measured(figures) => figures,
            Outcome::Failed(reason) => return write!(f, "FAILED: {reason} | | | | | | | |"),
            Outcome::Skipped(reason) => return write!(f, "not measured: {reason} | | | | | | | |"),
        };
        let ms = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1000.0);
        let Figures { done, memory, peak, most_descriptors, descriptors, cpu, waits, .. } = figures;
        write!(
            f,
            "{done} | {} → {} → {} | {} → {most_descriptors} → {} | {:.2} | {} | {} | {} | {} |",
            mib(memory.before),
            mib(*peak),
            mib(memory.after),
            descriptors.before,
            descriptors.after,
            cpu.as_secs_f64(),
            ms(waits.median),
            ms(waits.p99),
            ms(waits.worst),
            match (&figures.broken, self.out_of_bounds().as_slice()) {
                (Some(broken), _) => broken,
                _ if !self.server.is_ours() => "",
                (None, []) => "kept",
                (None, _) => "**not kept**",
            }
        )
    }
}
