use std::{future::Future, io, net::SocketAddr, time::Duration};

use async_std::{net::TcpListener, task};
use axeom_ws_core::Runtime;

use crate::{Listener, Tcp};

/// async-std's global executor and reactor.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Adapter;

impl Runtime for Adapter {
    type Transport = Tcp;
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
