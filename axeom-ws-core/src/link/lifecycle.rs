//! Whether a connection is open, and how it ends.

use crate::close::CloseFrame;

/// Where a connection is between its handshake and its end. Every question about it is asked
/// here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Messages go both ways.
    Open = 0,
    /// The peer sent its close frame first, and it was answered.
    ClosingByPeer = 1,
    /// Something went wrong. What the peer sent before is still handled.
    Failed = 2,
    /// This side sent its close frame first; what the peer still sends is dropped.
    ClosingByUs = 3,
    /// Nothing can be sent or received any more.
    Gone = 4,
    /// The server that ran the connection is gone: its task ends without another handler.
    Abandoned = 5,
}

impl Phase {
    pub(super) const MASK: u8 = 7;

    pub(super) fn from_bits(bits: u8) -> Self {
        match bits & Self::MASK {
            0 => Self::Open,
            1 => Self::ClosingByPeer,
            2 => Self::Failed,
            3 => Self::ClosingByUs,
            4 => Self::Gone,
            _ => Self::Abandoned,
        }
    }

    /// Whether messages and pings may be sent.
    pub(crate) fn may_send(self) -> bool {
        self == Self::Open
    }

    /// Whether what the peer sends is dropped instead of handled.
    pub(crate) fn drops_input(self) -> bool {
        self as u8 >= Self::ClosingByUs as u8
    }

    /// Whether there is no stream to use any more.
    pub(crate) fn is_gone(self) -> bool {
        self as u8 >= Self::Gone as u8
    }
}

/// The phase of a connection, and what its `close` handler is told.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    phase: Phase,
    /// The close frame that decides: the one that started the closing handshake, or the answer
    /// to a violation.
    frame: Option<Box<CloseFrame>>,
}

impl Lifecycle {
    pub(super) const fn new() -> Self {
        Self { phase: Phase::Open, frame: None }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// What `close` is told; 1006 if no close frame was first.
    pub(super) fn frame(&self) -> CloseFrame {
        self.frame.as_deref().cloned().unwrap_or_else(CloseFrame::abnormal)
    }

    /// This side starts the closing handshake. `false` if it has nothing to start any more.
    pub(super) fn close(&mut self, frame: &CloseFrame) -> bool {
        self.leave_open(Phase::ClosingByUs, Some(frame))
    }

    /// The peer has started the closing handshake, and is answered. `false` if it is not the
    /// first.
    pub(super) fn answer(&mut self, frame: &CloseFrame) -> bool {
        self.leave_open(Phase::ClosingByPeer, Some(frame))
    }

    /// Something went wrong, which the peer is told with this frame if it can be told. `false`
    /// if no close frame may be sent any more.
    pub(super) fn fail(&mut self, frame: Option<&CloseFrame>) -> bool {
        if self.phase == Phase::ClosingByUs {
            // The closing handshake was not finished.
            (self.phase, self.frame) = (Phase::Failed, frame.map(|frame| Box::new(frame.clone())));
            return false;
        }
        self.leave_open(Phase::Failed, frame)
    }

    /// The connection is over, as it was going to be.
    pub(super) fn end(&mut self) {
        if !self.phase.is_gone() {
            self.phase = Phase::Gone;
        }
    }

    /// The stream is given up, and with it whatever was not sent. `false` if it was before.
    pub(super) fn cut(&mut self) -> bool {
        !self.phase.is_gone() && self.go(Phase::Gone)
    }

    /// The task is to end as if it had been dropped.
    pub(super) fn abandon(&mut self) -> bool {
        self.phase != Phase::Abandoned && self.go(Phase::Abandoned)
    }

    fn leave_open(&mut self, to: Phase, frame: Option<&CloseFrame>) -> bool {
        let leaves = self.phase == Phase::Open;
        if leaves {
            self.phase = to;
            self.frame = frame.map(|frame| Box::new(frame.clone()));
        }
        leaves
    }

    fn go(&mut self, to: Phase) -> bool {
        (self.phase, self.frame) = (to, None);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(code: u16) -> CloseFrame {
        CloseFrame::new(code, "")
    }

    fn open() -> Lifecycle {
        Lifecycle::new()
    }

    #[test]
    fn who_closes_first_decides_what_close_is_told() {
        let mut ours = open();
        assert!(ours.close(&frame(4000)));
        assert!(!ours.answer(&frame(1000)) && !ours.close(&frame(4001)));
        assert_eq!((ours.phase(), ours.frame()), (Phase::ClosingByUs, frame(4000)));

        let mut theirs = open();
        assert!(theirs.answer(&frame(1000)));
        assert!(!theirs.close(&frame(4000)) && !theirs.fail(None));
        assert_eq!((theirs.phase(), theirs.frame()), (Phase::ClosingByPeer, frame(1000)));
    }

    #[test]
    fn a_failure_is_told_by_its_frame_or_by_1006() {
        let mut told = open();
        assert!(told.fail(Some(&frame(1002))));
        assert!(!told.close(&frame(1000)));
        assert_eq!((told.phase(), told.frame()), (Phase::Failed, frame(1002)));

        let mut untold = open();
        untold.fail(None);
        assert_eq!(untold.frame().code, 1006);

        let mut unfinished = open();
        unfinished.close(&frame(1000));
        assert!(!unfinished.fail(None));
        assert_eq!((unfinished.phase(), unfinished.frame().code.as_u16()), (Phase::Failed, 1006));
    }

    #[test]
    fn what_is_gone_stays_gone() {
        let mut cut = open();
        cut.close(&frame(1000));
        assert!(cut.cut() && !cut.cut());
        assert!(!cut.close(&frame(1000)) && !cut.fail(None));
        assert_eq!((cut.phase(), cut.frame().code.as_u16()), (Phase::Gone, 1006));
        assert!(cut.abandon() && !cut.abandon() && !cut.cut());
        assert_eq!(cut.phase(), Phase::Abandoned);
    }

    #[test]
    fn every_phase_survives_its_bits() {
        use Phase::*;
        for phase in [Open, ClosingByPeer, Failed, ClosingByUs, Gone, Abandoned] {
            assert_eq!(Phase::from_bits(phase as u8), phase);
            assert_eq!(phase.may_send(), phase == Open);
            assert_eq!(phase.drops_input(), matches!(phase, ClosingByUs | Gone | Abandoned));
            assert_eq!(phase.is_gone(), matches!(phase, Gone | Abandoned));
        }
    }
}
