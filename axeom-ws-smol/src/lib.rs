//! The smol adapter of axeom-ws: it promotes smol's own TCP sockets and runs
//! connections on an executor of the program, or on one of its own with a thread per
//! core.
//!
//! Use it through the `axeom-ws` package, as `axeom_ws::smol`. The other adapters
//! have the same items, and behave the same.

mod runtime;
mod transport;

use std::{
    fmt::Debug,
    net::{TcpStream, ToSocketAddrs},
};

use async_io::Async;
use axeom_ws_core::{Accepted, IntoService, Io, Peer, ServeError, Service};
use futures::io::{AsyncRead, AsyncWrite};

// Whose types are in the signatures here.
pub use {async_executor, async_io, futures};

pub use crate::{
    runtime::Adapter,
    transport::{Listener, ShutDown, Tcp, promote},
};

/// A server on smol.
pub type Server = axeom_ws_core::Server<Adapter>;

/// Binds to an address and serves an [`App`](axeom_ws_core::App), or a [`Service`] that it was
/// built to, until it is shut down.
///
/// # Errors
/// The app cannot be built, or the address not bound.
pub async fn serve(
    app: impl IntoService,
    addr: impl ToSocketAddrs + Debug,
) -> Result<(), ServeError> {
    axeom_ws_core::serve::<Adapter>(app, addr).await
}

/// Serves a connection that the program accepted itself, before anything was read from
/// it, to its end.
///
/// The stream is promoted as the listener would: `TCP_NODELAY` is set.
pub async fn serve_connection(service: &Service, stream: Async<TcpStream>, peer: impl Into<Peer>) {
    service.serve_transport(Adapter::default(), promote(stream), peer).await;
}

/// As [`serve_connection`], over any other stream: TLS, a Unix socket, memory.
pub async fn serve_stream<T>(service: &Service, stream: T, peer: impl Into<Peer>)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    service.serve_transport(Adapter::default(), Io::new(stream), peer).await;
}

/// Runs a connection that another HTTP server upgraded, to its end.
///
/// `accepted` is what [`Service::respond`] made of the request; its response must have
/// been sent. `read_ahead` is what was read past the request head.
pub async fn serve_upgraded<T>(accepted: Accepted, stream: T, read_ahead: &[u8])
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    accepted.run(Adapter::default(), Io::new(stream), read_ahead).await;
}
