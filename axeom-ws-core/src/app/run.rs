//! Runs the handlers of a connection from `open` to `close`.

use std::{
    error::Error,
    future::Future,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use pin_project::{pin_project, pinned_drop};

#[cfg(feature = "json")]
use super::json::SendJsonError;
use super::{
    handler::{Handler, HandlerResult},
    ws::Ws,
};
use crate::{
    close::CloseFrame,
    connection::Driver,
    contained::{Contained, caught, contain},
    error::{Closed, ConnectionError, TrySendError},
    event::Event,
    link::Link,
    telemetry,
};

/// Calls the methods of a handler for the events of a connection.
///
/// This is not an `async fn`, because that would store its arguments twice for as long as the
/// connection lives.
pub(super) fn run_handler<D, H, E>(
    mut driver: Driver,
    ws: Ws<D>,
    endpoint: Arc<E>,
    handler: impl Fn(&E) -> &H + Send,
) -> impl Future<Output = ()> + Send
where
    D: Send + Sync + 'static,
    H: Handler<D>,
    E: Send + Sync,
{
    let new_session = || handler(&endpoint).session(&ws);
    let mut session = match panic::catch_unwind(AssertUnwindSafe(new_session)) {
        Ok(session) => Contained::new(session),
        Err(panic) => {
            failed(&mut driver, ws.link(), ConnectionError::Panic(caught(panic)));
            Contained::none()
        }
    };
    async move {
        let handler = handler(&endpoint);
        let Some(session) = session.get_mut() else { return without_handlers(&mut driver).await };

        let open = Caught::call(|| handler.open(session, ws.clone()));
        if let Err(error) = beside(open, &mut driver).await {
            failed(&mut driver, ws.link(), error);
        }
        'events: loop {
            // Most events are messages, and most of the cost of a small one is moving it. So the
            // rarer events are awaited separately, in a box.
            let message = 'message: {
                let (rarer, then) = match driver.next().await {
                    Event::Message(message) => break 'message message,
                    rarer => call_rarely(handler, session, &ws, rarer),
                };
                match (beside(rarer, &mut driver).await, then) {
                    (Err(error), Then::GoOn) => failed(&mut driver, ws.link(), error),
                    (Ok(()), Then::GoOn) => {}
                    (done, Then::Close) => report(done),
                    (done, Then::End) => return report(done),
                }
                continue 'events;
            };
            let call = Caught::call(|| handler.message(session, ws.clone(), message));
            if let Err(error) = beside(call, &mut driver).await {
                failed(&mut driver, ws.link(), error);
            }
        }
    }
}

/// What follows the handler of an event that is not a message.
enum Then {
    GoOn,
    /// The event was `Error`, so `Close` is next.
    Close,
    /// The event was `Close`, which is the last.
    End,
}

/// Calls the handler of an event. The caller handles messages itself.
fn call_rarely<'a, D, H>(
    handler: &'a H,
    session: &'a mut H::Session,
    ws: &Ws<D>,
    event: Event,
) -> (BoxFuture<'a, Result<(), ConnectionError>>, Then)
where
    D: Send + Sync + 'static,
    H: Handler<D>,
{
    let ws = ws.clone();
    match event {
        Event::Message(message) => (boxed(|| handler.message(session, ws, message)), Then::GoOn),
        Event::Ping(payload) => (boxed(|| handler.ping(session, ws, payload)), Then::GoOn),
        Event::Pong(payload) => (boxed(|| handler.pong(session, ws, payload)), Then::GoOn),
        Event::Drain => (boxed(|| handler.drain(session, ws)), Then::GoOn),
        Event::Error(error) => {
            log_error(&error);
            (boxed(|| handler.error(session, ws, error)), Then::Close)
        }
        Event::Close(frame) => {
            log_close(&frame);
            let CloseFrame { code, reason } = frame;
            (boxed(|| handler.close(session, ws, code, reason)), Then::End)
        }
    }
}

fn boxed<'a, F>(handler: impl FnOnce() -> F) -> BoxFuture<'a, Result<(), ConnectionError>>
where
    F: Future<Output = HandlerResult> + Send + 'a,
{
    Box::pin(Caught::call(handler))
}

/// Closes a connection whose session could not be created.
async fn without_handlers(driver: &mut Driver) {
    loop {
        match driver.next().await {
            Event::Error(error) => log_error(&error),
            Event::Close(frame) => return log_close(&frame),
            _ => {}
        }
    }
}

/// Closes the connection with 1011 because a handler failed.
#[cold]
pub(super) fn failed(driver: &mut Driver, link: &Link, error: ConnectionError) {
    // `ws.send(..).await?` on a connection that has closed meanwhile is no failure.
    let is_own_close = |error: &ConnectionError| {
        let ConnectionError::Handler(error) = error else { return false };
        says_closed(&**error) && !link.flags().is_open()
    };
    if is_own_close(&error) {
        contain(|| drop(error));
    } else {
        driver.fail(error);
    }
}

/// Whether this is what sending on a closed connection fails with.
fn says_closed(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    #[cfg(feature = "json")]
    if let Some(SendJsonError::Closed(_)) = error.downcast_ref() {
        return true;
    }
    error.is::<Closed>() || matches!(error.downcast_ref(), Some(TrySendError::Closed(_)))
}

pub(super) fn log_error(error: &ConnectionError) {
    let cause: &dyn Error = error;
    match error {
        ConnectionError::Panic(_) => tracing::error!(error = cause, "a handler panicked"),
        ConnectionError::Handler(_) => tracing::warn!(error = cause, "a handler failed"),
        _ => tracing::debug!(error = cause, "connection failed"),
    }
}

pub(super) fn log_close(frame: &CloseFrame) {
    tracing::debug!(code = %frame.code, "connection closed");
    telemetry::closed(frame.code);
}

/// Logs an error of a handler that runs too late for the `error` handler.
pub(super) fn report(done: Result<(), ConnectionError>) {
    if let Err(error) = done {
        let cause: &dyn Error = &error;
        tracing::error!(error = cause, "the last handler of a connection failed");
        contain(|| drop(error));
    }
}

/// The future of a handler. A panic becomes an error, whether in the call, in a poll, or when the
/// future is dropped because it is done. If it is dropped before, a panic goes no further.
///
/// This is not an `async fn`, because that would store the handler's arguments and future
/// several times over for as long as the connection lives.
#[pin_project(PinnedDrop)]
pub(super) struct Caught<F>(#[pin] Handling<F>);

#[pin_project(project = HandlingProjection)]
enum Handling<F> {
    Running(#[pin] F),
    /// There is no future: the call itself panicked, with this message, or it is done.
    Done(Option<Box<str>>),
}

#[pinned_drop]
impl<F> PinnedDrop for Caught<F> {
    #[inline]
    fn drop(self: Pin<&mut Self>) {
        let handling = self.project().0;
        if matches!(*handling, Handling::Running(_)) {
            handling.give_up();
        }
    }
}

impl<F> Handling<F> {
    #[cold]
    fn give_up(mut self: Pin<&mut Self>) {
        contain(|| self.set(Self::Done(None)));
    }
}

impl<F: Future<Output = HandlerResult>> Caught<F> {
    #[inline]
    pub(super) fn call(handler: impl FnOnce() -> F) -> Self {
        match panic::catch_unwind(AssertUnwindSafe(handler)) {
            Ok(future) => Self(Handling::Running(future)),
            Err(panic) => Self(Handling::Done(Some(caught(panic).into()))),
        }
    }
}

impl<F: Future<Output = HandlerResult>> Future for Caught<F> {
    type Output = Result<(), ConnectionError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut handling = self.project().0;
        let mut polled = Poll::Pending;
        let ran = panic::catch_unwind(AssertUnwindSafe(|| match handling.as_mut().project() {
            HandlingProjection::Running(future) => {
                polled = future.poll(cx);
                if polled.is_ready() {
                    handling.set(Handling::Done(None));
                }
                None
            }
            HandlingProjection::Done(panicked) => panicked.take(),
        }));
        match ran {
            Ok(None) => polled.map_err(ConnectionError::Handler),
            Ok(Some(panicked)) => Poll::Ready(Err(ConnectionError::Panic(panicked.into()))),
            Err(panic) => {
                handling.give_up();
                contain(|| drop(polled));
                Poll::Ready(Err(ConnectionError::Panic(caught(panic))))
            }
        }
    }
}

/// Awaits a handler, and polls the connection's driver in the background meanwhile.
#[inline]
fn beside<F: Future>(handler: F, driver: &mut Driver) -> Beside<'_, F> {
    Beside { handler, driver }
}

#[pin_project]
struct Beside<'a, F> {
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
