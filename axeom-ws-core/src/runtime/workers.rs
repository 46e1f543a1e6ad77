use std::{io, thread};

/// Starts a thread per core, each of which runs `run`, for a runtime that has no threads of
/// its own.
///
/// # Errors
/// Not even one thread can be started. With fewer than there are cores the work still gets
/// done.
pub fn start_workers(run: impl Fn() + Clone + Send + 'static) -> io::Result<()> {
    let cores = thread::available_parallelism().map_or(1, |n| n.get());
    for n in 0..cores {
        let started = thread::Builder::new().name(format!("axeom-ws-{n}")).spawn(run.clone());
        if let Err(error) = started {
            return if n == 0 { Err(error) } else { Ok(()) };
        }
    }
    Ok(())
}
