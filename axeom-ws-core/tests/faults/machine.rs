//! A machine that fails: a runtime on which any call may fail, do less than it was asked for, be
//! interrupted, or be late. A seed says which.

#![allow(unreachable_pub, reason = "a module of one test")]

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io::{self, ErrorKind, IoSlice},
    net::SocketAddr,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use axeom_ws_core::{Incoming, Io, Listener, LocalAddr, Peer as From, Runtime, Transport};
use futures::{future::BoxFuture, task::LocalSpawnExt};

use super::support::{Clock, Peer, Stream, World, pipe};

/// What may go wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Faults {
    /// Nothing.
    None,
    /// Only what a program need not know of: calls are short, interrupted or late, accepting fails
    /// for a while, and the clock stands still for a while.
    Harmless,
    /// That, and connections break, tasks are dropped, sleeps end early, and the clock jumps.
    All,
}

#[derive(Clone)]
pub struct Machine {
    pub clock: Clock,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    faults: Faults,
    /// Of how many calls one goes wrong.
    one_in: u64,
    random: u64,
    /// The tasks that were spawned and do not run yet.
    spawned: Vec<BoxFuture<'static, ()>>,
    /// Connections that were not accepted yet, and who waits for one.
    backlog: VecDeque<Stream>,
    accepts: Option<Waker>,
    /// Who is told later that it may try again.
    late: Vec<Waker>,
    /// The time at which the clock stands still.
    stands_at: Option<Instant>,
}

/// What becomes of a call.
enum Fate {
    Done,
    Short,
    Late,
    Failed(io::Error),
}

impl Shared {
    fn below(&mut self, n: u64) -> u64 {
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % n
    }

    fn goes_wrong(&mut self) -> bool {
        self.faults != Faults::None && self.below(self.one_in) == 0
    }

    fn fate(&mut self, waker: &Waker, failures: &[ErrorKind]) -> Fate {
        if !self.goes_wrong() {
            return Fate::Done;
        }
        match self.below(5) {
            0 => Fate::Failed(ErrorKind::Interrupted.into()),
            1 => Fate::Short,
            2 if self.faults == Faults::All && !failures.is_empty() => {
                let which = self.below(failures.len() as u64);
                Fate::Failed(failures[which as usize].into())
            }
            3 => {
                waker.wake_by_ref();
                Fate::Late
            }
            _ => {
                self.late.push(waker.clone());
                Fate::Late
            }
        }
    }
}

impl Machine {
    pub fn new(seed: u64, faults: Faults) -> Self {
        // A seed that is small makes a poor start, and 0 none.
        let random = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut shared = Shared {
            faults,
            one_in: 1,
            random,
            spawned: Vec::new(),
            backlog: VecDeque::new(),
            accepts: None,
            late: Vec::new(),
            stands_at: None,
        };
        shared.one_in = [2, 4, 16, 64][shared.below(4) as usize];
        Self { clock: Clock::default(), shared: Arc::new(Mutex::new(shared)) }
    }

    fn with<T>(&self, what: impl FnOnce(&mut Shared) -> T) -> T {
        what(&mut self.shared.lock().unwrap())
    }

    /// From now on nothing goes wrong.
    pub fn heal(&self) {
        self.with(|shared| {
            shared.faults = Faults::None;
            shared.stands_at = None;
        });
    }

    /// A client that connects to the server of this machine.
    pub fn connect(&self) -> Peer {
        let (stream, peer) = pipe();
        self.with(|shared| {
            shared.backlog.push_back(stream);
            shared.accepts.take().into_iter().for_each(Waker::wake);
        });
        peer
    }

    /// A transport that fails as this machine does.
    pub fn transport(&self, stream: Stream) -> Faulty {
        Faulty { inner: Io::new(stream), machine: self.clone() }
    }

    /// Runs what can run, until nothing can.
    pub fn settle(&self, world: &mut World) {
        loop {
            world.settle();
            let (spawned, late) = self.with(|shared| {
                (std::mem::take(&mut shared.spawned), std::mem::take(&mut shared.late))
            });
            if spawned.is_empty() && late.is_empty() {
                return;
            }
            for task in spawned {
                world.spawner().spawn_local(task).unwrap();
            }
            late.into_iter().for_each(Waker::wake);
        }
    }

    /// Lets time pass, in which the clock may stand still or jump.
    pub fn pass(&self, world: &mut World, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            let jump = self.with(|shared| {
                if shared.goes_wrong() {
                    shared.stands_at = match shared.stands_at {
                        None => Some(self.clock.now()),
                        Some(_) => None,
                    };
                }
                let jumps = shared.faults == Faults::All && shared.below(64) == 0;
                jumps.then(|| Duration::from_secs(1 << shared.below(32)))
            });
            self.clock.advance(jump.unwrap_or_default());
            self.settle(world);
        }
    }
}

impl Runtime for Machine {
    type Listener = Backlog;

    async fn bind(&self, _: SocketAddr) -> io::Result<Backlog> {
        Ok(Backlog(self.clone()))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let is_lost = self.with(|shared| shared.faults == Faults::All && shared.goes_wrong());
        if !is_lost {
            self.with(|shared| shared.spawned.push(Box::pin(task)));
        }
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        let duration = self.with(|shared| match shared.goes_wrong() {
            true if shared.faults == Faults::All && shared.below(2) == 0 => duration / 2,
            true => duration + Duration::from_secs(1),
            false => duration,
        });
        self.clock.sleep(duration)
    }

    fn now(&self) -> Instant {
        self.with(|shared| shared.stands_at).unwrap_or_else(|| self.clock.now())
    }
}

pub struct Backlog(Machine);

impl Listener for Backlog {
    async fn accept(&self) -> io::Result<Incoming> {
        let stream = poll_fn(|cx| {
            self.0.with(|shared| {
                if shared.goes_wrong() {
                    return Poll::Ready(Err(match shared.below(4) {
                        0 => ErrorKind::ConnectionAborted.into(),
                        1 => ErrorKind::Interrupted.into(),
                        // EMFILE
                        2 => io::Error::from_raw_os_error(24),
                        _ => ErrorKind::OutOfMemory.into(),
                    }));
                }
                let Some(stream) = shared.backlog.pop_front() else {
                    shared.accepts = Some(cx.waker().clone());
                    return Poll::Pending;
                };
                Poll::Ready(Ok(stream))
            })
        });
        Ok(Incoming::new(self.0.transport(stream.await?), From::Memory))
    }

    fn local_addr(&self) -> io::Result<LocalAddr> {
        Ok(LocalAddr::Memory)
    }
}

pub struct Faulty {
    inner: Io<Stream>,
    machine: Machine,
}

impl Faulty {
    fn fate(&self, cx: &Context<'_>, failures: &[ErrorKind]) -> Fate {
        self.machine.with(|shared| shared.fate(cx.waker(), failures))
    }
}

const READING: &[ErrorKind] = &[ErrorKind::ConnectionReset, ErrorKind::TimedOut, ErrorKind::Other];
const WRITING: &[ErrorKind] =
    &[ErrorKind::BrokenPipe, ErrorKind::OutOfMemory, ErrorKind::WriteZero];
const ENDING: &[ErrorKind] = &[ErrorKind::NotConnected, ErrorKind::ConnectionReset];

impl Transport for Faulty {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.fate(cx, READING) {
            Fate::Done => self.inner.poll_read(cx, buf),
            Fate::Short => self.inner.poll_read(cx, &mut buf[..1]),
            Fate::Late => Poll::Pending,
            Fate::Failed(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.fate(cx, WRITING) {
            Fate::Done => self.inner.poll_write_vectored(cx, bufs),
            Fate::Short => {
                let first = bufs.iter().find_map(|buf| buf.get(..1)).unwrap_or_default();
                self.inner.poll_write(cx, first)
            }
            Fate::Late => Poll::Pending,
            Fate::Failed(error) if error.kind() == ErrorKind::WriteZero => Poll::Ready(Ok(0)),
            Fate::Failed(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.fate(cx, WRITING) {
            Fate::Done | Fate::Short => self.inner.poll_flush(cx),
            Fate::Late => Poll::Pending,
            Fate::Failed(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.fate(cx, ENDING) {
            Fate::Done | Fate::Short => self.inner.poll_close(cx),
            Fate::Late => Poll::Pending,
            Fate::Failed(error) => Poll::Ready(Err(error)),
        }
    }
}
