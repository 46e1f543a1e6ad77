//! Who runs where: a server on the first two cores, its attackers on the others. If there are no
//! others, they share the two.

use rustix::{
    process::{Resource, getrlimit, setpriority_process, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use crate::Result;

/// Runs `start` such that the process it starts has the cores of a server.
pub(crate) fn as_server<T>(start: impl FnOnce() -> T) -> Result<T> {
    let all = sched_getaffinity(None)?;
    let mut two = CpuSet::new();
    (0..2).for_each(|core| two.set(core));
    sched_setaffinity(None, &two)?;
    let started = start();
    sched_setaffinity(None, &all)?;
    Ok(started)
}

/// Keeps this thread, and what it starts from now on, off the cores of a server, if it can.
pub(crate) fn leave_those_of_the_server() -> Result<()> {
    let mut others = sched_getaffinity(None)?;
    (0..2).for_each(|core| others.unset(core));
    if others.count() > 0 {
        sched_setaffinity(None, &others)?;
    }
    Ok(())
}

/// Lets this thread run ahead of attackers, so that what it waits for is the server. Only root may
/// do that; others measure their own wait for a core as well.
pub(crate) fn go_first() {
    let _ = setpriority_process(None, -10);
}

/// Attackers hold thousands of connections.
pub(crate) fn allow_many_files() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
