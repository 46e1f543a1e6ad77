use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use futures::io::{AsyncRead, AsyncWrite};

use super::transport::Transport;

/// The `AsyncRead` and `AsyncWrite` traits of `futures` over a [`Transport`], which is the inverse
/// of [`Io`](crate::Io). An [`Acceptor`](crate::Acceptor) reads and writes with them, or hands the
/// stream to a library that needs them.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use std::io;
///
/// use axeom_ws::{Incoming, futures::AsyncReadExt};
///
/// /// Reads a password of four bytes, which comes before the request.
/// async fn password(mut incoming: Incoming) -> io::Result<Incoming> {
///     let mut password = [0; 4];
///     incoming.stream_mut().read_exact(&mut password).await?;
///     if password == *b"ping" { Ok(incoming) } else { Err(io::Error::other("wrong password")) }
/// }
/// # futures::executor::block_on(async {
/// # use axeom_ws::{Io, Peer, futures::io::Cursor};
/// # let said = |bytes: &[u8]| Incoming::new(Io::new(Cursor::new(bytes.to_vec())), Peer::Memory);
/// # assert!(password(said(b"pingGET /")).await.is_ok());
/// # assert!(password(said(b"pongGET /")).await.is_err());
/// # });
/// ```
#[derive(Debug)]
#[allow(clippy::exhaustive_structs, reason = "it is its transport")]
pub struct TransportStream<T>(pub T);

impl<T: Transport> AsyncRead for TransportStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_read(cx, buf)
    }
}

impl<T: Transport> AsyncWrite for TransportStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_close(cx)
    }
}
