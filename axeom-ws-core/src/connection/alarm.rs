use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use super::{link::Link, timer::Timer};
use crate::{runtime::Clock, tasks::Member};

/// What tells a connection that a deadline is due: its server, or, without one, a timer of
/// its own.
pub(crate) enum Alarm {
    Server(Member),
    Own(Box<Timer>),
}

impl Alarm {
    pub(crate) fn own(clock: Arc<dyn Clock>) -> Self {
        Self::Own(Box::new(Timer::new(clock)))
    }

    pub(super) fn now(&self) -> Instant {
        match self {
            Self::Server(member) => member.clock().now(),
            Self::Own(timer) => timer.now(),
        }
    }

    /// Sets or clears the deadline, in place of any other.
    pub(super) fn set(&mut self, deadline: Option<Instant>) {
        match self {
            Self::Server(member) => member.set_deadline(deadline),
            Self::Own(timer) => timer.set_at(deadline),
        }
    }

    /// Ready when the deadline may have passed; then it must be set again. While it waits,
    /// asking looks at no clock.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, link: &Link) -> Poll<()> {
        match self {
            Self::Server(_) if link.take_due() => Poll::Ready(()),
            Self::Server(_) => Poll::Pending,
            Self::Own(timer) => timer.poll(cx).map(|()| timer.set_at(None)),
        }
    }
}
