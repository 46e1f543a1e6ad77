//! The end of a connection.

use std::{
    io,
    task::{Context, Poll, ready},
};

use super::{Driver, READ_OR_WRITE, receive::End};
use crate::{
    close::CloseFrame,
    error::ConnectionError,
    event::Event,
    link::{Flags, Phase},
};

/// How far the end of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    NotYet,
    /// The peer's close frame is waited for; what comes before it is dropped.
    AwaitingPeer,
    /// What is queued is sent, and then the end of the sending direction.
    HangingUp {
        /// The peer has broken the protocol, and may still be sending.
        discard: bool,
    },
    /// What the peer still sends is taken, so that its stack has no reason to reset the
    /// connection before it has read the close frame.
    Discarding,
    /// The handlers are told.
    Over,
}

impl Closing {
    /// Whether nothing that comes is looked at any more.
    pub(super) fn is_past_reading(self) -> bool {
        !matches!(self, Self::NotYet | Self::AwaitingPeer)
    }
}

impl Driver {
    /// Goes on with the end of the connection; once it is over, what its handlers are told
    /// last: `Error`, if something went wrong, and `Close`.
    #[cold]
    pub(super) fn closing_event(&mut self, cx: &mut Context<'_>, seen: Flags) -> Option<Event> {
        if self.closing == Closing::NotYet {
            self.begin_close(seen.phase());
        }
        if self.closing != Closing::Over {
            if !self.link.flags().phase().is_gone() && self.poll_close(cx).is_pending() {
                return None;
            }
            self.finish();
        }
        let error = self.error.take().map(|error| Event::Error(*error));
        Some(error.unwrap_or_else(|| Event::Close(self.link.close_frame())))
    }

    fn begin_close(&mut self, phase: Phase) {
        self.link.leave_topics();
        self.deadlines.begin_close(self.timer.now(), self.link.settings());
        if phase.drops_input() {
            self.closing = Closing::AwaitingPeer;
            return;
        }
        self.closing = match self.end.as_deref() {
            Some(End::Closed(frame)) => {
                self.link.answer(frame.clone());
                Closing::HangingUp { discard: false }
            }
            Some(End::Violation(violation)) => {
                let violation = *violation;
                let frame = CloseFrame::new(violation.close_code(), violation.to_string());
                self.link.fail(Some(frame.sendable()));
                self.note_error(violation.into());
                Closing::HangingUp { discard: true }
            }
            Some(End::Eof | End::Lost) | None => {
                self.note_error(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                self.link.fail(None);
                Closing::HangingUp { discard: false }
            }
        };
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.closing {
                Closing::NotYet | Closing::Over => return Poll::Ready(()),
                Closing::AwaitingPeer => {
                    while self.next_parsed().is_some() {}
                    if self.end.is_none() {
                        return Poll::Pending;
                    }
                    self.closing = Closing::HangingUp { discard: false };
                }
                Closing::HangingUp { discard } => {
                    ready!(self.poll_hang_up(cx));
                    self.closing = if discard { Closing::Discarding } else { Closing::Over };
                }
                Closing::Discarding => {
                    ready!(self.poll_turn(cx, READ_OR_WRITE));
                    self.input.consume(usize::MAX);
                    if !matches!(ready!(self.input.poll_fill(cx, &mut self.transport)), Ok(1..)) {
                        self.closing = Closing::Over;
                    }
                }
            }
        }
    }

    /// The closing handshake took too long.
    pub(super) fn give_up_closing(&mut self) {
        if self.link.flags().phase() == Phase::ClosingByUs {
            self.note_error(ConnectionError::CloseTimeout);
            self.link.fail(None);
        }
        self.finish();
    }

    /// The connection is over, but for what its handlers do last.
    pub(super) fn finish(&mut self) {
        self.closing = Closing::Over;
        self.link.end();
        self.release();
    }
}
