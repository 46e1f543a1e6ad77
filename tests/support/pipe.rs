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

/// Both ends of a new connection, the client's first.
pub fn pipe() -> (End, End) {
    pipe_of(usize::MAX, usize::MAX)
}

/// The same, where the client's end takes no more than `there` bytes that the server has not read,
/// and the server's end no more than `back` bytes that the client has not.
pub fn pipe_of(there: usize, back: usize) -> (End, End) {
    let (there, back) = (Direction::of(there), Direction::of(back));
    let (there, back) = (Arc::new(Mutex::new(there)), Arc::new(Mutex::new(back)));
    let server = End { reads: Arc::clone(&there), writes: Arc::clone(&back) };
    (End { reads: back, writes: there }, server)
}

/// One end. Dropping it ends both directions.
pub struct End {
    reads: Arc<Mutex<Direction>>,
    writes: Arc<Mutex<Direction>>,
}

struct Direction {
    packets: VecDeque<Vec<u8>>,
    /// How many bytes it takes now.
    room: usize,
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Direction {
    fn of(capacity: usize) -> Self {
        Self { packets: VecDeque::new(), room: capacity, ended: false, reader: None, writer: None }
    }
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
        reads.room += n;
        wake(reads);
        Poll::Ready(n)
    }

    fn write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut writes = lock(&self.writes);
        if writes.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let n = buf.len().min(writes.room);
        if n > 0 {
            writes.packets.push_back(buf[..n].to_vec());
            writes.room -= n;
            wake(writes);
        } else if !buf.is_empty() {
            writes.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(n))
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
        let mut reads = lock(&self.reads);
        reads.ended = true;
        wake(reads);
    }
}

fn lock(direction: &Mutex<Direction>) -> MutexGuard<'_, Direction> {
    direction.lock().unwrap()
}

fn wake(mut direction: MutexGuard<'_, Direction>) {
    let waiting = [direction.reader.take(), direction.writer.take()];
    drop(direction);
    waiting.into_iter().flatten().for_each(Waker::wake);
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
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, buf)
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
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.write(cx, buf)
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
