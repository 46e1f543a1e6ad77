use std::{
    any::Any,
    future::Future,
    mem,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    task::{Context, Poll},
};

use pin_project::pin_project;

use super::handler::HandlerResult;
use crate::{connection::Driver, error::ConnectionError};

/// The future of a handler. A panic, whether in the call or in a poll, becomes an error.
///
/// This is not an `async fn`, because that would store the handler's arguments and future
/// several times over for as long as the connection lives.
#[pin_project(project = CaughtProjection)]
pub(super) enum Caught<F> {
    Running(#[pin] F),
    /// The call itself panicked, so there is no future.
    Panicked(String),
}

impl<F: Future<Output = HandlerResult>> Caught<F> {
    #[inline]
    pub(super) fn call(handler: impl FnOnce() -> F) -> Self {
        match panic::catch_unwind(AssertUnwindSafe(handler)) {
            Ok(future) => Self::Running(future),
            Err(panic) => Self::Panicked(panic_message(&*panic)),
        }
    }
}

impl<F: Future<Output = HandlerResult>> Future for Caught<F> {
    type Output = Result<(), ConnectionError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let panicked = match self.project() {
            CaughtProjection::Running(future) => {
                match panic::catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
                    Ok(polled) => return polled.map_err(ConnectionError::Handler),
                    Err(panic) => panic_message(&*panic),
                }
            }
            CaughtProjection::Panicked(message) => mem::take(message),
        };
        Poll::Ready(Err(ConnectionError::Panic(panicked)))
    }
}

/// Awaits a handler, and polls the connection's driver in the background meanwhile.
#[inline]
pub(super) fn beside<F: Future>(handler: F, driver: &mut Driver) -> Beside<'_, F> {
    Beside { handler, driver }
}

#[pin_project]
pub(super) struct Beside<'a, F> {
    #[pin]
    handler: F,
    driver: &'a mut Driver,
}

impl<F: Future> Future for Beside<'_, F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let polled = this.handler.poll(cx);
        if polled.is_pending() {
            this.driver.poll_background(cx);
        }
        polled
    }
}

pub(super) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
