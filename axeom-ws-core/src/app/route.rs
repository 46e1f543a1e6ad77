use std::{fmt, future::Future, marker::PhantomData, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;
use tracing::Span;

use super::{
    context::Context,
    handler::{Callbacks, Handler, NoCallbacks, Outcome, Unset},
    run::run_handler,
    socket::{Socket, run_socket},
    ws::Ws,
};
use crate::{
    close::CloseCode,
    connection::{Driver, Task},
    error::ConnectionError,
    message::Message,
    options::Options,
    utf8::Utf8Bytes,
};

/// A WebSocket route under construction: what its connections do.
///
/// It arrives in the closure of [`App::ws`](crate::App::ws). Handlers take an owned
/// [`Ws`] and may be `async |ws| ..` or `|ws| async move ..`; they return nothing or a
/// `Result<(), BoxError>`, so that `?` works on any error:
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::App;
///
/// let app = App::new().ws("/double", |route| {
///     route.message(async |ws, msg| {
///         let number: i64 = msg.as_text().unwrap_or_default().parse()?;
///         ws.send((number * 2).to_string()).await?;
///         Ok(())
///     })
/// });
/// # let _ = app;
/// ```
pub struct Route<D, E = Handled<NoCallbacks>> {
    pub(super) endpoint: E,
    pub(super) options: Options,
    pub(super) protocols: Subprotocols<D>,
    data: PhantomData<fn() -> D>,
}

/// How a route chooses a subprotocol.
pub(super) struct Subprotocols<D> {
    choice: Choice<D>,
    required: bool,
}

type Select<D> = Box<dyn Fn(&Context<D>, &[&str]) -> Option<String> + Send + Sync>;

enum Choice<D> {
    /// The first of these that is offered.
    Listed(Vec<String>),
    Select(Select<D>),
}

impl<D> Default for Subprotocols<D> {
    fn default() -> Self {
        Self { choice: Choice::Listed(Vec::new()), required: false }
    }
}

impl<D> Subprotocols<D> {
    /// The chosen one among those offered, or `Err` if the route requires one.
    pub(super) fn choose(
        &self,
        context: &Context<D>,
        offered: &[&str],
    ) -> Result<Option<String>, ()> {
        let chosen = match &self.choice {
            Choice::Listed(own) => own.iter().find(|own| offered.contains(&own.as_str())).cloned(),
            Choice::Select(select) => select(context, offered),
        };
        let chosen = chosen.filter(|chosen| offered.contains(&chosen.as_str()));
        if chosen.is_none() && self.required { Err(()) } else { Ok(chosen) }
    }

    /// What the route lists; nothing if it selects.
    pub(super) fn listed(&self) -> &[String] {
        match &self.choice {
            Choice::Listed(own) => own,
            Choice::Select(_) => &[],
        }
    }
}

impl<D> Route<D> {
    pub(super) fn new() -> Self {
        Self::with(Handled(Callbacks::default()), Options::new(), Subprotocols::default())
    }

    /// Handles connections with a [`Handler`].
    pub fn handler<H: Handler<D>>(self, handler: H) -> Route<D, Handled<H>> {
        Route::with(Handled(handler), self.options, self.protocols)
    }

    /// Handles each connection with a loop of its own:
    ///
    /// ```
    /// # use axeom_ws_core as axeom_ws;
    /// use axeom_ws::{App, Event};
    ///
    /// let app = App::new().ws("/echo", |route| {
    ///     route.socket(async |mut socket| {
    ///         while let Some(event) = socket.recv().await {
    ///             if let Event::Message(message) = event {
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
    fn with(endpoint: E, options: Options, protocols: Subprotocols<D>) -> Self {
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
        self.protocols.choice = Choice::Listed(protocols.into_iter().map(Into::into).collect());
        self
    }

    /// Chooses a subprotocol among those a client offers, in its order of preference, once
    /// the derives have run. An answer that was not offered counts as none; a panic is
    /// answered with 500.
    pub fn select_protocol(
        mut self,
        select: impl Fn(&Context<D>, &[&str]) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.protocols.choice = Choice::Select(Box::new(select));
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
pub trait Endpoint<D>: sealed::Endpoint<D> {}

#[allow(unnameable_types, reason = "nobody else is to implement these")]
pub(super) mod sealed {
    use super::{Arc, BoxFuture, Driver, Span, Ws};

    pub trait Endpoint<D>: Send + Sync + 'static {
        /// Runs a connection, to its end.
        fn run(self: Arc<Self>, connection: Connection, ws: Ws<D>) -> BoxFuture<'static, ()>;
    }

    /// A connection that is about to run.
    pub struct Connection {
        pub(crate) driver: Driver,
        pub(crate) span: Span,
    }
}

/// The [`Endpoint`] of a [`Handler`].
#[derive(Debug)]
pub struct Handled<H>(H);

impl<D: Send + Sync + 'static, H: Handler<D>> Endpoint<D> for Handled<H> {}

impl<D: Send + Sync + 'static, H: Handler<D>> sealed::Endpoint<D> for Handled<H> {
    fn run(self: Arc<Self>, connection: sealed::Connection, ws: Ws<D>) -> BoxFuture<'static, ()> {
        let member = Arc::clone(ws.member());
        let handling = run_handler(connection.driver, ws, self, |endpoint| &endpoint.0);
        Box::pin(Task::new(member, connection.span, handling))
    }
}

/// The [`Endpoint`] of a handler that owns the loop.
#[derive(Debug)]
pub struct SocketLoop<F>(F);

impl<D, F, Fut> Endpoint<D> for SocketLoop<F>
where
    D: Send + Sync + 'static,
    F: Fn(Socket<D>) -> Fut + Send + Sync + 'static,
    Fut: Future + Send,
    Fut::Output: Outcome,
{
}

impl<D, F, Fut> sealed::Endpoint<D> for SocketLoop<F>
where
    D: Send + Sync + 'static,
    F: Fn(Socket<D>) -> Fut + Send + Sync + 'static,
    Fut: Future + Send,
    Fut::Output: Outcome,
{
    fn run(self: Arc<Self>, connection: sealed::Connection, ws: Ws<D>) -> BoxFuture<'static, ()> {
        let member = Arc::clone(ws.member());
        let handler = async move |socket| self.0(socket).await.into_result();
        let handling = run_socket(connection.driver, ws, handler);
        Box::pin(Task::new(member, connection.span, handling))
    }
}
