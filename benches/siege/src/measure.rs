//! What the kernel says of a server's process.

use std::{
    fs, io,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use crate::Result;

/// A process, by its id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proc(pub(crate) u32);

impl Proc {
    /// Bytes of memory in use.
    pub(crate) fn resident(self) -> Result<usize> {
        self.status("VmRSS:")
    }

    /// The most bytes of memory that were in use since [`forget_peak`](Self::forget_peak).
    pub(crate) fn peak(self) -> Result<usize> {
        self.status("VmHWM:")
    }

    pub(crate) fn forget_peak(self) -> Result<()> {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.0), "5")?)
    }

    fn status(self, name: &str) -> Result<usize> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("no such size")?;
        Ok(kib.parse::<usize>()? << 10)
    }

    pub(crate) fn descriptors(self) -> io::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.0))?.count())
    }

    /// CPU time of all its threads, in ticks of 10 ms.
    pub(crate) fn cpu(self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        let (_, fields) = stat.rsplit_once(')').ok_or("no stat")?;
        let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
        let mut next = || times.next().ok_or("no CPU time");
        let ticks = next()?? + next()??;
        let each = 1_000_000 / rustix::param::clock_ticks_per_second();
        Ok(Duration::from_micros(ticks * each))
    }

    /// The most descriptors that are open while `work` runs.
    pub(crate) fn most_descriptors<T>(self, work: impl FnOnce() -> T) -> (usize, T) {
        let (over, most) = (AtomicBool::new(false), AtomicUsize::new(0));
        let done = thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    most.fetch_max(self.descriptors().unwrap_or(0), Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(20));
                }
            });
            let done = work();
            over.store(true, Ordering::Relaxed);
            done
        });
        (most.into_inner(), done)
    }
}
