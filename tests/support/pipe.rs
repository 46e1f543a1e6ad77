//! A connection in memory that keeps what was written apart: each write of one end is at
//! least one read of the other, so that a test decides where its bytes are cut.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use futures::{AsyncRead, AsyncWrite};

/// Both ends of a new connection.
pub fn pipe() -> (End, End) {
    let (there, back) = (Direction::default(), Direction::default());
    let (there, back) = (Arc::new(Mutex::new(there)), Arc::new(Mutex::new(back)));
    let server = End { reads: Arc::clone(&there), writes: Arc::clone(&back) };
    (End { reads: back, writes: there }, server)
}

/// One end. Dropping it ends both directions.
pub struct End {
    reads: Arc<Mutex<Direction>>,
    writes: Arc<Mutex<Direction>>,
}

#[derive(Default)]
struct Direction {
    packets: VecDeque<Vec<u8>>,
    ended: bool,
    reader: Option<Waker>,
}

impl End {
    fn read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<usize> {
        let mut reads = lock(&self.reads);
        let Some(packet) = reads.packets.front_mut() else {
            if reads.ended {
                return Poll::Ready(0);
            }
            reads.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let n = packet.len().min(buf.len());
        buf[..n].copy_from_slice(&packet[..n]);
        packet.drain(..n);
        if packet.is_empty() {
            reads.packets.pop_front();
        }
        Poll::Ready(n)
    }

    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut writes = lock(&self.writes);
        if writes.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !buf.is_empty() {
            writes.packets.push_back(buf.to_vec());
            wake(writes);
        }
        Ok(buf.len())
    }

    fn end(&mut self) {
        let mut writes = lock(&self.writes);
        writes.ended = true;
        wake(writes);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.end();
        lock(&self.reads).ended = true;
    }
}

fn lock(direction: &Mutex<Direction>) -> MutexGuard<'_, Direction> {
    direction.lock().unwrap()
}

fn wake(mut direction: MutexGuard<'_, Direction>) {
    let reader = direction.reader.take();
    drop(direction);
    if let Some(reader) = reader {
        reader.wake();
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.read(cx, buf).map(Ok)
    }
}

impl AsyncWrite for End {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write(buf))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

/// The same for the functions of the tokio adapter, which take tokio's own traits.
#[cfg(feature = "tokio")]
mod tokio_traits {
    use ::tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::{Context, End, Pin, Poll, io};

    impl AsyncRead for End {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let mut bytes = vec![0; buf.remaining()];
            self.read(cx, &mut bytes).map(|n| {
                buf.put_slice(&bytes[..n]);
                Ok(())
            })
        }
    }

    impl AsyncWrite for End {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(self.write(buf))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.end();
            Poll::Ready(Ok(()))
        }
    }
}
