//! A connection that sends one small message after the other, and how long each takes to come back.

use std::{
    cmp::Ordering,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    Result,
    client::{self, BINARY, frame},
    cores,
};

/// Between an echo and the next message.
const PAUSE: Duration = Duration::from_millis(3);

/// How often it is looked whether an echo is still waited for.
const LOOK: Duration = Duration::from_millis(20);

/// Not an address that attacks.
const SOURCE: Ipv4Addr = Ipv4Addr::LOCALHOST;

pub(crate) struct Quiet {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<(Vec<Duration>, TcpStream)>>,
}

/// How long echoes took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waits {
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
    pub(crate) worst: Duration,
}

impl Quiet {
    /// Goes on until it is [finished](Self::finish).
    pub(crate) fn start(mut stream: TcpStream) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let thread = thread::spawn(move || {
            cores::go_first();
            let mut waits = Vec::new();
            while !is_over.load(Relaxed) {
                waits.push(echo(&mut stream, waits.len() as u64, &is_over)?);
                thread::sleep(PAUSE);
            }
            Ok((waits, stream))
        });
        Self { over, thread }
    }

    /// Returns the connection as well. An echo that has not come counts for as long as it was
    /// waited for.
    pub(crate) fn finish(self) -> Result<(Waits, TcpStream)> {
        self.over.store(true, Relaxed);
        let (mut waits, stream) =
            self.thread.join().map_err(|_| "the quiet connection panicked")??;
        if waits.is_empty() {
            return Err("the quiet connection sent nothing".into());
        }
        waits.sort_unstable();
        let at = |part: f64| waits[((waits.len() - 1) as f64 * part).ceil() as usize];
        Ok((Waits { median: at(0.5), p99: at(0.99), worst: at(1.0) }, stream))
    }
}

/// A connection that echoes.
pub(crate) fn open(addr: SocketAddr) -> Result<TcpStream> {
    let mut stream = client::from(SOURCE, addr)?;
    client::upgrade(&mut stream, "/echo", "")?;
    stream.set_read_timeout(Some(LOOK))?;
    Ok(stream)
}

/// Sends one message, and waits for it to come back or for `over`.
fn echo(stream: &mut TcpStream, number: u64, over: &AtomicBool) -> Result<Duration> {
    let began = Instant::now();
    stream.write_all(&frame(BINARY, &number.to_be_bytes()))?;
    while let Some(answer) = receive(stream, over)? {
        match answer.cmp(&number) {
            // An earlier one that was not waited for.
            Ordering::Less => {}
            Ordering::Equal => break,
            Ordering::Greater => return Err("not the echo of what was sent".into()),
        }
    }
    Ok(began.elapsed())
}

/// The number in the next answer. `None` if it has not come when it is `over`.
fn receive(stream: &mut TcpStream, over: &AtomicBool) -> Result<Option<u64>> {
    let mut answer = [0; 10];
    let mut filled = 0;
    while filled < answer.len() {
        match stream.read(&mut answer[filled..]) {
            Ok(0) => return Err("the server closed the quiet connection".into()),
            Ok(n) => filled += n,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if over.load(Relaxed) {
                    return Ok(None);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    match answer {
        [0x82, 8, number @ ..] => Ok(Some(u64::from_be_bytes(number))),
        other => Err(format!("not an echo: {}", other.escape_ascii()).into()),
    }
}

/// Whether a message still comes back within this time.
pub(crate) fn is_served(stream: &mut TcpStream, within: Duration) -> Result<()> {
    stream.set_read_timeout(Some(within))?;
    match echo(stream, u64::MAX, &AtomicBool::new(true))? {
        wait if wait < within => Ok(()),
        _ => Err(format!("no echo for {} s", within.as_secs()).into()),
    }
}
