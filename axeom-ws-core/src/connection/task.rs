use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project::pin_project;
use tracing::Span;

use crate::{hub::Member, link::Phase};

/// The task of a connection, wrapped around the future that does the work. It tells the link
/// when the task runs and when it waits, and it ends the task when the server is dropped.
#[pin_project]
pub(crate) struct Task<F> {
    member: Arc<Member>,
    /// Boxed, because most programs have no subscriber that enables it.
    span: Option<Box<Span>>,
    #[pin]
    future: F,
}

impl<F: Future<Output = ()>> Task<F> {
    pub(crate) fn new(member: Arc<Member>, span: Span, future: F) -> Self {
        let span = (!span.is_disabled()).then(|| Box::new(span));
        Self { member, span, future }
    }
}

impl<F: Future<Output = ()>> Future for Task<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let link = this.member.link();
        link.unpark();
        if link.flags().phase() == Phase::Abandoned {
            return Poll::Ready(());
        }
        let _entered = this.span.as_ref().map(|span| span.enter());
        let polled = this.future.poll(cx);
        let flags = link.flags();
        if polled.is_pending() {
            if flags.phase() == Phase::Abandoned {
                return Poll::Ready(());
            }
            // Parking lets `abandon` wake the task even while it awaits something other than
            // the driver.
            if flags.is_awake() && !link.park(cx.waker(), true, flags.phase(), false) {
                cx.waker().wake_by_ref();
            }
        }
        polled
    }
}
