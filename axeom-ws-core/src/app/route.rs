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

/// A WebSocket route under construction: its handlers, options and subprotocols.
///
/// The closure of [`App::ws`](crate::App::ws) receives and returns it. Handlers take an owned
/// [`Ws`], and may be written as `async |ws| ..` or `|ws| async move ..`. They return nothing, or
/// a `Result<(), BoxError>` so that `?` works on any error:
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
    pub(super) terms: Terms<D>,
    data: PhantomData<fn() -> D>,
}

/// What a route says besides who handles its connections.
pub(super) struct Terms<D> {
    pub(super) options: Options,
    /// What is put before the names of topics.
    pub(super) topics: String,
    pub(super) protocols: Subprotocols<D>,
}

impl<D> Default for Terms<D> {
    fn default() -> Self {
        let protocols = Subprotocols::default();
        Self { options: Options::new(), topics: String::new(), protocols }
    }
}

pub(super) struct Subprotocols<D> {
    choice: Choice<D>,
    required: bool,
}

type Select<D> = Box<dyn Fn(&Context<D>, &[&str]) -> Option<String> + Send + Sync>;

enum Choice<D> {
    /// Chooses the first of these that the client offers.
    Listed(Vec<String>),
    Select(Select<D>),
}

impl<D> Default for Subprotocols<D> {
    fn default() -> Self {
        Self { choice: Choice::Listed(Vec::new()), required: false }
    }
}

impl<D> Subprotocols<D> {
    /// Chooses one of the offered subprotocols. `Err` if there is none and the route requires one.
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

    /// The subprotocols that the route lists, to be checked when the app is built.
    pub(super) fn listed(&self) -> &[String] {
        match &self.choice {
            Choice::Listed(own) => own,
            Choice::Select(_) => &[],
        }
    }
}

impl<D> Route<D> {
    pub(super) fn new() -> Self {
        Self::with(Handled(Callbacks::default()), Terms::default())
    }

    /// Handles connections with a [`Handler`], in place of the closures of this route.
    pub fn handler<H: Handler<D>>(self, handler: H) -> Route<D, Handled<H>> {
        Route::with(Handled(handler), self.terms)
    }

    /// Handles each connection with one function, which receives the events in a loop. See
    /// [`Socket`].
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
        Route::with(SocketLoop(handler), self.terms)
    }
}

impl<D, E> Route<D, E> {
    fn with(endpoint: E, terms: Terms<D>) -> Self {
        Self { endpoint, terms, data: PhantomData }
    }

    /// Sets options for this route. They take precedence over those of its app and groups.
    pub fn options(mut self, options: Options) -> Self {
        self.terms.options = options.or(&self.terms.options);
        self
    }

    /// Puts `prefix` before every name of a topic that the handlers of this route pass to their
    /// [`Ws`], behind the prefixes of the groups around the route. Default: none, and a second call
    /// replaces the first.
    ///
    /// All routes and groups of an app share one namespace of topics. With a prefix, a route has a
    /// part of it to itself, so that a peer which chooses a name cannot reach the topics of others:
    ///
    /// ```
    /// # use axeom_ws_core as axeom_ws;
    /// use axeom_ws::App;
    ///
    /// let app = App::new()
    ///     .ws("/chat/:room", |route| {
    ///         // The room `lobby` is the topic `chat/lobby`.
    ///         route.topics("chat/").open(async |ws| { ws.subscribe(ws.param("room")); })
    ///     })
    ///     .ws("/admin", |route| route.open(async |ws| { ws.subscribe("admin/events"); }));
    ///
    /// // Outside of the route, its topics have their full names.
    /// assert_eq!(app.handle().publish("chat/lobby", "the server restarts at noon"), 0);
    /// ```
    ///
    /// A handler reaches all names that begin with its prefix. So no prefix should begin with
    /// another one, unless its topics are meant for both: end each with a `/`.
    pub fn topics(mut self, prefix: impl Into<String>) -> Self {
        self.terms.topics = prefix.into();
        self
    }

    /// Sets the subprotocols that this route supports (RFC 6455 §1.9). The first of them that the
    /// client offers is chosen. Default: none.
    ///
    /// A subprotocol that is not a token (RFC 6455 §4.1) is an error when the app is built.
    pub fn protocols<P: Into<String>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.terms.protocols.choice =
            Choice::Listed(protocols.into_iter().map(Into::into).collect());
        self
    }

    /// Chooses the subprotocol with a function, in place of [`protocols`](Self::protocols). It gets
    /// the subprotocols that the client offers, in the client's order of preference, after the
    /// derives have run.
    ///
    /// A returned subprotocol that was not offered counts as `None`. A panic is answered with 500.
    pub fn select_protocol(
        mut self,
        select: impl Fn(&Context<D>, &[&str]) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.terms.protocols.choice = Choice::Select(Box::new(select));
        self
    }

    /// Refuses clients with 400 if no subprotocol is chosen. Default: such a client is accepted
    /// without one.
    pub fn require_protocol(mut self) -> Self {
        self.terms.protocols.required = true;
        self
    }
}

impl<D, E> fmt::Debug for Route<D, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("options", &self.terms.options)
            .field("topics", &self.terms.topics)
            .finish_non_exhaustive()
    }
}

/// Defines the setter of one closure, whose type replaces [`Unset`]. The lists in brackets are the
/// type parameters before and after that closure's, and the names of all closures.
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
                Route::with(Handled(callbacks), self.terms)
            }
        }
    };
}

closure! {
    /// Runs first, once the 101 response was sent.
    open(Ws<D>): O,
    [] [M Pi Po Dr E C], [open message ping pong drain error close]
}
closure! {
    /// Runs for every message, once all its fragments have arrived (RFC 6455 §5.6).
    message(Ws<D>, Message): M,
    [O] [Pi Po Dr E C], [open message ping pong drain error close]
}
closure! {
    /// Runs for every ping (RFC 6455 §5.5.2), which the connection has answered already.
    ping(Ws<D>, Bytes): Pi,
    [O M] [Po Dr E C], [open message ping pong drain error close]
}
closure! {
    /// Runs for every pong, whether it answers a ping or not (RFC 6455 §5.5.3).
    pong(Ws<D>, Bytes): Po,
    [O M Pi] [Dr E C], [open message ping pong drain error close]
}
closure! {
    /// Runs when backpressure ends: once for every time that the queue has risen over the
    /// high-water mark and fallen to the low-water mark.
    drain(Ws<D>): Dr,
    [O M Pi Po] [E C], [open message ping pong drain error close]
}
closure! {
    /// Runs when something went wrong. `close` follows.
    error(Ws<D>, ConnectionError): E,
    [O M Pi Po Dr] [C], [open message ping pong drain error close]
}
closure! {
    /// Runs last, exactly once for every `open`, whatever ended the connection. Only a connection
    /// whose server or task is dropped ends without it.
    ///
    /// The code and reason are those of the close frame, from either side, that started the closing
    /// handshake. The code is [`CloseCode::NO_STATUS`] if that frame had none, and
    /// [`CloseCode::ABNORMAL`] if the connection ended without a closing handshake.
    close(Ws<D>, CloseCode, Utf8Bytes): C,
    [O M Pi Po Dr E] [], [open message ping pong drain error close]
}

/// What handles the connections of a route: a [`Handler`], closures, or a [`Socket`] loop.
pub trait Endpoint<D>: sealed::Endpoint<D> {}

#[allow(unnameable_types, reason = "nobody else is to implement these")]
pub(super) mod sealed {
    use super::{Arc, BoxFuture, Driver, Span, Ws};

    pub trait Endpoint<D>: Send + Sync + 'static {
        fn run(self: Arc<Self>, connection: Connection, ws: Ws<D>) -> BoxFuture<'static, ()>;
    }

    pub struct Connection {
        pub(crate) driver: Driver,
        pub(crate) span: Span,
    }
}

/// The [`Endpoint`] of a route with a [`Handler`] or closures.
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

/// The [`Endpoint`] of a route with a [`Socket`] loop.
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
