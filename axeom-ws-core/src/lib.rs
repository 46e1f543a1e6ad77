//! The runtime-agnostic core of axeom-ws. Programs use the `axeom-ws` package, which
//! adds the adapters; this one names no runtime.
//!
//! - [`App`], [`Route`], [`Ws`], [`Handler`]: what a program is written with.
//! - [`handshake`] and [`protocol`]: the opening handshake and RFC 6455, without I/O.
//! - [`Server`], [`Service`] and [`Accepted`]: three depths of embedding.
//! - [`Runtime`] and [`Transport`]: what an adapter implements.

mod app;
mod close;
mod compression;
mod connection;
mod error;
mod event;
pub mod handshake;
mod hub;
#[cfg(feature = "json")]
mod json;
mod link;
#[cfg(all(test, loom))]
mod loom_support;
mod message;
mod options;
mod origin;
pub mod protocol;
mod runtime;
mod server;
mod sync;
mod telemetry;
mod utf8;
mod violation;

// Requests, responses and payloads of the public API, without a version to get wrong.
pub use bytes::{self, Bytes, BytesMut};
pub use futures;
pub use http;

#[cfg(feature = "json")]
pub use crate::{app::SendJsonError, json::JsonError};
pub use crate::{
    app::{
        Accepted, Answer, App, Context, Group, Handler, HandlerResult, IntoService, Rejection,
        Route, Service, Socket, Ws,
    },
    close::{CloseCode, CloseFrame},
    compression::{Compression, DeflateParams},
    error::{AppError, BoxError, Closed, ConnectionError, SendStatus, ServeError, TrySendError},
    event::Event,
    hub::AppHandle,
    link::ConnectionId,
    message::{Message, SendMessage},
    options::{InvalidOption, Options},
    runtime::{CloseWhole, EndSending, Io, Listener, Peer, Runtime, Transport, start_workers},
    server::{Serve, Server, serve},
    utf8::Utf8Bytes,
};

/// The types a [`Route`] is made of while it is written down. Programs seldom name them.
pub mod route {
    pub use crate::app::{
        Callback, Callbacks, Endpoint, Handled, NoCallbacks, Outcome, SocketLoop, Unset,
    };
}

/// The types a context is made of: see [`context!`](crate::context!) to spell them.
pub mod context {
    pub use crate::app::{FoundIn, Get, Here, There, With};
}

/// Spells the type of a context by its values, the newest first.
///
/// `context![User, Db]` is `With<User, With<Db, ()>>`: what handlers have after
/// `.decorate(db).derive(..)`, with a derive that makes a `User`.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, Ws, context};
///
/// struct Db;
/// struct User;
///
/// async fn open(ws: Ws<context![User, Db]>) {
///     let (_db, _user): (&Db, &User) = (ws.get(), ws.get());
/// }
///
/// let app = App::new()
///     .decorate(Db)
///     .derive(async |_| Ok(User))
///     .ws("/", |route| route.open(open));
/// # let _ = app;
/// ```
#[macro_export]
macro_rules! context {
    () => { () };
    ($newest:ty $(, $before:ty)* $(,)?) => {
        $crate::context::With<$newest, $crate::context!($($before),*)>
    };
}
