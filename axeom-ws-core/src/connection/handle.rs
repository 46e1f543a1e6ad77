use std::{
    future::Future,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use super::{
    Ws,
    call::Call,
    driver::{Driver, Incoming},
};
use crate::{
    CloseCode, CloseFrame, Closed, ConnectionError, Handler, registry::Registration, telemetry,
};

/// Runs a connection from `open` to `close`.
///
/// Not an `async fn`, which would hold its arguments twice for as long as the connection
/// lives.
pub(crate) fn run_handler<D, H, E>(
    mut driver: Driver,
    registration: Registration,
    ws: Ws<D>,
    endpoint: Arc<E>,
    handler: impl Fn(&E) -> &H + Send,
) -> impl Future<Output = ()> + Send
where
    D: Send + Sync + 'static,
    H: Handler<D>,
    E: Send + Sync,
{
    async move {
        let handler = handler(&endpoint);
        let session = panic::catch_unwind(AssertUnwindSafe(|| handler.session(&ws)));
        let Ok(mut session) = session else {
            registration.link().close(internal_error());
            Box::pin(driver.finish()).await;
            return;
        };
        let session = &mut session;

        let opened = Call::new(|| handler.open(session, ws.clone())).with(&mut driver).await;
        let failed = match opened {
            Err(error) => Some(error),
            Ok(()) => loop {
                let driver = &mut driver;
                let handled = match driver.next().await {
                    Incoming::Message(message) => {
                        let handle = || handler.message(session, ws.clone(), message);
                        Call::new(handle).with(driver).await
                    }
                    Incoming::Ping(payload) => {
                        let handle = || handler.ping(session, ws.clone(), payload);
                        Call::new(handle).with(driver).await
                    }
                    Incoming::Pong(payload) => {
                        let handle = || handler.pong(session, ws.clone(), payload);
                        Call::new(handle).with(driver).await
                    }
                    Incoming::Drain => {
                        Call::new(|| handler.drain(session, ws.clone())).with(driver).await
                    }
                    Incoming::End => break None,
                };
                if let Err(error) = handled {
                    break Some(error);
                }
            },
        };

        // What follows happens once, so it may take room of its own.
        Box::pin(async {
            let link = registration.link();
            // A handler that passes on that its own connection is closed has not failed.
            let told = |error: &ConnectionError| {
                let ConnectionError::Handler(error) = error else { return false };
                error.is::<Closed>() && link.is_closed()
            };
            let failed = failed.filter(|error| !told(error));
            if failed.is_some() {
                link.close(internal_error());
            }
            registration.leave_topics();
            let (frame, error) = driver.finish().await;
            driver.drop_stream();
            if let Some(error) = failed.or(error) {
                tracing::debug!(%error, "connection failed");
                report(Call::new(|| handler.error(session, ws.clone(), error)).await);
            }
            let CloseFrame { code, reason } = frame;
            tracing::debug!(%code, "connection closed");
            telemetry::closed(code);
            report(Call::new(|| handler.close(session, ws.clone(), code, reason)).await);
        })
        .await;
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
