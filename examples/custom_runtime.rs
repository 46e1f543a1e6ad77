//! Another executor under the same app: the thread pool of `futures`, with the reactor
//! of smol for sockets and timers.
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

use axeom_ws::{App, BoxError, EndSending, Io, Listener, Peer, Runtime};
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

/// The runtime: where connections run, and what they wait with.
#[derive(Clone)]
struct Pool(ThreadPool);

impl Runtime for Pool {
    type Transport = Tcp;
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
    type Transport = Tcp;

    async fn accept(&self) -> io::Result<(Tcp, Peer)> {
        let (stream, addr) = self.0.accept().await?;
        // If this fails the connection is broken, and reading it says so.
        let _ = stream.get_ref().set_nodelay(true);
        Ok((Io::ending(stream), addr.into()))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }
}

/// A connection: what reads and writes as `futures` has it, but for its end.
type Tcp = Io<Async<TcpStream>, ShutDown>;

struct ShutDown;

impl EndSending<Async<TcpStream>> for ShutDown {
    /// Ends the sending direction alone: the peer's close frame is still to be read.
    fn poll_end(stream: &mut Async<TcpStream>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(stream.get_ref().shutdown(Shutdown::Write))
    }
}
