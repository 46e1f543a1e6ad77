//! The end of a connection.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll, ready},
};

use super::{Driver, End};
use crate::{CloseFrame, ConnectionError, protocol::Event};

impl Driver {
    /// Ends the connection the way its end was begun, and returns what `close` is
    /// told and what went wrong, if something did.
    ///
    /// The close frame that started the closing handshake decides: the peer's, or
    /// this side's, be it asked for by a handle or the answer to a violation.
    pub(crate) async fn finish(&mut self) -> (CloseFrame, Option<ConnectionError>) {
        self.deadlines.begin_close(self.alarm.now(), self.link.settings());
        let closing = self.link.closing();
        let end = if closing.is_some() { None } else { self.end.take().map(|end| *end) };
        let outcome = match (end, closing) {
            _ if self.link.flags().cut() => (CloseFrame::abnormal(), None),
            (Some(End::Closed(frame)), _) => {
                self.link.answer_close(frame.clone());
                self.hang_up(false).await;
                (frame, None)
            }
            (Some(End::Violation(violation)), _) => {
                let frame = CloseFrame::new(violation.close_code(), violation.to_string());
                self.link.answer_close(frame.clone());
                self.hang_up(true).await;
                (frame, Some(violation.into()))
            }
            (None, Some(frame)) => {
                self.await_close().await;
                match self.end.take().map(|end| *end) {
                    Some(End::Lost(error @ ConnectionError::CloseTimeout)) => {
                        (CloseFrame::abnormal(), Some(error))
                    }
                    Some(_) => (frame, None),
                    // A handle had no more patience.
                    None => (CloseFrame::abnormal(), None),
                }
            }
            (Some(End::Eof) | None, _) => {
                self.hang_up(false).await;
                let error = self.write_error.take();
                let error = error.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                (CloseFrame::abnormal(), Some(error.into()))
            }
            (Some(End::Lost(error)), _) => (CloseFrame::abnormal(), Some(error)),
        };
        self.link.shut();
        outcome
    }

    /// Sends what is queued and ends the sending direction. With `drain`, then takes
    /// what the peer still sends, so that its stack has no reason to reset the
    /// connection before it has read the close frame.
    async fn hang_up(&mut self, drain: bool) {
        self.closing(|driver, cx| {
            ready!(driver.poll_close(cx));
            if drain {
                ready!(driver.poll_discard(cx));
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Sends this side's close frame, drops what comes before the peer's, and ends
    /// the sending direction.
    async fn await_close(&mut self) {
        self.closing(|driver, cx| {
            while driver.end.is_none() {
                match driver.next_parsed() {
                    Some(Event::Close(frame)) => driver.end = Some(Box::new(End::Closed(frame))),
                    Some(_) => {}
                    None => {
                        let _ = driver.poll_write(cx);
                        ready!(driver.poll_read(cx));
                    }
                }
            }
            driver.poll_close(cx)
        })
        .await;
    }

    /// Repeats `step` until it is ready, or a handle cuts the connection. When the
    /// closing handshake takes too long the stream is gone, which makes it ready.
    async fn closing(&mut self, mut step: impl FnMut(&mut Self, &mut Context<'_>) -> Poll<()>) {
        poll_fn(|cx| {
            loop {
                let flags = self.link.flags();
                if flags.cut() || step(self, cx).is_ready() {
                    return Poll::Ready(());
                }
                // A step has written all it could.
                if self.wait(cx, true, flags) {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }
}
