use std::panic::{self, AssertUnwindSafe};

use super::{
    Ws,
    call::Call,
    driver::{Driver, Incoming},
};
use crate::{
    CloseCode, CloseFrame, Closed, ConnectionError, Handler, registry::Registration, telemetry,
};

/// Runs a connection from `open` to `close`.
pub(crate) async fn run_handler<D, H>(
    mut driver: Box<Driver>,
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
        let (frame, _) = Box::pin(driver.finish()).await;
        telemetry::closed(frame.code);
        return;
    };
    let session = &mut session;
    let driver = &mut *driver;

    let mut done = Call::new(|| handler.open(session, ws.clone())).with(driver).await;
    while done.is_ok() {
        done = match driver.next().await {
            Incoming::Message(message) => {
                let handle = || handler.message(session, ws.clone(), message);
                Call::new(handle).with(driver).await
            }
            Incoming::Ping(payload) => {
                Call::new(|| handler.ping(session, ws.clone(), payload)).with(driver).await
            }
            Incoming::Pong(payload) => {
                Call::new(|| handler.pong(session, ws.clone(), payload)).with(driver).await
            }
            Incoming::Drain => Call::new(|| handler.drain(session, ws.clone())).with(driver).await,
            Incoming::End => break,
        };
    }

    // A handler that passes on that its own connection is closed has not failed.
    let told = |error: &ConnectionError| {
        let ConnectionError::Handler(error) = error else { return false };
        error.is::<Closed>() && link.is_closed()
    };
    let failed = done.err().filter(|error| !told(error));
    if failed.is_some() {
        link.close(internal_error());
    }
    registration.leave_topics();
    // What follows happens once, so it may take room of its own.
    let (frame, error) = Box::pin(driver.finish()).await;
    driver.drop_stream();
    if let Some(error) = failed.or(error) {
        tracing::debug!(%error, "connection failed");
        report(Call::new(|| handler.error(session, ws.clone(), error)).await);
    }
    let CloseFrame { code, reason } = frame;
    tracing::debug!(%code, "connection closed");
    telemetry::closed(code);
    report(Call::new(|| handler.close(session, ws.clone(), code, reason)).await);
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
