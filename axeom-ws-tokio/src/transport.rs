use std::{
    fmt,
    future::Future,
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use axeom_ws_core::{BytesMut, Incoming, LocalAddr, Transport, bytes::BufMut, socket2::SockRef};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

/// The [`Transport`] of any stream that implements tokio's `AsyncRead` and `AsyncWrite`.
pub struct Io<T> {
    stream: T,
    socket: fn(&T) -> Option<SockRef<'_>>,
}

/// The [`Transport`] of a TCP connection.
pub type Tcp = Io<TcpStream>;

/// Makes a TCP connection a [`Transport`], and sets `TCP_NODELAY`. If that fails, the connection is
/// broken, and reading from it will return the error.
pub fn promote(stream: TcpStream) -> Tcp {
    let _ = stream.set_nodelay(true);
    Io { stream, socket: |stream| Some(SockRef::from(stream)) }
}

impl<T> Io<T> {
    /// Wraps a stream, without changing its settings.
    pub fn new(stream: T) -> Self {
        Self { stream, socket: |_| None }
    }

    /// Returns the stream.
    pub fn into_inner(self) -> T {
        self.stream
    }
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for Io<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let spare = buf.capacity() - buf.len();
        let mut buf = buf.limit(spare);
        // Dropping a pending `read_buf` loses no bytes, so each poll makes a new one.
        pin!(self.stream.read_buf(&mut buf)).poll(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn socket(&self) -> Option<SockRef<'_>> {
        (self.socket)(&self.stream)
    }
}

impl<T: fmt::Debug> fmt::Debug for Io<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// A listening TCP socket of tokio.
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
    /// use axeom_ws_tokio::{Listener, Server};
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
        TcpListener::from_std(listener).map(Self::new)
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
