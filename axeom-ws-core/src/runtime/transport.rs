use std::{
    io::{self, IoSlice},
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use futures::io::{AsyncRead, AsyncWrite};
use socket2::SockRef;

/// A byte stream that a connection runs over, such as a TCP socket, a TLS stream, or a pipe in
/// memory.
///
/// [`Io`] makes a transport of any type with the `AsyncRead` and `AsyncWrite` traits of
/// `futures`. Implement this trait directly where a runtime can do better:
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use std::{
///     io::{self, IoSlice, Read, Write},
///     net::{Shutdown, TcpStream},
///     task::{Context, Poll},
/// };
///
/// use axeom_ws::Transport;
///
/// /// Blocks the thread, which suits a program that runs each connection on a thread.
/// struct Blocking(TcpStream);
///
/// impl Transport for Blocking {
///     fn poll_read(&mut self, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
///         Poll::Ready(self.0.read(buf))
///     }
///
///     fn poll_write(&mut self, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
///         Poll::Ready(self.0.write(buf))
///     }
///
///     fn poll_write_vectored(
///         &mut self,
///         _: &mut Context<'_>,
///         bufs: &[IoSlice<'_>],
///     ) -> Poll<io::Result<usize>> {
///         Poll::Ready(self.0.write_vectored(bufs))
///     }
///
///     fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
///         Poll::Ready(self.0.flush())
///     }
///
///     fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
///         Poll::Ready(self.0.shutdown(Shutdown::Write))
///     }
/// }
/// ```
pub trait Transport: Send + Unpin + 'static {
    /// Reads into `buf` and returns the number of bytes read. 0 means that the peer has ended its
    /// direction.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Appends to `buf` what one read brings, and returns the number of bytes read. 0 means that
    /// the peer has ended its direction. The caller provides spare capacity, and no more than
    /// fits there may be read.
    ///
    /// The default implementation first fills up to 64 KiB of the spare capacity with zeros. A
    /// transport that can read into uninitialized memory saves this, which is a third of the time
    /// for a payload of 1 MiB.
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

    /// Writes some of `buf` and returns the number of bytes written.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>>;

    /// Writes some of `bufs`, in order, and returns the number of bytes written. This should be
    /// one vectored write, because it sends many frames at once.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    /// Sends everything that was written, if the transport buffers it.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Sends everything that was written and ends the sending direction, for TCP with a FIN.
    /// Reading must still work afterwards.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The TCP socket that carries the bytes, if there is one. It tells how much the peer has
    /// taken, and bounds what the kernel holds; see
    /// [`write_timeout`](crate::Options::write_timeout) and
    /// [`unsent_limit`](crate::Options::unsent_limit). By default there is none.
    fn socket(&self) -> Option<SockRef<'_>> {
        None
    }

    /// Boxes the transport, which is one again. A `Box<dyn Transport>` stays as it is.
    fn boxed(self) -> Box<dyn Transport>
    where
        Self: Sized,
    {
        Box::new(self)
    }
}

/// A transport of any type. It costs one indirect call per system call.
pub(crate) type BoxTransport = Box<dyn Transport>;

impl Transport for Box<dyn Transport> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        (**self).poll_read(cx, buf)
    }

    fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        (**self).poll_read_into(cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        (**self).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        (**self).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_close(cx)
    }

    fn socket(&self) -> Option<SockRef<'_>> {
        (**self).socket()
    }

    fn boxed(self) -> Box<dyn Transport> {
        self
    }
}

/// Calls a method of a transport, and again for as long as a signal interrupts it.
pub(crate) fn uninterrupted<T>(
    mut call: impl FnMut() -> Poll<io::Result<T>>,
) -> Poll<io::Result<T>> {
    loop {
        match call() {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Makes a [`Transport`] of a stream with the `AsyncRead` and `AsyncWrite` traits of `futures`.
///
/// `E` decides how the stream ends its sending direction. By default, it calls the stream's
/// `poll_close`.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{Io, futures::io::Cursor};
///
/// let transport = Io::new(Cursor::new(vec![0; 1024]));
/// assert_eq!(transport.get_ref().position(), 0);
/// ```
#[derive(Debug)]
pub struct Io<S, E = CloseWhole> {
    stream: S,
    end: PhantomData<fn() -> E>,
}

/// How a stream of type `S` ends its sending direction, for [`Io`].
///
/// This is for streams whose `poll_close` would also end reading:
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use std::{
///     io,
///     task::{Context, Poll},
/// };
///
/// use axeom_ws::{EndSending, Io, futures::io::Cursor};
///
/// struct DoNothing;
///
/// impl<S> EndSending<S> for DoNothing {
///     fn poll_end(_: &mut S, _: &mut Context<'_>) -> Poll<io::Result<()>> {
///         Poll::Ready(Ok(()))
///     }
/// }
///
/// let transport = Io::<_, DoNothing>::ending(Cursor::new(vec![0; 1024]));
/// # let _ = transport;
/// ```
pub trait EndSending<S>: 'static {
    /// Ends the sending direction. [`Io`] has flushed the stream before.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_end(stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The TCP socket of the stream, for [`Transport::socket`]. By default there is none.
    fn socket(_: &S) -> Option<SockRef<'_>> {
        None
    }
}

/// Ends the sending direction with the stream's `poll_close`; the default of [`Io`].
#[derive(Debug)]
#[non_exhaustive]
pub struct CloseWhole;

impl<S: AsyncWrite + Unpin> EndSending<S> for CloseWhole {
    fn poll_end(stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(stream).poll_close(cx)
    }
}

impl<S> Io<S> {
    /// A transport that ends its sending direction with the stream's `poll_close`.
    pub fn new(stream: S) -> Self {
        Self::ending(stream)
    }
}

impl<S, E> Io<S, E> {
    /// A transport that ends its sending direction with `E`.
    pub fn ending(stream: S) -> Self {
        Self { stream, end: PhantomData }
    }

    /// The stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Gives the stream back.
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

    fn socket(&self) -> Option<SockRef<'_>> {
        E::socket(&self.stream)
    }
}
