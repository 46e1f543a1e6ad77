use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    task::{Context, Poll},
};

use async_io::Async;
use axeom_ws_core::{EndSending, Io, Peer};

/// The transport of a TCP connection.
pub type Tcp = Io<Async<TcpStream>, ShutDown>;

/// Ends the sending direction of a TCP connection, which its own `poll_close` does not.
#[derive(Debug)]
#[non_exhaustive]
pub struct ShutDown;

impl EndSending<Async<TcpStream>> for ShutDown {
    fn poll_end(stream: &mut Async<TcpStream>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(stream.get_ref().shutdown(Shutdown::Write))
    }
}

/// Promotes a TCP connection: sets `TCP_NODELAY`. If that fails the connection is broken, and
/// reading it says so.
pub fn promote(stream: Async<TcpStream>) -> Tcp {
    let _ = stream.get_ref().set_nodelay(true);
    Io::ending(stream)
}

/// A bound smol socket.
#[derive(Debug)]
pub struct Listener {
    listener: Async<TcpListener>,
}

impl Listener {
    /// Promotes a socket that the program bound itself.
    pub fn new(listener: Async<TcpListener>) -> Self {
        Self { listener }
    }
}

impl axeom_ws_core::Listener for Listener {
    type Transport = Tcp;

    async fn accept(&self) -> io::Result<(Tcp, Peer)> {
        let (stream, addr) = self.listener.accept().await?;
        Ok((promote(stream), addr.into()))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.get_ref().local_addr()
    }
}
