//! One thread of each runtime, and its accept loop.

use std::{net::SocketAddr, sync::Arc};

use super::announce;
use crate::Result;

const ANY: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

pub(super) fn tokio_thread() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

pub(super) async fn tokio_listener() -> Result<tokio::net::TcpListener> {
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(ANY)).await?;
    announce(listener.local_addr()?);
    Ok(listener)
}

/// Accepts for good; every connection is a task.
pub(super) fn serve_on_tokio<F, T>(serve: F) -> Result<()>
where
    F: Fn(tokio::net::TcpStream) -> T,
    T: Future + Send + 'static,
    T::Output: Send,
{
    tokio_thread()?.block_on(async {
        let listener = tokio_listener().await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream));
        }
    })
}

pub(super) fn serve_on_smol<F, T>(serve: F) -> Result<()>
where
    F: Fn(smol::net::TcpStream) -> T,
    T: Future + Send + 'static,
    T::Output: Send,
{
    let executor = Arc::new(smol::Executor::new());
    smol::block_on(executor.run(async {
        let listener = smol::net::TcpListener::bind(SocketAddr::from(ANY)).await?;
        announce(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            executor.spawn(serve(stream)).detach();
        }
    }))
}

/// On the one thread that `ASYNC_STD_THREAD_COUNT` leaves.
pub(super) fn serve_on_async_std<F, T>(serve: F) -> Result<()>
where
    F: Fn(async_std::net::TcpStream) -> T + Send + Sync + 'static,
    T: Future + Send + 'static,
    T::Output: Send,
{
    async_std::task::block_on(async_std::task::spawn(async move {
        let listener = async_std::net::TcpListener::bind(SocketAddr::from(ANY)).await?;
        announce(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            async_std::task::spawn(serve(stream));
        }
    }))
}
