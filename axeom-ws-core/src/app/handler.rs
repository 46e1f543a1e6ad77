use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use pin_project::pin_project;

use super::ws::Ws;
use crate::{
    close::CloseCode,
    error::{BoxError, ConnectionError},
    message::Message,
    utf8::Utf8Bytes,
};

/// What a handler's methods return. An error closes the connection with 1011.
pub type HandlerResult = Result<(), BoxError>;

/// The handlers of a route as one type, with a session for each connection.
///
/// Small apps are shorter with the closures of a [`Route`](crate::Route), which receive the same
/// events. The methods are called in order and one at a time: `open`, then `message`, `ping`,
/// `pong` and `drain`, then `error` if something went wrong, then `close`. Each may be written as
/// an `async fn`, and does nothing by default. A panic is caught, and closes the connection with
/// 1011 as an error does.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, Handler, HandlerResult, Message, Ws};
///
/// struct Counter;
///
/// impl Handler for Counter {
///     type Session = u64;
///
///     fn session(&self, _ws: &Ws) -> u64 {
///         0
///     }
///
///     async fn message(&self, seen: &mut u64, ws: Ws, _message: Message) -> HandlerResult {
///         *seen += 1;
///         Ok(ws.send(seen.to_string()).await?)
///     }
/// }
///
/// let app = App::new().ws("/count", |route| route.handler(Counter));
/// # let _ = app;
/// ```
pub trait Handler<D = ()>: Send + Sync + 'static {
    /// The state that a connection keeps between events.
    type Session: Send + 'static;

    /// Creates the session of a new connection, before `open`. If it panics, the connection is
    /// closed with 1011 and no method is called.
    fn session(&self, ws: &Ws<D>) -> Self::Session;

    /// Called first, once the 101 response was sent.
    fn open(
        &self,
        session: &mut Self::Session,
        ws: Ws<D>,
    ) -> impl Future<Output = HandlerResult> + Send {
        let _ = (session, ws);
        std::future::ready(Ok(()))
    }

    /// Called for every message, once all its fragments have arrived (RFC 6455 §5.6).
    fn message(
        &self,
        session: &mut Self::Session,
        ws: Ws<D>,
        message: Message,
    ) -> impl Future<Output = HandlerResult> + Send {
        let _ = (session, ws, message);
        std::future::ready(Ok(()))
    }

    /// Called for every ping (RFC 6455 §5.5.2), which the connection has answered already.
    fn ping(
        &self,
        session: &mut Self::Session,
        ws: Ws<D>,
        payload: Bytes,
    ) -> impl Future<Output = HandlerResult> + Send {
        let _ = (session, ws, payload);
        std::future::ready(Ok(()))
    }

    /// Called for every pong, whether it answers a ping or not (RFC 6455 §5.5.3).
    fn pong(
        &self,
        session: &mut Self::Session,
        ws: Ws<D>,
        payload: Bytes,
    ) -> impl Future<Output = HandlerResult> + Send {
        let _ = (session, ws, payload);
        std::future::ready(Ok(()))
    }

    /// Called when backpressure ends: the queue rose over the high-water mark, and has fallen to
    /// the low-water mark.
    fn drain(
        &self,
        session: &mut Self::Session,
        ws: Ws<D>,
    ) -> impl Future<Output = HandlerResult> + Send {
        let _ = (session, ws);
        std::future::ready(Ok(()))
    }

    /// Called when something went wrong. `close` follows.
    fn error(
        &self,
        session: &mut Self::Session,
        ws: Ws<D>,
        error: ConnectionError,
    ) -> impl Future<Output = HandlerResult> + Send {
        let _ = (session, ws, error);
        std::future::ready(Ok(()))
    }

    /// Called last, exactly once for every `open`. The code and reason are those that
    /// [`Route::close`](crate::Route::close) describes.
    fn close(
        &self,
        session: &mut Self::Session,
        ws: Ws<D>,
        code: CloseCode,
        reason: Utf8Bytes,
    ) -> impl Future<Output = HandlerResult> + Send {
        let _ = (session, ws, code, reason);
        std::future::ready(Ok(()))
    }
}

/// What a handler closure may return: `()`, or a [`HandlerResult`], whose error closes the
/// connection with 1011.
///
/// A closure's error type is fixed, so that `?` converts any error and `Ok(())` needs no type
/// annotation.
#[diagnostic::on_unimplemented(
    message = "a handler returns `()` or `Result<(), BoxError>`, not `{Self}`",
    note = "end the handler with a semicolon, or with `Ok(())`"
)]
pub trait Outcome: sealed::Outcome {
    /// Converts the outcome to a result.
    fn into_result(self) -> HandlerResult;
}

impl Outcome for () {
    fn into_result(self) -> HandlerResult {
        Ok(())
    }
}

impl Outcome for HandlerResult {
    fn into_result(self) -> HandlerResult {
        self
    }
}

/// A closure of a route, or [`Unset`].
pub trait Callback<Args>: sealed::Callback<Args> + Send + Sync + 'static {
    /// Calls the closure.
    fn call(&self, args: Args) -> impl Future<Output = HandlerResult> + Send;
}

#[allow(unnameable_types, reason = "nobody else is to implement these")]
mod sealed {
    use super::HandlerResult;

    pub trait Outcome {}

    impl Outcome for () {}

    impl Outcome for HandlerResult {}

    pub trait Callback<Args> {}
}

/// Converts the outcome of a closure's future to a result. `map` of `futures` would also store
/// whether it has completed.
#[pin_project]
struct IntoResult<F> {
    #[pin]
    future: F,
}

impl<F> Future for IntoResult<F>
where
    F: Future<Output: Outcome>,
{
    type Output = HandlerResult;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<HandlerResult> {
        self.project().future.poll(cx).map(Outcome::into_result)
    }
}

/// Stands for a closure that is not set.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Unset;

impl<Args> sealed::Callback<Args> for Unset {}

impl<Args: Send> Callback<Args> for Unset {
    fn call(&self, _: Args) -> impl Future<Output = HandlerResult> + Send {
        std::future::ready(Ok(()))
    }
}

macro_rules! callback {
    ($($arg:ident)+) => {
        impl<F, Fut, $($arg),+> sealed::Callback<($($arg,)+)> for F where F: Fn($($arg),+) -> Fut {}

        impl<F, Fut, $($arg),+> Callback<($($arg,)+)> for F
        where
            F: Fn($($arg),+) -> Fut + Send + Sync + 'static,
            Fut: Future + Send,
            Fut::Output: Outcome,
            $($arg: Send,)+
        {
            fn call(&self, args: ($($arg,)+)) -> impl Future<Output = HandlerResult> + Send {
                #[allow(non_snake_case)]
                let ($($arg,)+) = args;
                IntoResult { future: self($($arg),+) }
            }
        }
    };
}

callback!(A);
callback!(A B);
callback!(A B C);

/// The closures of a route, which together implement [`Handler`].
pub struct Callbacks<O, M, Pi, Po, Dr, E, C> {
    pub(super) open: O,
    pub(super) message: M,
    pub(super) ping: Pi,
    pub(super) pong: Po,
    pub(super) drain: Dr,
    pub(super) error: E,
    pub(super) close: C,
}

/// The [`Callbacks`] of a route on which no closure is set.
pub type NoCallbacks = Callbacks<Unset, Unset, Unset, Unset, Unset, Unset, Unset>;

impl Default for NoCallbacks {
    fn default() -> Self {
        Callbacks {
            open: Unset,
            message: Unset,
            ping: Unset,
            pong: Unset,
            drain: Unset,
            error: Unset,
            close: Unset,
        }
    }
}

impl<O, M, Pi, Po, Dr, E, C> fmt::Debug for Callbacks<O, M, Pi, Po, Dr, E, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callbacks")
    }
}

impl<D, O, M, Pi, Po, Dr, E, C> Handler<D> for Callbacks<O, M, Pi, Po, Dr, E, C>
where
    D: Send + Sync + 'static,
    O: Callback<(Ws<D>,)>,
    M: Callback<(Ws<D>, Message)>,
    Pi: Callback<(Ws<D>, Bytes)>,
    Po: Callback<(Ws<D>, Bytes)>,
    Dr: Callback<(Ws<D>,)>,
    E: Callback<(Ws<D>, ConnectionError)>,
    C: Callback<(Ws<D>, CloseCode, Utf8Bytes)>,
{
    type Session = ();

    fn session(&self, _: &Ws<D>) {}

    fn open(&self, _: &mut (), ws: Ws<D>) -> impl Future<Output = HandlerResult> + Send {
        self.open.call((ws,))
    }

    fn message(
        &self,
        _: &mut (),
        ws: Ws<D>,
        message: Message,
    ) -> impl Future<Output = HandlerResult> + Send {
        self.message.call((ws, message))
    }

    fn ping(
        &self,
        _: &mut (),
        ws: Ws<D>,
        payload: Bytes,
    ) -> impl Future<Output = HandlerResult> + Send {
        self.ping.call((ws, payload))
    }

    fn pong(
        &self,
        _: &mut (),
        ws: Ws<D>,
        payload: Bytes,
    ) -> impl Future<Output = HandlerResult> + Send {
        self.pong.call((ws, payload))
    }

    fn drain(&self, _: &mut (), ws: Ws<D>) -> impl Future<Output = HandlerResult> + Send {
        self.drain.call((ws,))
    }

    fn error(
        &self,
        _: &mut (),
        ws: Ws<D>,
        error: ConnectionError,
    ) -> impl Future<Output = HandlerResult> + Send {
        self.error.call((ws, error))
    }

    fn close(
        &self,
        _: &mut (),
        ws: Ws<D>,
        code: CloseCode,
        reason: Utf8Bytes,
    ) -> impl Future<Output = HandlerResult> + Send {
        self.close.call((ws, code, reason))
    }
}
