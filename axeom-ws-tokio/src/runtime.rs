use std::{
    future::Future,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use axeom_ws_core::Runtime;
use tokio::net::TcpListener;

use crate::{Listener, Tcp};

/// The tokio runtime that the calling task runs on, with its I/O and time drivers
/// enabled.
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
        drop(tokio::spawn(task));
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(duration)
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}
