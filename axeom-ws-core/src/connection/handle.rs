use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{self, AssertUnwindSafe},
    pin::pin,
};

use futures::FutureExt;

use super::{
    Ws,
    driver::{Driver, Incoming},
};
use crate::{
    CloseCode, CloseFrame, ConnectionError, Handler, HandlerResult, registry::Registration,
};

/// Runs a connection from `open` to `close`.
pub(crate) async fn run_handler<D, H>(
    mut driver: Driver,
    registration: Registration,
    ws: Ws<D>,
    handler: &H,
) where
    D: Send + Sync + 'static,
    H: Handler<D>,
{
    let link = registration.link();
    let session = panic::catch_unwind(AssertUnwindSafe(|| handler.session(&ws)));
    let Ok(mut session) = session else {
        link.close(internal_error());
        driver.finish().await;
        return;
    };
    let session = &mut session;

    // The blocks make each call part of its future, so that a panic on the way to the
    // first await is caught as well.
    let mut done = call(&mut driver, async { handler.open(session, ws.clone()).await }).await;
    while done.is_ok() {
        let event = driver.next().await;
        let ws = ws.clone();
        done = match event {
            Incoming::Message(message) => {
                let handled = async { handler.message(session, ws, message).await };
                call(&mut driver, handled).await
            }
            Incoming::Ping(payload) => {
                call(&mut driver, async { handler.ping(session, ws, payload).await }).await
            }
            Incoming::Pong(payload) => {
                call(&mut driver, async { handler.pong(session, ws, payload).await }).await
            }
            Incoming::Drain => call(&mut driver, async { handler.drain(session, ws).await }).await,
            Incoming::End => break,
        };
    }

    let failure = done.err();
    if failure.is_some() {
        link.close(internal_error());
    }
    registration.leave_topics();
    let (frame, error) = driver.finish().await;
    drop(driver);
    if let Some(error) = failure.or(error) {
        tracing::debug!(connection = %ws.id(), %error, "connection failed");
        report(catch(async { handler.error(session, ws.clone(), error).await }).await);
    }
    let CloseFrame { code, reason } = frame;
    report(catch(async { handler.close(session, ws, code, reason).await }).await);
}

/// Runs a handler while the driver goes on in the background.
pub(super) async fn call(
    driver: &mut Driver,
    handled: impl Future<Output = HandlerResult>,
) -> Result<(), ConnectionError> {
    let mut handled = pin!(catch(handled));
    poll_fn(|cx| {
        driver.resume();
        let polled = handled.as_mut().poll(cx);
        if polled.is_pending() {
            driver.poll_background(cx);
        }
        polled
    })
    .await
}

pub(super) async fn catch(
    handled: impl Future<Output = HandlerResult>,
) -> Result<(), ConnectionError> {
    match AssertUnwindSafe(handled).catch_unwind().await {
        Ok(result) => result.map_err(ConnectionError::Handler),
        Err(panic) => Err(ConnectionError::Panic(panic_message(&*panic))),
    }
}

/// The last handlers have nobody left to tell.
pub(super) fn report(done: Result<(), ConnectionError>) {
    if let Err(error) = done {
        tracing::error!(%error, "the last handler of a connection failed");
    }
}

pub(super) fn internal_error() -> CloseFrame {
    CloseFrame::new(CloseCode::INTERNAL_ERROR, "internal error")
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
