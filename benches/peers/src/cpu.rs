//! What the kernel counted for another process, all threads together.

use std::{mem::MaybeUninit, ops::Sub, time::Duration};

use crate::Result;

/// CPU time of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cpu {
    /// To the nanosecond.
    total: Duration,
    /// By the timer's ticks: only good for how the total splits.
    ticks: Duration,
    user_ticks: Duration,
}

impl Cpu {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let pid = pid as libc::pid_t;
        Ok(Self {
            total: read(clock_of(pid, 2))?,
            ticks: read(clock_of(pid, 0))?,
            user_ticks: read(clock_of(pid, 1))?,
        })
    }

    pub(crate) fn total(&self) -> Duration {
        self.total
    }

    pub(crate) fn user(&self) -> Duration {
        let share = self.user_ticks.as_secs_f64() / self.ticks.as_secs_f64().max(1e-9);
        self.total.mul_f64(share.min(1.0))
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            total: self.total.saturating_sub(before.total),
            ticks: self.ticks.saturating_sub(before.ticks),
            user_ticks: self.user_ticks.saturating_sub(before.user_ticks),
        }
    }
}

/// As the kernel makes clock ids of process ids: 0 counts ticks, 1 those in user code, 2 the
/// scheduler's nanoseconds (linux/posix-timers.h).
fn clock_of(pid: libc::pid_t, kind: i32) -> libc::clockid_t {
    (!pid << 3) | kind
}

fn read(clock: libc::clockid_t) -> Result<Duration> {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is to a timespec, which the call fills in if it returns 0.
    let time = unsafe {
        if libc::clock_gettime(clock, time.as_mut_ptr()) != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        time.assume_init()
    };
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}
