//! The sending direction: from the link to the transport.

use std::{
    io::{self, IoSlice},
    task::{Context, Poll, ready},
};

use super::{Driver, READ_OR_WRITE};
use crate::{protocol::FrameQueue, runtime::BoxTransport};

/// The most slices handed to one vectored write.
const SLICES: usize = 64;

impl Driver {
    /// Whether there is anything to write or to flush.
    #[inline]
    pub(super) fn has_output(&self) -> bool {
        self.writing.is_some() || self.unflushed || self.link.flags().is_queued()
    }

    /// Writes and flushes everything that is queued. Pending while the transport accepts no
    /// more, or if other tasks should run first.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut again = false;
        while self.writing.is_some() || self.link.flags().is_queued() {
            let mut frames = match self.writing.take() {
                Some(frames) => *frames,
                None => self.link.take(),
            };
            // Other threads may queue frames as fast as this one writes them.
            if std::mem::replace(&mut again, true) && self.poll_turn(cx, READ_OR_WRITE).is_pending()
            {
                self.writing = Some(Box::new(frames));
                return Poll::Pending;
            }
            while !frames.is_empty() {
                match poll_write_once(&mut self.transport, &frames, cx) {
                    Poll::Ready(Ok(n @ 1..)) => {
                        self.unflushed = true;
                        frames.advance(n);
                        self.account(n, false);
                    }
                    Poll::Ready(Ok(0)) => {
                        return self.fail_writing(io::ErrorKind::WriteZero.into());
                    }
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                    Poll::Ready(Err(error)) => return self.fail_writing(error),
                    Poll::Pending => {
                        frames.shrink();
                        self.writing = Some(Box::new(frames));
                        self.account(0, true);
                        return Poll::Pending;
                    }
                }
            }
        }
        if self.unflushed {
            let Poll::Ready(flushed) = self.transport.poll_flush(cx) else {
                self.account(0, true);
                return Poll::Pending;
            };
            self.unflushed = false;
            if let Err(error) = flushed {
                return self.fail_writing(error);
            }
            if self.deadlines.is_blocked() {
                self.account(0, false);
            }
        }
        Poll::Ready(())
    }

    /// Writes what is queued and ends the sending direction.
    pub(super) fn poll_hang_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.flush(cx));
        match ready!(self.transport.poll_close(cx)) {
            // Some runtimes report this error when the peer is gone altogether, others do not.
            Err(error) if error.kind() != io::ErrorKind::NotConnected => {
                let _ = self.fail_writing(error);
            }
            _ => {}
        }
        Poll::Ready(())
    }

    /// Drops what is queued after a write error. What the peer sent before is still received,
    /// so the receiving direction decides when the connection is over.
    fn fail_writing(&mut self, error: io::Error) -> Poll<()> {
        self.unflushed = false;
        // A connection that is closing already keeps the outcome that it has.
        if self.link.flags().is_open() {
            self.note_error(error.into());
            self.link.fail(None);
        }
        self.link.drop_queued();
        self.account(0, false);
        Poll::Ready(())
    }

    /// Notes that the transport accepted `written` bytes, and whether it accepts more.
    fn account(&mut self, written: usize, blocked: bool) {
        // There is room again, so the peer has read something and is alive.
        self.activity.received |= written > 0 && self.deadlines.is_blocked();
        if blocked != self.deadlines.is_blocked() || (blocked && written > 0) {
            let now = blocked.then(|| self.timer.now());
            self.deadlines.set_blocked(now, self.link.settings());
        }
        self.drains += u32::from(self.link.written(written, blocked));
    }
}

fn poll_write_once(
    transport: &mut BoxTransport,
    frames: &FrameQueue,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    if let Some(all) = frames.as_slice() {
        return transport.poll_write(cx, all);
    }
    let mut slices = [IoSlice::new(&[]); SLICES];
    let count = frames.slices(&mut slices);
    transport.poll_write_vectored(cx, &slices[..count])
}
