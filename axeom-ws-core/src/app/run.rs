//! Runs a connection from `open` to `close`.

use std::{
    error::Error,
    future::Future,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use futures::future::BoxFuture;

use super::{
    catch::{Caught, beside, panic_message},
    handler::{Handler, HandlerResult},
    ws::Ws,
};
use crate::{
    close::CloseFrame,
    connection::Driver,
    error::{Closed, ConnectionError},
    event::Event,
    link::Link,
    telemetry,
};

/// Runs the handlers of a connection.
///
/// Not an `async fn`, which would hold its arguments twice for as long as the connection
/// lives.
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
        Ok(session) => Some(session),
        Err(panic) => {
            failed(&mut driver, ws.link(), ConnectionError::Panic(panic_message(&*panic)));
            None
        }
    };
    async move {
        let handler = handler(&endpoint);
        let Some(session) = &mut session else { return without_handlers(&mut driver).await };

        let open = Caught::call(|| handler.open(session, ws.clone()));
        if let Err(error) = beside(open, &mut driver).await {
            failed(&mut driver, ws.link(), error);
        }
        'events: loop {
            // Messages are many, and moving them about is what small ones cost most. So what
            // is rarer is awaited apart from them, and in a box.
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

/// What comes after an event that is not a message.
enum Then {
    GoOn,
    /// `Close`, for this was an error.
    Close,
    /// Nothing, for it was `Close`.
    End,
}

/// Calls the handler of an event. Only messages have another way.
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

/// Closes a connection whose session could not be made.
async fn without_handlers(driver: &mut Driver) {
    loop {
        match driver.next().await {
            Event::Error(error) => log_error(&error),
            Event::Close(frame) => return log_close(&frame),
            _ => {}
        }
    }
}

/// A handler failed, which closes its connection with 1011.
#[cold]
pub(super) fn failed(driver: &mut Driver, link: &Link, error: ConnectionError) {
    // One that passes on that its own connection is closed has not failed.
    let is_told = |error: &ConnectionError| {
        let ConnectionError::Handler(error) = error else { return false };
        error.is::<Closed>() && !link.flags().phase().may_send()
    };
    if !is_told(&error) {
        driver.fail(error);
    }
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

/// The last handlers have nobody left to tell.
pub(super) fn report(done: Result<(), ConnectionError>) {
    if let Err(error) = done {
        let error: &dyn Error = &error;
        tracing::error!(error, "the last handler of a connection failed");
    }
}
