//! Who runs where: servers on the first core, the load generator on the second.

use rustix::{
    process::{Resource, getrlimit, setrlimit},
    thread::{CpuSet, sched_setaffinity},
};

use crate::Result;

pub(crate) const SERVER: &[usize] = &[0];
pub(crate) const LOAD: &[usize] = &[1];
pub(crate) const ALL: &[usize] = &[0, 1];

/// Keeps this thread, and what it starts from now on, to these cores.
pub(crate) fn pin(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|&core| set.set(core));
    Ok(sched_setaffinity(None, &set)?)
}

/// Both sides hold thousands of connections.
pub(crate) fn allow_many_files() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
