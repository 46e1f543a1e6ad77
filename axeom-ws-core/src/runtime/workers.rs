use std::{io, thread};

/// Starts one thread per core, and calls `run` on each. This is for adapters of runtimes that
/// start no threads themselves.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use std::sync::mpsc;
///
/// let (sender, receiver) = mpsc::channel();
/// axeom_ws::start_workers(move || sender.send("started").unwrap_or_default())?;
/// assert_eq!(receiver.recv(), Ok("started"));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// The error of the operating system if no thread can be started. If only some can be started,
/// they do the work alone, and this returns `Ok`.
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
