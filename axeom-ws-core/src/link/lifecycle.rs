//! Whether a connection is open, and how it ends.

use crate::close::CloseFrame;

/// Where a connection is between its handshake and its end. All code that depends on this asks
/// the methods below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Messages go both ways.
    Open = 0,
    /// The peer will send nothing more, but what it sent before is still being handled. Messages
    /// can be sent until that is done.
    HalfClosed = 1,
    /// The peer sent its close frame first, and we have answered it.
    ClosingByPeer = 2,
    /// Something went wrong. Messages can no longer be sent, but what the peer sent before is
    /// still handled.
    Failed = 3,
    /// We sent our close frame first. What the peer still sends is dropped.
    ClosingByUs = 4,
    /// Nothing can be sent or received any more.
    Gone = 5,
    /// The server that ran the connection is gone, so the task ends without calling another
    /// handler.
    Abandoned = 6,
}

impl Phase {
    const MASK: u8 = 7;

    pub(super) fn from_bits(bits: u8) -> Self {
        match bits & Self::MASK {
            0 => Self::Open,
            1 => Self::HalfClosed,
            2 => Self::ClosingByPeer,
            3 => Self::Failed,
            4 => Self::ClosingByUs,
            5 => Self::Gone,
            _ => Self::Abandoned,
        }
    }

    /// Whether messages and pings may be sent, and topics subscribed to. Each message asks this, so
    /// it is answered from the bits.
    #[inline]
    pub(super) fn is_open(bits: u8) -> bool {
        bits & Self::MASK <= Self::HalfClosed as u8
    }

    /// Whether what the peer sends is dropped instead of handled.
    pub(crate) fn drops_input(self) -> bool {
        self as u8 >= Self::ClosingByUs as u8
    }

    /// Whether the transport can no longer be used.
    pub(crate) fn is_gone(self) -> bool {
        self as u8 >= Self::Gone as u8
    }
}

/// A connection's phase and the frame for its `close` handler, with all changes that they can
/// undergo.
#[derive(Debug)]
pub(super) struct Lifecycle<'a> {
    pub(super) phase: Phase,
    /// The close frame for the `close` handler: the one that started the closing handshake, or
    /// the answer to a violation. Without one, the handler sees 1006.
    pub(super) frame: &'a mut Option<Box<CloseFrame>>,
}

impl Lifecycle<'_> {
    /// The peer has sent all it will send.
    pub(super) fn half_close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::HalfClosed;
        }
    }

    /// We start the closing handshake. `false` if the connection was not open any more.
    pub(super) fn close(&mut self, frame: &CloseFrame) -> bool {
        self.leave_open(Phase::ClosingByUs, Some(frame))
    }

    /// We answer the peer's close frame. `false` if the connection was not open any more.
    pub(super) fn answer(&mut self, frame: &CloseFrame) -> bool {
        self.leave_open(Phase::ClosingByPeer, Some(frame))
    }

    /// Something went wrong; `frame` is for the peer, if it can still be reached. `false` if the
    /// connection was not open any more: then it ends as it was going to.
    pub(super) fn fail(&mut self, frame: Option<&CloseFrame>) -> bool {
        self.leave_open(Phase::Failed, frame)
    }

    /// The peer did not finish the closing handshake that we started. `false` if there is none.
    pub(super) fn give_up(&mut self) -> bool {
        let was_closing = self.phase == Phase::ClosingByUs;
        if was_closing {
            self.go(Phase::Failed, None);
        }
        was_closing
    }

    /// The connection is over, and its close frame stays as it is.
    pub(super) fn end(&mut self) {
        if !self.phase.is_gone() {
            self.phase = Phase::Gone;
        }
    }

    /// The transport is given up together with everything that was not sent.
    pub(super) fn cut(&mut self) {
        if !self.phase.is_gone() {
            self.go(Phase::Gone, None);
        }
    }

    /// The task shall end as if it had been dropped.
    pub(super) fn abandon(&mut self) {
        self.go(Phase::Abandoned, None);
    }

    fn leave_open(&mut self, to: Phase, frame: Option<&CloseFrame>) -> bool {
        let leaves = Phase::is_open(self.phase as u8);
        if leaves {
            self.go(to, frame);
        }
        leaves
    }

    fn go(&mut self, to: Phase, frame: Option<&CloseFrame>) {
        self.phase = to;
        *self.frame = frame.map(|frame| Box::new(frame.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(code: u16) -> CloseFrame {
        CloseFrame::new(code, "")
    }

    /// Changes an open connection, and returns its phase and the code for the `close` handler.
    fn after(change: impl FnOnce(&mut Lifecycle<'_>)) -> (Phase, u16) {
        let mut frame = None;
        let mut lifecycle = Lifecycle { phase: Phase::Open, frame: &mut frame };
        change(&mut lifecycle);
        (lifecycle.phase, frame.map_or(1006, |frame| frame.code.as_u16()))
    }

    #[test]
    fn who_closes_first_decides_what_close_is_told() {
        let ours = after(|connection| {
            assert!(connection.close(&frame(4000)));
            assert!(!connection.answer(&frame(1000)) && !connection.close(&frame(4001)));
        });
        assert_eq!(ours, (Phase::ClosingByUs, 4000));
        let theirs = after(|connection| {
            assert!(connection.answer(&frame(1000)));
            assert!(!connection.close(&frame(4000)) && !connection.fail(None));
        });
        assert_eq!(theirs, (Phase::ClosingByPeer, 1000));
    }

    #[test]
    fn a_half_closed_connection_ends_as_an_open_one() {
        let answered = after(|connection| {
            connection.half_close();
            assert_eq!(connection.phase, Phase::HalfClosed);
            assert!(connection.answer(&frame(1000)));
            connection.half_close();
        });
        assert_eq!(answered, (Phase::ClosingByPeer, 1000));
        let closed = after(|connection| {
            connection.half_close();
            assert!(connection.close(&frame(4000)));
        });
        assert_eq!(closed, (Phase::ClosingByUs, 4000));
    }

    #[test]
    fn a_failure_is_told_by_its_frame_or_by_1006() {
        let told = after(|connection| {
            assert!(connection.fail(Some(&frame(1002))));
            assert!(!connection.close(&frame(1000)));
        });
        assert_eq!(told, (Phase::Failed, 1002));
        assert_eq!(after(|connection| assert!(connection.fail(None))), (Phase::Failed, 1006));
        let closing = after(|connection| {
            connection.close(&frame(1000));
            assert!(!connection.fail(None));
        });
        assert_eq!(closing, (Phase::ClosingByUs, 1000));
        let unfinished = after(|connection| {
            assert!(!connection.give_up());
            connection.close(&frame(1000));
            assert!(connection.give_up());
        });
        assert_eq!(unfinished, (Phase::Failed, 1006));
    }

    #[test]
    fn an_end_keeps_what_decided_it_and_a_cut_does_not() {
        let ended = after(|connection| {
            connection.close(&frame(4000));
            connection.end();
            connection.cut();
        });
        assert_eq!(ended, (Phase::Gone, 4000));
        let cut = after(|connection| {
            connection.close(&frame(4000));
            connection.cut();
            connection.end();
            assert!(!connection.close(&frame(1000)) && !connection.fail(None));
        });
        assert_eq!(cut, (Phase::Gone, 1006));
        let abandoned = after(|connection| {
            connection.abandon();
            connection.cut();
        });
        assert_eq!(abandoned, (Phase::Abandoned, 1006));
    }

    #[test]
    fn every_phase_survives_its_bits() {
        use Phase::*;
        for phase in [Open, HalfClosed, ClosingByPeer, Failed, ClosingByUs, Gone, Abandoned] {
            assert_eq!(Phase::from_bits(phase as u8), phase);
            assert_eq!(Phase::is_open(phase as u8), matches!(phase, Open | HalfClosed));
            assert_eq!(phase.drops_input(), matches!(phase, ClosingByUs | Gone | Abandoned));
            assert_eq!(phase.is_gone(), matches!(phase, Gone | Abandoned));
        }
    }
}
