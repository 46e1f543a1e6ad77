//! Runs an app on another executor: the thread pool of `futures`, with smol's reactor for sockets
//! and timers.
//!
//! ```text
//! cargo run --example custom_runtime --no-default-features
//! ```

mod support;

use std::{
    future::Future,
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    task::{Context, Poll},
    time::Duration,
};

use axeom_ws::{App, BoxError, EndSending, Incoming, Io, Listener, LocalAddr, Runtime};
use futures::executor::{ThreadPool, block_on};
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

/// The runtime, which runs connections on the pool.
#[derive(Clone)]
struct Pool(ThreadPool);

impl Runtime for Pool {
    type Listener = Listening;

    async fn bind(&self, addr: SocketAddr) -> io::Result<Listening> {
        Async::<TcpListener>::bind(addr).map(Listening)
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

/// The listening socket.
struct Listening(Async<TcpListener>);

impl Listener for Listening {
    async fn accept(&self) -> io::Result<Incoming> {
        let (stream, addr) = self.0.accept().await?;
        // If this fails, the connection is broken, and reading from it will return the error.
        let _ = stream.get_ref().set_nodelay(true);
        Ok(Incoming::new(Tcp::ending(stream), addr))
    }

    fn local_addr(&self) -> io::Result<LocalAddr> {
        self.0.get_ref().local_addr().map(LocalAddr::from)
    }
}

/// A connection. [`Io`] adapts the `futures` traits, and [`ShutDown`] replaces their `poll_close`.
type Tcp = Io<Async<TcpStream>, ShutDown>;

struct ShutDown;

impl EndSending<Async<TcpStream>> for ShutDown {
    /// Ends only the sending direction, because the peer's close frame may still have to be read.
    fn poll_end(stream: &mut Async<TcpStream>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(stream.get_ref().shutdown(Shutdown::Write))
    }
}
