//! Another executor under the same app: the thread pool of `futures`, with the reactor
//! of smol for sockets and timers.
//!
//! ```text
//! cargo run --example custom_runtime --no-default-features
//! ```

mod support;

use std::{
    future::Future,
    io::{self, IoSlice},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axeom_ws::{App, BoxError, Listener, Runtime};
use futures::{
    executor::{ThreadPool, block_on},
    io::{AsyncRead, AsyncWrite},
};
use smol::{Async, Timer};

fn main() -> Result<(), BoxError> {
    let app = App::new().ws("/*", |route| {
        route.message(async |ws, msg| {
            let _ = ws.send(msg).await;
        })
    });
    let addr = support::Args::parse()?.addr;
    block_on(support::serve_on(Pool(ThreadPool::new()?), app, addr, "custom"))
}

/// The runtime: where connections run, and what they wait with.
#[derive(Clone)]
struct Pool(ThreadPool);

impl Runtime for Pool {
    type Stream = Stream;
    type Listener = Incoming;

    async fn bind(&self, addr: SocketAddr) -> io::Result<Incoming> {
        Async::<TcpListener>::bind(addr).map(Incoming)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn_ok(task);
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        let timer = Timer::after(duration);
        async move {
            timer.await;
        }
    }
}

/// Where connections come in.
struct Incoming(Async<TcpListener>);

impl Listener for Incoming {
    type Stream = Stream;

    async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, remote_addr) = self.0.accept().await?;
        // If this fails the connection is broken, and reading it says so.
        let _ = stream.get_ref().set_nodelay(true);
        Ok((Stream(stream), remote_addr))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }
}

/// A connection. It passes everything on, but for `poll_close`.
struct Stream(Async<TcpStream>);

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    /// Without this, each of many small frames would cost a system call.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    /// Ends the sending direction alone: the peer's close frame is still to be read.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.0).poll_flush(cx))?;
        Poll::Ready(self.0.get_ref().shutdown(Shutdown::Write))
    }
}
