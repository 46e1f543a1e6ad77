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
#[pin_project]
pub(super) struct Call<Start, F> {
    #[pin]
    state: State<Start, F>,
}

#[pin_project(project = StateProjection)]
enum State<Start, F> {
    /// Not polled yet.
    Waiting(Option<Start>),
    Running(#[pin] F),
}

impl<Start, F> Call<Start, F>
where
    Start: FnOnce() -> F,
    F: Future<Output = HandlerResult>,
{
    pub(super) fn new(start: Start) -> Self {
        Self { state: State::Waiting(Some(start)) }
    }
}

impl<Start, F> Future for Call<Start, F>
where
    Start: FnOnce() -> F,
    F: Future<Output = HandlerResult>,
{
    type Output = Result<(), ConnectionError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        let polled = panic::catch_unwind(AssertUnwindSafe(|| {
            if let StateProjection::Waiting(start) = state.as_mut().project() {
                let Some(start) = mem::take(start) else { return Poll::Pending };
                state.set(State::Running(start()));
            }
            match state.project() {
                StateProjection::Running(future) => future.poll(cx),
                StateProjection::Waiting(_) => Poll::Pending,
            }
        }));
        match polled {
            Ok(polled) => polled.map_err(ConnectionError::Handler),
            Err(panic) => Poll::Ready(Err(ConnectionError::Panic(panic_message(&*panic)))),
        }
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
    pub(super) fn new(call: C, driver: &'a mut Driver) -> Self {
        Self { call, driver }
    }
}

impl<C: Future> Future for Driving<'_, C> {
    type Output = C::Output;

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
