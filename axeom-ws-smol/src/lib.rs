//! The smol adapter of axeom-ws: it promotes smol's own TCP sockets and runs
//! connections on an executor of the program, or on one of its own with a thread per
//! core.
//!
//! Use it through the `axeom-ws` package, as `axeom_ws::smol`. The other adapters
//! have the same items, and behave the same.

mod runtime;
mod stream;

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};

use async_io::Async;
use axeom_ws_core::{Accepted, App, ServeError, Service};
use futures::io::{AsyncRead, AsyncWrite};

pub use crate::{
    runtime::Adapter,
    stream::{Listener, Stream},
};

/// A server on smol.
pub type Server = axeom_ws_core::Server<Adapter>;

/// Binds to an address and serves an app, until it is shut down.
///
/// # Errors
/// The app cannot be built, or the address not bound.
pub async fn serve<D>(app: App<D>, addr: impl ToSocketAddrs) -> Result<(), ServeError>
where
    D: Clone + Send + Sync + 'static,
{
    Server::bind(addr).await?.serve(app).await
}

/// Serves a connection that the program accepted itself, before anything was read from
/// it, to its end.
///
/// The stream is promoted as the listener would: `TCP_NODELAY` is set.
pub async fn serve_connection(
    service: &Service,
    stream: Async<TcpStream>,
    remote_addr: SocketAddr,
) {
    let stream = Stream::promote(stream);
    service.serve_stream(Adapter::default(), stream, remote_addr).await;
}

/// As [`serve_connection`], over any other stream: TLS, a Unix socket, memory.
pub async fn serve_stream<T>(service: &Service, stream: T, remote_addr: SocketAddr)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    service.serve_stream(Adapter::default(), stream, remote_addr).await;
}

/// Runs a connection that another HTTP server upgraded, to its end.
///
/// `accepted` is what [`Service::handshake`] made of the request; its response must have
/// been sent. `read_ahead` is what was read past the request head.
pub async fn serve_upgraded<T>(accepted: Accepted, stream: T, read_ahead: &[u8])
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    accepted.run(Adapter::default(), stream, read_ahead).await;
}
