use std::{
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use crate::{Result, client, measure::Proc};

/// Under `--short`.
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(5);

/// One attack on one server.
pub(crate) struct Siege {
    pub(super) addr: SocketAddr,
    pub(super) server: Proc,
    short: bool,
    sources: AtomicU32,
    over: AtomicBool,
    done: AtomicU64,
}

impl Siege {
    pub(crate) fn new(addr: SocketAddr, server: Proc, short: bool) -> Self {
        let (sources, over, done) = Default::default();
        Self { addr, server, short, sources, over, done }
    }

    /// How often something is done that is done so many times.
    pub(super) fn times(&self, long: usize) -> usize {
        if self.short { long.div_ceil(5) } else { long }
    }

    /// A connection from one of 200 addresses.
    pub(super) fn connect(&self) -> Result<TcpStream> {
        let n = self.sources.fetch_add(1, Ordering::Relaxed);
        client::from(Ipv4Addr::new(127, 0, 1, 1 + (n % 200) as u8), self.addr)
    }

    pub(super) fn open(&self, path: &str) -> Result<TcpStream> {
        let mut stream = self.connect()?;
        client::upgrade(&mut stream, path, "")?;
        Ok(stream)
    }

    pub(super) fn open_many(&self, count: usize, path: &str) -> Result<Vec<TcpStream>> {
        (0..count).map(|_| self.open(path)).collect()
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, done: usize) {
        self.done.fetch_add(done as u64, Ordering::Relaxed);
    }

    /// Gives each connection to a thread until the attack is over; then nothing can be sent or
    /// received any more. Returns what was counted.
    pub(super) fn each(
        &self,
        streams: Vec<TcpStream>,
        work: impl Fn(usize, TcpStream) -> Result<()> + Sync,
    ) -> Result<u64> {
        let ends = streams.iter().map(TcpStream::try_clone).collect::<Result<Vec<_>, _>>()?;
        let work = &work;
        let works = streams.into_iter().enumerate().map(|(index, stream)| {
            move || {
                // The server may end a connection, and the attack does for certain.
                let _ = work(index, stream);
                Ok(())
            }
        });
        self.until_over(works, || {
            for end in &ends {
                let _ = end.shutdown(Shutdown::Both);
            }
        })
    }

    /// Runs each work in a thread until the attack is over.
    pub(super) fn until_over<W: FnOnce() -> Result<()> + Send>(
        &self,
        works: impl Iterator<Item = W>,
        end: impl FnOnce(),
    ) -> Result<u64> {
        thread::scope(|scope| {
            let works: Vec<_> = works.map(|work| scope.spawn(work)).collect();
            thread::sleep(if self.short { SHORT } else { LONG });
            self.over.store(true, Ordering::Relaxed);
            end();
            works
                .into_iter()
                .try_for_each(|work| work.join().map_err(|_| "an attacker panicked")?)
        })?;
        Ok(self.done.load(Ordering::Relaxed))
    }
}
