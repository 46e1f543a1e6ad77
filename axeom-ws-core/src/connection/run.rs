use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project::pin_project;
use tracing::Span;

use super::link::Link;

/// The task of a connection, around what it does: it tells the link when it runs and when
/// it waits, and ends when its server is dropped.
#[pin_project]
pub(crate) struct Run<F> {
    link: Arc<Link>,
    /// In a box, for most programs have no subscriber that enables it.
    span: Option<Box<Span>>,
    #[pin]
    future: F,
}

impl<F: Future<Output = ()>> Run<F> {
    pub(crate) fn new(link: Arc<Link>, span: Span, future: F) -> Self {
        let span = (!span.is_disabled()).then(|| Box::new(span));
        Self { link, span, future }
    }
}

impl<F: Future<Output = ()>> Future for Run<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.link.unpark();
        if this.link.flags().aborted() {
            return Poll::Ready(());
        }
        let _entered = this.span.as_ref().map(|span| span.enter());
        let polled = this.future.poll(cx);
        let flags = this.link.flags();
        if polled.is_pending() {
            if flags.aborted() {
                return Poll::Ready(());
            }
            // What waits for a last handler alone must hear of an abort too.
            if flags.awake() && !this.link.park(cx.waker(), true, flags) {
                cx.waker().wake_by_ref();
            }
        }
        polled
    }
}
