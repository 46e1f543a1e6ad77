use std::{
    future::{Future, pending},
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Once, OnceLock},
    time::Duration,
};

use async_executor::Executor;
use async_io::{Async, Timer};
use axeom_ws_core::{Runtime, start_workers};

use crate::Listener;

/// smol's reactor, with an executor of the program or of this crate.
///
/// By default, connections run on an executor that all default adapters share. It has a thread
/// per core, because smol's global executor has only one by default. The threads are started when
/// the first task is spawned.
///
/// ```no_run
/// use axeom_ws_smol::{Adapter, Server};
///
/// # async fn example(app: axeom_ws_core::App) -> Result<(), axeom_ws_core::ServeError> {
/// let server = Server::bind_on(Adapter::default(), "127.0.0.1:3000").await?;
/// server.serve(app).await
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Adapter {
    executor: Option<Arc<Executor<'static>>>,
}

impl Adapter {
    /// Runs connections on an executor of the program, on the threads that run it.
    pub fn new(executor: Arc<Executor<'static>>) -> Self {
        Self { executor: Some(executor) }
    }
}

impl Runtime for Adapter {
    type Listener = Listener;

    async fn bind(&self, addr: SocketAddr) -> io::Result<Listener> {
        Async::<TcpListener>::bind(addr).map(Listener::new)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let executor = self.executor.as_deref().unwrap_or_else(|| shared());
        // Dropping the handle would cancel the task.
        executor.spawn(task).detach();
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        let timer = Timer::after(duration);
        async move {
            timer.await;
        }
    }
}

/// The executor of adapters that were not given one.
fn shared() -> &'static Executor<'static> {
    static SHARED: OnceLock<Executor<'static>> = OnceLock::new();
    static STARTED: Once = Once::new();
    let executor = SHARED.get_or_init(Executor::new);
    STARTED.call_once(|| {
        let run = || async_io::block_on(executor.run(pending::<()>()));
        if let Err(error) = start_workers(run) {
            // Tasks are queued, and run once something else runs the executor.
            tracing::error!(%error, "cannot start a thread for smol's tasks");
        }
    });
    executor
}
