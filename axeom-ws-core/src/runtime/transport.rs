use std::{
    io::{self, IoSlice},
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use futures::io::{AsyncRead, AsyncWrite};

/// A byte stream that a connection runs over: a TCP socket, TLS, memory.
///
/// Whatever implements `AsyncRead` and `AsyncWrite` of `futures` is one as [`Io`]. An adapter
/// implements this itself where its runtime can do better.
pub trait Transport: Send + Unpin + 'static {
    /// Reads to `buf`; 0 bytes mean that the peer has ended its direction.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Reads to behind what `buf` holds, no more than it has spare capacity for, and says how
    /// many bytes came. There is spare capacity; 0 bytes mean that the peer has ended its
    /// direction.
    ///
    /// By default the capacity is zeroed first, up to 64 KiB of it. A transport that can read
    /// into it as it is saves that: for a payload of 1 MiB it is a third of the time.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        const MOST: usize = 64 * 1024;
        let before = buf.len();
        buf.resize(before + MOST.min(buf.capacity() - before), 0);
        let read = self.poll_read(cx, &mut buf[before..]);
        let n = if let Poll::Ready(Ok(n)) = &read { *n } else { 0 };
        buf.truncate(before + n);
        read
    }

    /// Writes some of `buf`.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>>;

    /// Writes some of `bufs`, in order. It should be one vectored write: many frames are sent
    /// with one.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    /// Sends what was written, if the transport holds anything back.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Sends what was written and ends the sending direction (for TCP, a FIN), while reading
    /// goes on.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A transport of any type; what it costs is one indirect call per system call.
pub(crate) type BoxTransport = Box<dyn Transport>;

/// The [`Transport`] of anything that reads and writes as `futures` has it.
///
/// `E` says how it ends its sending direction: by default, by closing.
#[derive(Debug)]
pub struct Io<S, E = CloseWhole> {
    stream: S,
    end: PhantomData<fn() -> E>,
}

/// How a stream ends its sending direction, for [`Io`].
pub trait EndSending<S>: 'static {
    /// Sends what was written, and ends the sending direction.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_end(stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Ends the sending direction with the stream's own `poll_close`.
#[derive(Debug)]
#[non_exhaustive]
pub struct CloseWhole;

impl<S: AsyncWrite + Unpin> EndSending<S> for CloseWhole {
    fn poll_end(stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(stream).poll_close(cx)
    }
}

impl<S> Io<S> {
    /// Promotes a stream as it is.
    pub fn new(stream: S) -> Self {
        Self::ending(stream)
    }
}

impl<S, E> Io<S, E> {
    /// Promotes a stream that ends its sending direction as `E` says.
    pub fn ending(stream: S) -> Self {
        Self { stream, end: PhantomData }
    }

    /// The stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream.
    pub fn into_inner(self) -> S {
        self.stream
    }

    fn pin(&mut self) -> Pin<&mut S>
    where
        S: Unpin,
    {
        Pin::new(&mut self.stream)
    }
}

impl<S, E> Transport for Io<S, E>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    E: EndSending<S>,
{
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.pin().poll_read(cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.pin().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pin().poll_write_vectored(cx, bufs)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pin().poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.pin().poll_flush(cx))?;
        E::poll_end(&mut self.stream, cx)
    }
}
