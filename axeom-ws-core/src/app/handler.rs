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

/// What a handler's method returns. An error closes the connection with 1011.
pub type HandlerResult = Result<(), BoxError>;

/// All handlers of a route in one place, with state per connection.
///
/// The closures of a [`Route`](crate::Route) are the shorter way for small apps; both
/// are driven by the same code. Events arrive in order and one at a time: `open`,
/// then messages, pings, pongs and drains, then `error` if something went wrong, then
/// `close`. Every method may be written as an `async fn`; those not written do
/// nothing.
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
    /// What a connection keeps between events.
    type Session: Send + 'static;

    /// The session of a new connection, made before `open`.
    fn session(&self, ws: &Ws<D>) -> Self::Session;

    /// The handshake is done.
    fn open(
        &self,
        session: &mut Self::Session,
        ws: Ws<D>,
    ) -> impl Future<Output = HandlerResult> + Send {
        let _ = (session, ws);
        std::future::ready(Ok(()))
    }

    /// A whole message arrived.
    fn message(
        &self,
        session: &mut Self::Session,
        ws: Ws<D>,
        message: Message,
    ) -> impl Future<Output = HandlerResult> + Send {
        let _ = (session, ws, message);
        std::future::ready(Ok(()))
    }

    /// A ping arrived. It is answered without this.
    fn ping(
        &self,
        session: &mut Self::Session,
        ws: Ws<D>,
        payload: Bytes,
    ) -> impl Future<Output = HandlerResult> + Send {
        let _ = (session, ws, payload);
        std::future::ready(Ok(()))
    }

    /// A pong arrived.
    fn pong(
        &self,
        session: &mut Self::Session,
        ws: Ws<D>,
        payload: Bytes,
    ) -> impl Future<Output = HandlerResult> + Send {
        let _ = (session, ws, payload);
        std::future::ready(Ok(()))
    }

    /// Backpressure is over: the queue fell to the low-water mark.
    fn drain(
        &self,
        session: &mut Self::Session,
        ws: Ws<D>,
    ) -> impl Future<Output = HandlerResult> + Send {
        let _ = (session, ws);
        std::future::ready(Ok(()))
    }

    /// Something went wrong; `close` follows.
    fn error(
        &self,
        session: &mut Self::Session,
        ws: Ws<D>,
        error: ConnectionError,
    ) -> impl Future<Output = HandlerResult> + Send {
        let _ = (session, ws, error);
        std::future::ready(Ok(()))
    }

    /// The connection is over; exactly once for every `open`.
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

/// What a handler closure may return: nothing, or a [`HandlerResult`], whose error closes the
/// connection with 1011.
///
/// The error is one type, so that `?` works on any error and the closure may end with `Ok(())`.
#[diagnostic::on_unimplemented(
    message = "a handler returns `()` or `Result<(), BoxError>`, not `{Self}`",
    note = "end the handler with a semicolon, or with `Ok(())`"
)]
pub trait Outcome: sealed::Outcome {
    /// As a result.
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

/// One closure of a route.
pub trait Callback<Args>: sealed::Callback<Args> + Send + Sync + 'static {
    /// Calls it.
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

/// The future of a closure, whose outcome is made a result. `map` of `futures` would watch
/// over when that is dropped.
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

/// The place of a closure that was not given.
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

/// The closures of a route, which are its [`Handler`].
pub struct Callbacks<O, M, Pi, Po, Dr, E, C> {
    pub(super) open: O,
    pub(super) message: M,
    pub(super) ping: Pi,
    pub(super) pong: Po,
    pub(super) drain: Dr,
    pub(super) error: E,
    pub(super) close: C,
}

/// A route without any closure.
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
