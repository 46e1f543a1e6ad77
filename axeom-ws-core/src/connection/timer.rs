use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::future::BoxFuture;

use crate::runtime::Clock;

/// One deadline on a runtime's clock. While it is not set it costs nothing.
pub(crate) struct Timer {
    clock: Arc<dyn Clock>,
    deadline: Option<Instant>,
    sleep: Option<BoxFuture<'static, ()>>,
}

impl Timer {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, deadline: None, sleep: None }
    }

    /// Sets the deadline to `after` from now, in place of any other.
    pub(crate) fn set(&mut self, after: Duration) {
        self.deadline = self.clock.now().checked_add(after);
        self.sleep = None;
    }

    /// Ready once the deadline has passed, and again each time it is asked.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        loop {
            let left = deadline.saturating_duration_since(self.clock.now());
            if left.is_zero() {
                self.sleep = None;
                return Poll::Ready(());
            }
            let clock = &self.clock;
            let sleep = self.sleep.get_or_insert_with(|| {
                let clock = Arc::clone(clock);
                Box::pin(async move { clock.sleep(left).await })
            });
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // A clock may wake early by its own resolution.
            self.sleep = None;
        }
    }

    /// Runs `future` until the deadline; `None` if that was first.
    pub(crate) async fn limit<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = Pin::as_mut(&mut future).poll(cx) {
                return Poll::Ready(Some(output));
            }
            self.poll(cx).map(|()| None)
        })
        .await
    }
}
