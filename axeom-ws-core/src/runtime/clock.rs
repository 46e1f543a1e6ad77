use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, Either, select};

use super::Runtime;

/// The clock of a runtime, and its way to yield, with the runtime's type erased.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Time>);

/// What a [`Clock`] needs. Every [`Runtime`] implements it.
pub(crate) trait Time: Send + Sync + 'static {
    fn time(&self) -> Instant;
    fn after(&self, duration: Duration) -> BoxFuture<'static, ()>;

    fn give_way(&self, cx: &mut Context<'_>) {
        cx.waker().wake_by_ref();
    }
}

impl<R: Runtime> Time for R {
    fn time(&self) -> Instant {
        self.now()
    }

    fn after(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.sleep(duration))
    }

    fn give_way(&self, cx: &mut Context<'_>) {
        self.yield_now(cx);
    }
}

impl Clock {
    pub(crate) fn new(time: impl Time) -> Self {
        Self(Arc::new(time))
    }

    pub(crate) fn now(&self) -> Instant {
        self.0.time()
    }

    pub(crate) fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.0.after(duration)
    }

    /// As [`Runtime::yield_now`].
    pub(crate) fn yield_now(&self, cx: &mut Context<'_>) {
        self.0.give_way(cx);
    }
}

/// The output of `future`, or `None` if it does not complete within `limit`.
pub(crate) async fn within<F: Future>(
    clock: &Clock,
    limit: Duration,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    // Most of what is waited for is there at once, and a sleep is not free.
    if let Poll::Ready(output) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        return Some(output);
    }
    match select(future, clock.sleep(limit)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}
