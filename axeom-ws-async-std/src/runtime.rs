use std::{future::Future, io, net::SocketAddr, time::Duration};

use async_std::{net::TcpListener, task};
use axeom_ws_core::Runtime;

use crate::Listener;

/// async-std's global executor and reactor.
///
/// ```no_run
/// use axeom_ws_async_std::{Adapter, Server};
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
        drop(task::spawn(task));
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        task::sleep(duration)
    }
}
