use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::pin,
    task::Context,
    time::{Duration, Instant},
};

use axeom_ws_core::Runtime;
use tokio::net::TcpListener;

use crate::Listener;

/// The tokio runtime of the calling task. Its I/O and time drivers must be enabled.
///
/// ```no_run
/// use axeom_ws_tokio::{Adapter, Server};
///
/// # async fn example(app: axeom_ws_core::App) -> Result<(), axeom_ws_core::ServeError> {
/// let server = Server::bind_on(Adapter::default(), "127.0.0.1:3000").await?;
/// server.serve(app).await
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Adapter;

impl Runtime for Adapter {
    type Listener = Listener;

    async fn bind(&self, addr: SocketAddr) -> io::Result<Listener> {
        TcpListener::bind(addr).await.map(Listener::new)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Dropping the handle detaches the task.
        drop(tokio::spawn(task));
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(duration)
    }

    fn yield_now(&self, cx: &mut Context<'_>) {
        // Polled once, this has the task woken after the drivers were polled. A task that wakes
        // itself would run ahead of them, up to 61 times in a row.
        let _ = pin!(tokio::task::yield_now()).poll(cx);
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}
