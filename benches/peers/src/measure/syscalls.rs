use std::{
    fs,
    io::Read,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::Sample;
use crate::{Result, process::Process};

/// Time for a server to answer what is in flight.
const SETTLE: Duration = Duration::from_millis(100);

/// `strace`, counting what a server asks of the kernel.
#[derive(Debug)]
pub(super) struct Trace {
    strace: Child,
}

impl Trace {
    pub(super) fn start(server: &Process) -> Result<Self> {
        thread::sleep(SETTLE);
        let pid = server.id().to_string();
        let strace = Command::new("strace")
            .args(["--summary-only", "--follow-forks", "--attach", &pid])
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("strace: {error}"))?;
        let this = Self { strace };
        let start = Instant::now();
        while !is_traced(&pid)? {
            if start.elapsed() > Duration::from_secs(5) {
                return Err("strace does not attach".into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(this)
    }

    /// Calls per message, and which.
    pub(super) fn end(mut self, messages: u64) -> Result<Sample> {
        // What is in flight was answered but not counted: as much as was counted but answered
        // before the trace began.
        thread::sleep(SETTLE);
        let pid = Pid::from_child(&self.strace);
        kill_process(pid, Signal::INT)?;
        let mut summary = String::new();
        let mut output = self.strace.stderr.take().ok_or("no output")?;
        output.read_to_string(&mut summary)?;
        self.strace.wait()?;

        // % time, seconds, µs per call, calls, maybe errors, name
        let mut calls = Vec::new();
        for line in summary.lines() {
            let fields: Vec<_> = line.split_whitespace().collect();
            if let [share, _, _, count, .., name] = fields[..]
                && name != "total"
                && share.parse::<f64>().is_ok()
                && let Ok(count) = count.parse::<f64>()
            {
                calls.push((count / messages.max(1) as f64, name));
            }
        }
        calls.sort_by(|a, b| b.0.total_cmp(&a.0));
        let note = calls.iter().filter(|(count, _)| *count >= 0.005);
        let note: Vec<_> = note.map(|(count, name)| format!("{name} {count:.2}")).collect();
        let figure = calls.iter().map(|(count, _)| count).sum();
        Ok(Sample { figure, note: note.join(", "), ..Sample::default() })
    }
}

/// Every thread is.
fn is_traced(pid: &str) -> Result<bool> {
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        if status.contains("TracerPid:\t0\n") {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}
