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

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Sets the deadline to `after` from now, in place of any other.
    pub(crate) fn set(&mut self, after: Duration) {
        self.set_at(self.clock.now().checked_add(after));
    }

    /// Sets or clears the deadline.
    pub(crate) fn set_at(&mut self, deadline: Option<Instant>) {
        if self.deadline != deadline {
            self.deadline = deadline;
            self.sleep = None;
        }
    }

    /// Ready once the deadline has passed, and again each time it is asked. While it
    /// waits, asking looks at no clock.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        loop {
            if let Some(sleep) = &mut self.sleep {
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.sleep = None;
            }
            // A clock may wake early by its own resolution.
            let left = deadline.saturating_duration_since(self.clock.now());
            if left.is_zero() {
                return Poll::Ready(());
            }
            self.sleep = Some(self.clock.sleep(left));
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
