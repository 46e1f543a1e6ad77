use std::{
    future::Future,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use futures::future::Either::{Left, Right};

use super::{
    Ws,
    call::{Call, Driving},
    driver::{Driver, Incoming},
};
use crate::{CloseCode, CloseFrame, Closed, ConnectionError, Handler, telemetry};

/// Runs a connection from `open` to `close`.
///
/// Not an `async fn`, which would hold its arguments twice for as long as the connection
/// lives.
pub(crate) fn run_handler<D, H, E>(
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
    let mut session = panic::catch_unwind(AssertUnwindSafe(new_session)).ok();
    async move {
        let handler = handler(&endpoint);
        let Some(session) = &mut session else {
            ws.link().close(internal_error());
            let (frame, _) = Box::pin(driver.finish()).await;
            telemetry::closed(frame.code);
            return;
        };

        let failed = 'handling: {
            let open = Call::new(|| handler.open(session, ws.clone()));
            if let Err(error) = Driving::new(open, &mut driver).await {
                break 'handling Some(error);
            }
            'events: loop {
                // Messages are many, and moving them about is what small ones cost most.
                let message = 'message: {
                    let call = match driver.next().await {
                        Incoming::Message(message) => break 'message message,
                        Incoming::Ping(payload) => {
                            Left(Left(Call::new(|| handler.ping(session, ws.clone(), payload))))
                        }
                        Incoming::Pong(payload) => {
                            Left(Right(Call::new(|| handler.pong(session, ws.clone(), payload))))
                        }
                        Incoming::Drain => Right(Call::new(|| handler.drain(session, ws.clone()))),
                        Incoming::End => break 'handling None,
                    };
                    if let Err(error) = Driving::new(call, &mut driver).await {
                        break 'handling Some(error);
                    }
                    continue 'events;
                };
                let call = Call::new(|| handler.message(session, ws.clone(), message));
                if let Err(error) = Driving::new(call, &mut driver).await {
                    break 'handling Some(error);
                }
            }
        };

        // What follows happens once, so it may take room of its own.
        Box::pin(async {
            let link = ws.link();
            // A handler that passes on that its own connection is closed has not failed.
            let told = |error: &ConnectionError| {
                let ConnectionError::Handler(error) = error else { return false };
                error.is::<Closed>() && link.is_closed()
            };
            let failed = failed.filter(|error| !told(error));
            if failed.is_some() {
                link.close(internal_error());
            }
            driver.registration().leave_topics();
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
