use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::{
    Result, cores,
    cpu::Cpu,
    install,
    paths::here,
    servers::{Job, Peer, Run},
};

/// A server in a process of its own, ended when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) addr: SocketAddr,
}

impl Process {
    pub(crate) fn start(peer: &Peer, job: Job) -> Result<Self> {
        let mut command = match peer.run {
            Run::Here(_) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["serve", peer.name, job.name()]);
                command
            }
            Run::Uwebsockets => {
                let mut command = Command::new(install::uwebsockets()?);
                command.arg(job.name());
                command
            }
            Run::Script(program, script) => {
                install::scripts()?;
                let mut command = match program[0].contains('/') {
                    true => Command::new(here(program[0])),
                    false => Command::new(program[0]),
                };
                command.args(&program[1..]).arg(here(script)).arg(job.name());
                command
            }
        };
        command.env("ASYNC_STD_THREAD_COUNT", "1").stdin(Stdio::null()).stdout(Stdio::piped());

        // SAFETY: one system call, which is allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // A server does not outlive a measurement that was cut short.
                Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
            });
        }
        let cores = if job == Job::Workers { cores::ALL } else { cores::SERVER };
        cores::pin(cores)?;
        let child = command.spawn();
        cores::pin(if job == Job::Workers { cores::ALL } else { cores::LOAD })?;
        let mut child = child?;
        let output = child.stdout.take().ok_or("the server has no output")?;
        let mut process = Self { child, addr: SocketAddr::from(([0; 4], 0)) };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        process.addr = line.trim().parse().map_err(|_| "the server did not start")?;
        Ok(process)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn cpu(&self) -> Result<Cpu> {
        Cpu::of(self.id())
    }

    /// Bytes of memory in use.
    pub(crate) fn resident(&self) -> Result<usize> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.id()))?;
        let pages: usize = statm.split(' ').nth(1).ok_or("no resident size")?.parse()?;
        Ok(pages * rustix::param::page_size())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
