use std::{
    io,
    net::Shutdown,
    task::{Context, Poll},
};

use async_std::net::{TcpListener, TcpStream};
use axeom_ws_core::{EndSending, Incoming, Io, LocalAddr, socket2::SockRef};

/// The [`Transport`](axeom_ws_core::Transport) of a TCP connection.
pub type Tcp = Io<TcpStream, ShutDown>;

/// Ends the sending direction of a TCP connection. The stream's own `poll_close` does not.
#[derive(Debug)]
#[non_exhaustive]
pub struct ShutDown;

impl EndSending<TcpStream> for ShutDown {
    fn poll_end(stream: &mut TcpStream, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(stream.shutdown(Shutdown::Write))
    }

    fn socket(stream: &TcpStream) -> Option<SockRef<'_>> {
        Some(SockRef::from(stream))
    }
}

/// Makes a TCP connection a [`Transport`](axeom_ws_core::Transport), and sets `TCP_NODELAY`. If
/// that fails, the connection is broken, and reading from it will return the error.
pub fn promote(stream: TcpStream) -> Tcp {
    let _ = stream.set_nodelay(true);
    Io::ending(stream)
}

/// A listening TCP socket of async-std.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
}

impl Listener {
    /// Wraps a socket that the program has bound.
    pub fn new(listener: TcpListener) -> Self {
        Self { listener }
    }

    /// Wraps a socket of the standard library that the program has bound or inherited, such as one
    /// of [`TcpOptions`](axeom_ws_core::TcpOptions).
    ///
    /// ```no_run
    /// use axeom_ws_async_std::{Listener, Server};
    ///
    /// # async fn example(app: axeom_ws_core::App) -> Result<(), axeom_ws_core::BoxError> {
    /// let bound = axeom_ws_core::TcpOptions::new().backlog(4096).bind("0.0.0.0:3000")?;
    /// Server::on(Listener::from_std(bound)?)?.serve(app).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::new(listener.into()))
    }
}

impl axeom_ws_core::Listener for Listener {
    async fn accept(&self) -> io::Result<Incoming> {
        let (stream, addr) = self.listener.accept().await?;
        Ok(Incoming::new(promote(stream), addr))
    }

    fn local_addr(&self) -> io::Result<LocalAddr> {
        self.listener.local_addr().map(LocalAddr::from)
    }
}
