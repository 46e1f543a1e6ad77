//! The runtime-agnostic core of axeom-ws. Programs depend on the `axeom-ws` package instead,
//! which adds an adapter for each runtime to these items.
//!
//! - [`App`], [`Route`], [`Ws`] and [`Handler`] are what programs are written with.
//! - [`Server`], [`ConnectionSet`], [`Service`] and [`Accepted`] run an app: as a whole server, on
//!   connections that the program accepts, or on requests that another HTTP server has parsed.
//! - [`Runtime`] and [`Transport`] are what an adapter implements.
//! - [`handshake`] and [`protocol`] implement RFC 6455 without I/O.

mod app;
mod authority;
mod close;
mod compression;
mod connection;
mod contained;
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
mod networks;
mod options;
mod origin;
pub mod protocol;
#[cfg(feature = "proxy-protocol")]
mod proxy_protocol;
mod runtime;
mod server;
mod shrink;
mod sync;
mod telemetry;
#[cfg(feature = "rustls")]
mod tls;
mod utf8;
mod violation;

// Re-exported so that programs use the same versions as the public API.
pub use bytes::{self, Bytes, BytesMut};
pub use futures;
pub use http;
pub use socket2;

#[cfg(feature = "rustls")]
pub use futures_rustls::rustls;
#[cfg(feature = "hyper")]
pub use hyper;

#[cfg(feature = "proxy-protocol")]
pub use crate::proxy_protocol::{ProxyProtocol, ProxyProtocolError};
#[cfg(unix)]
pub use crate::runtime::{PeerCredentials, SocketFile, bind_unix};
#[cfg(feature = "hyper")]
pub use crate::server::{HttpService, HyperRuntime, Or};
#[cfg(feature = "rustls")]
pub use crate::tls::{ClientCertificates, Tls, TlsError};
#[cfg(feature = "json")]
pub use crate::{app::SendJsonError, json::JsonError};
pub use crate::{
    app::{
        Accepted, Answer, App, Context, Group, Handler, HandlerResult, IntoService, Rejection,
        ResponseHead, Route, Service, Socket, Ws,
    },
    close::{CloseCode, CloseFrame},
    compression::{Compression, DeflateParams},
    error::{AppError, BoxError, Closed, ConnectionError, SendStatus, ServeError, TrySendError},
    event::Event,
    hub::AppHandle,
    link::ConnectionId,
    message::{Message, SendMessage},
    networks::{InvalidNetwork, Networks},
    options::{InvalidOption, Options},
    runtime::{
        Acceptor, CloseWhole, EndSending, Incoming, Io, Listener, LocalAddr, Peer, Runtime,
        TcpOptions, Transport, TransportStream, start_workers,
    },
    server::{ConnectionSet, Serve, Server, serve},
    utf8::Utf8Bytes,
};
/// The type parameters of a [`Route`] and the bounds on them. Programs seldom name them.
pub mod route {
    pub use crate::app::{
        Callback, Callbacks, Endpoint, Handled, NoCallbacks, Outcome, SocketLoop, Unset,
    };
}

/// The types that make up a context. The macro [`context!`](crate::context!) spells them out.
pub mod context {
    pub use crate::app::{FoundIn, Get, Here, There, With};
}

/// Writes the type of a context as a list of its values, the newest first.
///
/// `context![User, Db]` stands for `With<User, With<Db, ()>>`, which is the context of handlers
/// after `.decorate(db).derive(..)`, where the derive returns a `User`.
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
