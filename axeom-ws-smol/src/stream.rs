use std::{
    io::{self, IoSlice},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_io::Async;
use futures::io::{AsyncRead, AsyncWrite};

/// A promoted smol connection.
#[derive(Debug)]
pub struct Stream {
    stream: Async<TcpStream>,
}

impl Stream {
    /// Promotes a TCP connection: sets `TCP_NODELAY`. If that fails the connection is
    /// broken, and reading it says so.
    pub fn promote(stream: Async<TcpStream>) -> Self {
        let _ = stream.get_ref().set_nodelay(true);
        Self { stream }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        // The stream's own close does not end the sending direction.
        Poll::Ready(self.stream.get_ref().shutdown(Shutdown::Write))
    }
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
    type Stream = Stream;

    async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, remote_addr) = self.listener.accept().await?;
        Ok((Stream::promote(stream), remote_addr))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.get_ref().local_addr()
    }
}
