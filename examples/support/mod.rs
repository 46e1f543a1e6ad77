//! What the examples share: their command line, and how to start each runtime.
#![allow(dead_code, unused_variables, reason = "not every example needs, or has, every runtime")]

use std::{future::Future, net::SocketAddr, num::NonZeroUsize, thread};

use axeom_ws::{App, BoxError, Compression, Options, Runtime, Server};
use futures::channel::oneshot;

/// The arguments of the command line.
pub(crate) struct Args {
    /// `None` if no runtime is compiled in.
    runtime: Option<&'static str>,
    pub(crate) addr: SocketAddr,
    threads: NonZeroUsize,
    compression: bool,
}

/// The runtimes that are compiled in.
const RUNTIMES: &[&str] = &[
    #[cfg(feature = "tokio")]
    "tokio",
    #[cfg(feature = "async-std")]
    "async-std",
    #[cfg(feature = "smol")]
    "smol",
];

const USAGE: &str = "options:
  --runtime tokio|async-std|smol  what to run on (default: the first enabled)
  --addr ADDR                     where to listen (default: 127.0.0.1:3000)
  --threads N                     worker threads (default: one per core)
  --compression                   offer permessage-deflate";

/// Serves an app on the runtime that the command line names, until ctrl-c.
pub(crate) fn serve<D>(app: App<D>) -> Result<(), BoxError>
where
    D: Clone + Send + Sync + 'static,
{
    let Args { runtime, addr, threads, compression } = Args::parse()?;
    let app = match compression {
        true => app.options(Options::new().compression(Compression::new())),
        false => app,
    };
    match runtime.ok_or("no runtime is compiled in: enable a feature")? {
        #[cfg(feature = "tokio")]
        "tokio" => {
            let tokio = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(threads.get())
                .enable_all()
                .build()?;
            let serving = serve_on(axeom_ws::tokio::Adapter::default(), app, addr, "tokio");
            tokio.block_on(tokio.spawn(serving))?
        }
        #[cfg(feature = "async-std")]
        "async-std" => {
            async_std_threads(threads)?;
            let serving = serve_on(axeom_ws::async_std::Adapter::default(), app, addr, "async-std");
            async_std::task::block_on(async_std::task::spawn(serving))
        }
        #[cfg(feature = "smol")]
        "smol" => {
            let executor = std::sync::Arc::new(smol::Executor::new());
            for _ in 0..threads.get() {
                let executor = executor.clone();
                thread::spawn(move || smol::block_on(executor.run(std::future::pending::<()>())));
            }
            let adapter = axeom_ws::smol::Adapter::new(executor.clone());
            let serving = serve_on(adapter, app, addr, "smol");
            smol::block_on(executor.spawn(serving))
        }
        other => Err(format!("runtime {other} is not compiled in: {RUNTIMES:?} are").into()),
    }
}

/// Serves an app on any runtime, until ctrl-c.
pub(crate) async fn serve_on<R, D>(
    runtime: R,
    app: App<D>,
    addr: SocketAddr,
    name: &str,
) -> Result<(), BoxError>
where
    R: Runtime,
    D: Clone + Send + Sync + 'static,
{
    let server = Server::bind_on(runtime, addr).await?;
    println!("listening on http://{} ({name})", server.local_addr());
    server.serve(app).with_graceful_shutdown(ctrl_c()?).await?;
    println!("closed all connections");
    Ok(())
}

/// Completes when the process is asked to end.
pub(crate) fn ctrl_c() -> Result<impl Future<Output = ()>, ctrlc::Error> {
    let (asked, ended) = oneshot::channel();
    let mut asked = Some(asked);
    ctrlc::set_handler(move || {
        if let Some(asked) = asked.take() {
            let _ = asked.send(());
        }
    })?;
    Ok(async {
        let _ = ended.await;
    })
}

/// async-std reads its number of threads only from the environment, so this process replaces
/// itself with one that has the variable set.
#[cfg(feature = "async-std")]
fn async_std_threads(threads: NonZeroUsize) -> Result<(), BoxError> {
    const VARIABLE: &str = "ASYNC_STD_THREAD_COUNT";
    if std::env::var_os(VARIABLE).is_some() {
        return Ok(());
    }
    let mut again = std::process::Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1)).env(VARIABLE, threads.to_string());
    #[cfg(unix)]
    return Err(std::os::unix::process::CommandExt::exec(&mut again).into());
    #[cfg(not(unix))]
    std::process::exit(again.status()?.code().unwrap_or(1));
}

impl Args {
    pub(crate) fn parse() -> Result<Self, BoxError> {
        let mut args = Self {
            runtime: RUNTIMES.first().copied(),
            addr: SocketAddr::from(([127, 0, 0, 1], 3000)),
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            compression: false,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                lexopt::Arg::Long("runtime") => {
                    let name = parser.value()?;
                    let known = RUNTIMES.iter().find(|known| name == **known);
                    let unknown =
                        || format!("runtime {name:?} is not compiled in: {RUNTIMES:?} are");
                    args.runtime = Some(known.ok_or_else(unknown)?);
                }
                lexopt::Arg::Long("addr") => {
                    args.addr = parser.value()?.to_string_lossy().parse()?;
                }
                lexopt::Arg::Long("threads") => {
                    args.threads = parser.value()?.to_string_lossy().parse()?;
                }
                lexopt::Arg::Long("compression") => args.compression = true,
                lexopt::Arg::Long("help") => {
                    println!("{USAGE}");
                    std::process::exit(0);
                }
                other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
            }
        }
        Ok(args)
    }
}
