use std::{fmt, future::Future, marker::PhantomData, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::HeaderValue;
use tracing::Span;

use super::handler::{Callbacks, Handler, NoCallbacks, Outcome, Unset};
use crate::{
    CloseCode, ConnectionError, Message, Options, Socket, Utf8Bytes, Ws,
    connection::{Driver, Run, run_handler, run_socket},
};

/// A WebSocket route under construction: what its connections do.
///
/// It arrives in the closure of [`App::ws`](crate::App::ws). Handlers take an owned
/// [`Ws`] and may be `async |ws| ..` or `|ws| async move ..`; they return nothing or a
/// `Result`.
pub struct Route<D, E = Handled<NoCallbacks>> {
    pub(super) endpoint: E,
    pub(super) options: Options,
    pub(super) protocols: Protocols,
    data: PhantomData<fn() -> D>,
}

/// How a route chooses a subprotocol.
#[derive(Clone, Default)]
pub(crate) struct Protocols {
    pub(super) choose: Option<Choose>,
    pub(super) required: bool,
    /// What the route lists; empty with a callback.
    pub(super) listed: Vec<String>,
}

type Choose = Arc<dyn Fn(&[&str]) -> Option<String> + Send + Sync>;

impl Protocols {
    /// The chosen one among those offered, or `Err` if the route requires one.
    pub(super) fn choose(&self, offered: &[&str]) -> Result<Option<HeaderValue>, ()> {
        let chosen = match &self.choose {
            Some(choose) => choose(offered),
            None => self.listed.iter().find(|own| offered.contains(&own.as_str())).cloned(),
        };
        // The answer is always one of the offered, which are tokens.
        let chosen = chosen
            .filter(|chosen| offered.contains(&chosen.as_str()))
            .and_then(|chosen| HeaderValue::try_from(chosen).ok());
        if chosen.is_none() && self.required { Err(()) } else { Ok(chosen) }
    }
}

impl<D> Route<D> {
    pub(super) fn new() -> Self {
        Self::with(Handled(Callbacks::default()), Options::new(), Protocols::default())
    }

    /// Handles connections with a [`Handler`].
    pub fn handler<H: Handler<D>>(self, handler: H) -> Route<D, Handled<H>> {
        Route::with(Handled(handler), self.options, self.protocols)
    }

    /// Handles each connection with a loop of its own:
    ///
    /// ```
    /// use axeom_ws_core::{App, SocketEvent};
    ///
    /// let app = App::new().ws("/echo", |route| {
    ///     route.socket(async |mut socket| {
    ///         while let Some(event) = socket.recv().await {
    ///             if let SocketEvent::Message(message) = event {
    ///                 let _ = socket.send(message).await;
    ///             }
    ///         }
    ///     })
    /// });
    /// # let _ = app;
    /// ```
    pub fn socket<F, Fut>(self, handler: F) -> Route<D, SocketLoop<F>>
    where
        F: Fn(Socket<D>) -> Fut + Send + Sync + 'static,
        Fut: Future + Send,
        Fut::Output: Outcome,
    {
        Route::with(SocketLoop(handler), self.options, self.protocols)
    }
}

impl<D, E> Route<D, E> {
    fn with(endpoint: E, options: Options, protocols: Protocols) -> Self {
        Self { endpoint, options, protocols, data: PhantomData }
    }

    /// How this route's connections behave, where it differs from the app.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options.or(&self.options);
        self
    }

    /// Speaks these subprotocols (RFC 6455 §1.9): the first of them that a client
    /// offers is chosen, or none. Default: none are spoken.
    pub fn protocols<P: Into<String>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.protocols.listed = protocols.into_iter().map(Into::into).collect();
        self.protocols.choose = None;
        self
    }

    /// Chooses a subprotocol among those a client offers, in its order of preference.
    /// An answer that was not offered counts as none; a panic is answered with 500.
    pub fn select_protocol(
        mut self,
        choose: impl Fn(&[&str]) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.protocols.choose = Some(Arc::new(choose));
        self.protocols.listed = Vec::new();
        self
    }

    /// Refuses a client with 400 when no subprotocol can be chosen.
    pub fn require_protocol(mut self) -> Self {
        self.protocols.required = true;
        self
    }
}

impl<D, E> fmt::Debug for Route<D, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A setter for one closure, which takes the place of an [`Unset`] one. The lists in
/// brackets are the types and names of all closures, around the one that is set.
macro_rules! closure {
    (
        $(#[$doc:meta])*
        $name:ident($($arg:ty),+): $type:ident,
        [$($before:ident)*] [$($after:ident)*], [$($field:ident)+]
    ) => {
        impl<D, $($before,)* $($after,)*>
            Route<D, Handled<Callbacks<$($before,)* Unset, $($after,)*>>>
        {
            $(#[$doc])*
            pub fn $name<$type, Fut>(
                self,
                handler: $type,
            ) -> Route<D, Handled<Callbacks<$($before,)* $type, $($after,)*>>>
            where
                $type: Fn($($arg),+) -> Fut + Send + Sync + 'static,
                Fut: Future + Send,
                Fut::Output: Outcome,
            {
                let Callbacks { $($field),+ } = self.endpoint.0;
                let Unset = $name;
                let $name = handler;
                let callbacks = Callbacks { $($field),+ };
                Route::with(Handled(callbacks), self.options, self.protocols)
            }
        }
    };
}

closure! {
    /// Runs first, once the handshake is done.
    open(Ws<D>): O,
    [] [M Pi Po Dr E C], [open message ping pong drain error close]
}
closure! {
    /// Runs for every whole message.
    message(Ws<D>, Message): M,
    [O] [Pi Po Dr E C], [open message ping pong drain error close]
}
closure! {
    /// Runs for every ping. It is answered without this.
    ping(Ws<D>, Bytes): Pi,
    [O M] [Po Dr E C], [open message ping pong drain error close]
}
closure! {
    /// Runs for every pong.
    pong(Ws<D>, Bytes): Po,
    [O M Pi] [Dr E C], [open message ping pong drain error close]
}
closure! {
    /// Runs when backpressure is over: once for every time that the queue rose over the
    /// high-water mark and fell to the low-water mark.
    drain(Ws<D>): Dr,
    [O M Pi Po] [E C], [open message ping pong drain error close]
}
closure! {
    /// Runs before `close` when something went wrong.
    error(Ws<D>, ConnectionError): E,
    [O M Pi Po Dr] [C], [open message ping pong drain error close]
}
closure! {
    /// Runs last, exactly once for every `open`, whatever ended the connection. The code
    /// and reason are those of the close frame that started the closing handshake: the
    /// peer's ([`CloseCode::NO_STATUS`] if it has none) or this side's, or
    /// [`CloseCode::ABNORMAL`] without one.
    close(Ws<D>, CloseCode, Utf8Bytes): C,
    [O M Pi Po Dr E] [], [open message ping pong drain error close]
}

/// What runs a route's connections.
pub trait Endpoint<D>: Send + Sync + 'static {
    /// Runs one, to its end.
    #[doc(hidden)]
    fn run(self: Arc<Self>, connection: Connection, ws: Ws<D>) -> BoxFuture<'static, ()>;
}

/// A connection that is about to run.
#[doc(hidden)]
pub struct Connection {
    pub(crate) driver: Driver,
    pub(crate) span: Span,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

/// An [`Endpoint`] of a [`Handler`].
#[derive(Debug)]
pub struct Handled<H>(H);

impl<D: Send + Sync + 'static, H: Handler<D>> Endpoint<D> for Handled<H> {
    fn run(self: Arc<Self>, connection: Connection, ws: Ws<D>) -> BoxFuture<'static, ()> {
        let Connection { driver, span } = connection;
        let link = Arc::clone(ws.link());
        let handling = run_handler(driver, ws, self, |endpoint| &endpoint.0);
        Box::pin(Run::new(link, span, handling))
    }
}

/// An [`Endpoint`] of a handler that owns the loop.
#[derive(Debug)]
pub struct SocketLoop<F>(F);

impl<D, F, Fut> Endpoint<D> for SocketLoop<F>
where
    D: Send + Sync + 'static,
    F: Fn(Socket<D>) -> Fut + Send + Sync + 'static,
    Fut: Future + Send,
    Fut::Output: Outcome,
{
    fn run(self: Arc<Self>, connection: Connection, ws: Ws<D>) -> BoxFuture<'static, ()> {
        let Connection { driver, span } = connection;
        let link = Arc::clone(ws.link());
        let handler = async move |socket| self.0(socket).await.into_result();
        let handling = run_socket(driver, ws, handler);
        Box::pin(Run::new(link, span, handling))
    }
}
