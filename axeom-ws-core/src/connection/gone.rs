use std::{
    io::{self, IoSlice},
    task::{Context, Poll},
};

use crate::runtime::Transport;

/// Takes the place of a transport that was given up: reads and writes fail.
pub(super) struct Gone;

fn gone<T>() -> Poll<io::Result<T>> {
    let text = "the connection was terminated";
    Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, text)))
}

impl Transport for Gone {
    fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        gone()
    }

    fn poll_write(&mut self, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        gone()
    }

    fn poll_write_vectored(
        &mut self,
        _: &mut Context<'_>,
        _: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        gone()
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
