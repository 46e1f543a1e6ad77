use std::{
    any::Any,
    future::Future,
    mem,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    task::{Context, Poll},
};

use pin_project::pin_project;

use super::driver::Driver;
use crate::{ConnectionError, HandlerResult};

/// One call of a handler. A panic, be it of the handler itself or of its future, and an
/// error are what it fails with.
///
/// Written out rather than as an `async fn`, which would hold the handler's arguments and
/// future several times over for as long as the connection lives.
#[pin_project(project = CallProjection)]
pub(super) enum Call<F> {
    Running(#[pin] F),
    /// There is no future to poll.
    Panicked(String),
}

impl<F: Future<Output = HandlerResult>> Call<F> {
    #[inline]
    pub(super) fn new(start: impl FnOnce() -> F) -> Self {
        match panic::catch_unwind(AssertUnwindSafe(start)) {
            Ok(future) => Self::Running(future),
            Err(panic) => Self::Panicked(panic_message(&*panic)),
        }
    }
}

impl<F: Future<Output = HandlerResult>> Future for Call<F> {
    type Output = Result<(), ConnectionError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let panicked = match self.project() {
            CallProjection::Running(future) => {
                match panic::catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
                    Ok(polled) => return polled.map_err(ConnectionError::Handler),
                    Err(panic) => panic_message(&*panic),
                }
            }
            CallProjection::Panicked(message) => mem::take(message),
        };
        Poll::Ready(Err(ConnectionError::Panic(panicked)))
    }
}

/// A call, while the driver goes on in the background.
#[pin_project]
pub(super) struct Driving<'a, C> {
    #[pin]
    call: C,
    driver: &'a mut Driver,
}

impl<'a, C: Future> Driving<'a, C> {
    #[inline]
    pub(super) fn new(call: C, driver: &'a mut Driver) -> Self {
        Self { call, driver }
    }
}

impl<C: Future> Future for Driving<'_, C> {
    type Output = C::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = self.project();
        let polled = this.call.poll(cx);
        if polled.is_pending() {
            this.driver.poll_background(cx);
        }
        polled
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
