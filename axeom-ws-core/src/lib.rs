//! The runtime-agnostic core of axeom-ws. Programs use the `axeom-ws` package, which
//! adds the adapters; this one names no runtime.
//!
//! - [`App`], [`Route`], [`Ws`], [`Handler`]: what a program is written with.
//! - [`handshake`] and [`protocol`]: the opening handshake and RFC 6455, without I/O.
//! - [`Server`], [`Service`] and [`Accepted`]: three depths of embedding.
//! - [`Runtime`]: what an adapter implements.

mod app;
mod close;
mod compression;
mod connection;
mod error;
pub mod handshake;
#[cfg(feature = "json")]
mod json;
mod message;
#[cfg(all(test, loom))]
mod model;
mod options;
pub mod protocol;
mod pubsub;
mod registry;
mod runtime;
mod server;
mod sync;
mod tasks;
mod telemetry;
mod utf8;

// Requests, responses and payloads of the public API, without a version to get wrong.
pub use bytes::Bytes;
pub use http;

#[cfg(feature = "json")]
pub use crate::json::{JsonError, SendJsonError};
pub use crate::{
    app::{
        Accepted, App, Callback, Callbacks, Connection, Context, Endpoint, FoundIn, Get, Handled,
        Handler, HandlerResult, Here, NoCallbacks, Outcome, Rejection, Route, Service, SocketLoop,
        There, Unset, With,
    },
    close::{CloseCode, CloseFrame},
    compression::{Compression, DeflateParams},
    connection::{ConnectionId, Socket, SocketEvent, Ws},
    error::{AppError, BoxError, Closed, ConnectionError, SendStatus, ServeError, TrySendError},
    message::{Message, SendMessage},
    options::{InvalidOption, Options},
    registry::ServerHandle,
    runtime::{Listener, Runtime, Stream},
    server::{Serve, Server},
    utf8::Utf8Bytes,
};
