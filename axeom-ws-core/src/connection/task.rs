use std::{
    future::Future,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project::{pin_project, pinned_drop};
use tracing::Span;

use crate::{
    contained::{caught, contain},
    hub::Member,
    link::Phase,
};

/// The task of a connection, wrapped around the future that does the work. It tells the link
/// when the task runs and when it waits, and it ends the task when the server is dropped.
///
/// No panic leaves it. Handlers' panics are caught where they are called; what any other would do, in
/// a poll or when the future is dropped, depends on the runtime.
#[pin_project(PinnedDrop)]
pub(crate) struct Task<F>(#[pin] State<F>);

#[pin_project(project = StateProjection)]
enum State<F> {
    Running {
        member: Arc<Member>,
        /// Boxed, because most programs have no subscriber that enables it.
        span: Option<Box<Span>>,
        #[pin]
        future: F,
    },
    Done,
}

impl<F: Future<Output = ()>> Task<F> {
    pub(crate) fn new(member: Arc<Member>, span: Span, future: F) -> Self {
        let span = (!span.is_disabled()).then(|| Box::new(span));
        Self(State::Running { member, span, future })
    }
}

impl<F: Future<Output = ()>> Future for Task<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.project().0;
        if let StateProjection::Running { member, span, future } = state.as_mut().project() {
            let link = member.link();
            link.unpark();
            let _entered = span.as_ref().map(|span| span.enter());
            if link.flags().phase() != Phase::Abandoned && poll_caught(future, cx).is_pending() {
                let flags = link.flags();
                if flags.phase() != Phase::Abandoned {
                    // Parking lets `abandon` wake the task even while it awaits something other
                    // than the driver.
                    if flags.is_awake() && !link.park(cx.waker(), true, flags.phase(), false) {
                        cx.waker().wake_by_ref();
                    }
                    return Poll::Pending;
                }
            }
        }
        state.end();
        Poll::Ready(())
    }
}

#[pinned_drop]
impl<F> PinnedDrop for Task<F> {
    fn drop(self: Pin<&mut Self>) {
        self.project().0.end();
    }
}

impl<F> State<F> {
    /// Drops the future, if that was not done before.
    fn end(mut self: Pin<&mut Self>) {
        let StateProjection::Running { span, .. } = self.as_mut().project() else { return };
        let span = span.take();
        let _entered = span.as_ref().map(|span| span.enter());
        contain(|| self.set(Self::Done));
    }
}

/// A future that panics is done.
#[inline]
fn poll_caught(future: Pin<&mut impl Future<Output = ()>>, cx: &mut Context<'_>) -> Poll<()> {
    panic::catch_unwind(AssertUnwindSafe(|| future.poll(cx))).unwrap_or_else(|panic| {
        let panic = caught(panic);
        tracing::error!(panic, "a connection's task panicked");
        Poll::Ready(())
    })
}
