use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use super::{Run, Server};
use crate::{Result, cores, here};

/// A server in a process of its own, ended when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) addr: SocketAddr,
}

impl Process {
    pub(crate) fn start(server: &Server) -> Result<Self> {
        let mut command = match server.run {
            Run::Here(_) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["serve", server.name]);
                command
            }
            Run::Node => {
                let mut command = Command::new("node");
                command.arg(here("node-ws.cjs")).env("NODE_PATH", installed()?);
                command
            }
        };
        command.env("ASYNC_STD_THREAD_COUNT", "2");
        // Or glibc keeps what large messages took for the next ones, and it looks like a leak.
        command.env("MALLOC_MMAP_THRESHOLD_", "131072");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let program = command.get_program().to_string_lossy().into_owned();
        let child = cores::as_server(|| command.spawn())?;
        let mut child = child.map_err(|error| format!("{program}: {error}"))?;
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
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The version of `ws` that is attacked.
pub(crate) const WS: &str = "ws@8.23.0";

/// Where npm has put `ws`, which it does once.
fn installed() -> Result<PathBuf> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    Ok(INSTALLED.get_or_init(|| install().map_err(|error| error.to_string())).clone()?)
}

fn install() -> Result<PathBuf> {
    let prefix = here("target/node");
    let modules = prefix.join("node_modules");
    if modules.join("ws").exists() {
        return Ok(modules);
    }
    fs::create_dir_all(&prefix)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-save", "--no-audit", "--no-fund", "--prefix"]);
    let output = npm.arg(&prefix).arg(WS).output().map_err(|error| format!("npm: {error}"))?;
    match output.status.success() {
        true => Ok(modules),
        false => Err(format!("npm cannot install {WS}").into()),
    }
}
