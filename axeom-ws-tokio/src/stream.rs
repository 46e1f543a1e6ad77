use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::io::{AsyncRead, AsyncWrite};
use pin_project::pin_project;
use tokio::{
    io::ReadBuf,
    net::{TcpListener, TcpStream},
};

/// A promoted tokio stream: the traits of `futures`, vectored writes included, over
/// those of tokio.
#[pin_project]
#[derive(Debug)]
pub struct Stream<T = TcpStream> {
    #[pin]
    stream: T,
}

impl Stream {
    /// Promotes a TCP connection: sets `TCP_NODELAY`. If that fails the connection is
    /// broken, and reading it says so.
    pub fn promote(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self::new(stream)
    }
}

impl<T> Stream<T> {
    /// Promotes any stream as it is.
    pub fn new(stream: T) -> Self {
        Self { stream }
    }
}

impl<T: tokio::io::AsyncRead> AsyncRead for Stream<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(self.project().stream.poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<T: tokio::io::AsyncWrite> AsyncWrite for Stream<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_shutdown(cx)
    }
}

/// A bound tokio socket.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
}

impl Listener {
    /// Promotes a socket that the program bound itself.
    pub fn new(listener: TcpListener) -> Self {
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
        self.listener.local_addr()
    }
}
