//! The end of a connection: the closing handshake, or what takes its place.

use std::{
    io,
    task::{Context, Poll, ready},
};

use super::{Driver, receive::End};
use crate::{
    close::CloseFrame,
    error::ConnectionError,
    event::Event,
    link::{Flags, Phase},
};

/// How far the closing of a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    NotYet,
    /// Our close frame is queued or sent. What arrives before the peer's is dropped.
    AwaitingPeer,
    /// What is queued is being sent, and then the sending direction is ended.
    HangingUp {
        /// Whether the peer may still be sending, because it broke the protocol.
        discard: bool,
    },
    /// What the peer still sends is read and dropped. If it stayed unread, our TCP stack
    /// would reset the connection, and the peer could lose the close frame.
    Discarding,
    /// Only the last events are left, which the handlers receive.
    Over,
}

impl Closing {
    /// Whether what the peer sends is no longer parsed.
    pub(super) fn is_past_reading(self) -> bool {
        !matches!(self, Self::NotYet | Self::AwaitingPeer)
    }
}

impl Driver {
    /// Whether no event is left for the handlers but the last ones.
    pub(super) fn drops_events(&self, seen: Flags) -> bool {
        seen.phase().drops_input() || (self.closing != Closing::NotYet && self.ahead.is_none())
    }

    /// Continues to close the connection. Once that is over, it yields the last events: `Error`
    /// if something went wrong, and then `Close`.
    #[cold]
    pub(super) fn closing_event(&mut self, cx: &mut Context<'_>, seen: Flags) -> Option<Event> {
        if self.poll_close(cx, seen).is_pending() {
            return None;
        }
        self.link.end();
        let error = self.error.take().map(|error| Event::Error(*error));
        Some(error.unwrap_or_else(|| Event::Close(self.link.close_frame())))
    }

    /// Closes the connection. Ready once the transport is no longer needed.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>, seen: Flags) -> Poll<()> {
        if self.closing == Closing::NotYet {
            self.begin_close(seen.phase());
        }
        if self.closing != Closing::Over {
            if !self.link.flags().phase().is_gone() {
                ready!(self.poll_closing(cx));
            }
            self.finish();
        }
        Poll::Ready(())
    }

    pub(super) fn begin_close(&mut self, phase: Phase) {
        self.link.leave_topics();
        self.deadlines.begin_close(self.timer.now(), self.link.settings());
        if phase.drops_input() {
            self.ahead = None;
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
                self.break_off(Some(frame), violation);
                Closing::HangingUp { discard: true }
            }
            _ => {
                self.break_off(None, io::Error::from(io::ErrorKind::UnexpectedEof));
                Closing::HangingUp { discard: false }
            }
        };
    }

    fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.closing {
                Closing::NotYet | Closing::Over => return Poll::Ready(()),
                Closing::AwaitingPeer => {
                    self.drop_input();
                    if self.end.is_none() {
                        return Poll::Pending;
                    }
                    self.closing = Closing::HangingUp { discard: false };
                }
                Closing::HangingUp { discard } => {
                    ready!(self.poll_hang_up(cx));
                    if discard {
                        self.closing = Closing::Discarding;
                        self.deadlines.linger(self.timer.now());
                    } else {
                        self.closing = Closing::Over;
                    }
                }
                Closing::Discarding => {
                    ready!(self.poll_turn_for_io(cx));
                    self.input.consume(usize::MAX);
                    if !matches!(ready!(self.input.poll_fill(cx, &mut self.transport)), Ok(1..)) {
                        self.closing = Closing::Over;
                    }
                }
            }
        }
    }

    /// Ends a closing handshake that took too long.
    pub(super) fn give_up_closing(&mut self) {
        if self.link.give_up() {
            self.note_error(ConnectionError::CloseTimeout);
        }
        self.finish();
    }

    /// Gives up what the connection holds, except for events that the handlers are still to have.
    fn finish(&mut self) {
        self.closing = Closing::Over;
        self.link.leave_topics();
        self.release();
    }
}
