//! The async-std adapter of axeom-ws. It uses async-std's own TCP sockets, and runs connections
//! on async-std's global executor.
//!
//! Programs use it as `axeom_ws::async_std`, through the `axeom-ws` package. All adapters have the
//! same functions, and behave the same.
//!
//! **Legacy**: async-std is discontinued (RUSTSEC-2025-0052). This adapter is for
//! programs that still run on it; new ones are better off with smol.

#[cfg(feature = "hyper")]
mod http;
mod runtime;
mod transport;
#[cfg(unix)]
mod unix;

use std::{fmt::Debug, net::ToSocketAddrs};

use async_std::net::TcpStream;
use axeom_ws_core::{Accepted, IntoService, Io, Peer, ServeError, Service};
use futures::io::{AsyncRead, AsyncWrite};

// Re-exported because their types are in the signatures here.
pub use async_std;
pub use futures;

#[cfg(feature = "hyper")]
pub use crate::http::HttpService;
#[cfg(unix)]
pub use crate::unix::UnixListener;
pub use crate::{
    runtime::Adapter,
    transport::{Listener, ShutDown, Tcp, promote},
};

/// A [`Server`](axeom_ws_core::Server) on async-std.
///
/// ```no_run
/// # async fn example(app: axeom_ws_core::App) -> Result<(), axeom_ws_core::ServeError> {
/// let server = axeom_ws_async_std::Server::bind("127.0.0.1:3000").await?;
/// println!("listening on {}", server.local_addr());
/// server.serve(app).await
/// # }
/// ```
pub type Server = axeom_ws_core::Server<Adapter>;

/// A [`ConnectionSet`](axeom_ws_core::ConnectionSet) on async-std, for programs that accept connections
/// themselves.
pub type ConnectionSet = axeom_ws_core::ConnectionSet<Adapter>;

/// Binds to an address, and serves an [`App`](axeom_ws_core::App) or [`Service`] there until
/// [`AppHandle::shutdown`](axeom_ws_core::AppHandle::shutdown) is called.
///
/// Dropping the future ends the server at once: every connection is cut without its `close`
/// handler.
///
/// ```no_run
/// # async fn example(app: axeom_ws_core::App) -> Result<(), axeom_ws_core::ServeError> {
/// axeom_ws_async_std::serve(app, "127.0.0.1:3000").await
/// # }
/// ```
///
/// # Errors
/// [`ServeError::Bind`] if the address cannot be bound, and [`ServeError::App`] if the app cannot
/// be built.
pub async fn serve(
    app: impl IntoService,
    addr: impl ToSocketAddrs + Debug,
) -> Result<(), ServeError> {
    axeom_ws_core::serve::<Adapter>(app, addr).await
}

/// Serves a TCP connection that the program accepted, until it ends. Nothing must have been read
/// from the stream before. `TCP_NODELAY` is set on it, as [`promote`] does.
///
/// Dropping the future cuts the connection, and its `close` handler does not run.
///
/// ```no_run
/// use axeom_ws_async_std::{async_std::net::TcpListener, serve_connection};
///
/// # async fn example(
/// #     service: axeom_ws_core::Service,
/// #     listener: TcpListener,
/// # ) -> std::io::Result<()> {
/// let (stream, peer) = listener.accept().await?;
/// serve_connection(&service, stream, peer).await;
/// # Ok(())
/// # }
/// ```
pub async fn serve_connection(service: &Service, stream: TcpStream, peer: impl Into<Peer>) {
    service.serve_transport(Adapter::default(), promote(stream), peer).await;
}

/// Does what [`serve_connection`] does, over any other stream, such as TLS, a Unix socket, or a
/// stream in memory.
pub async fn serve_stream<T>(service: &Service, stream: T, peer: impl Into<Peer>)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    service.serve_transport(Adapter::default(), Io::new(stream), peer).await;
}

/// Runs a connection that another HTTP server has upgraded, until it ends.
///
/// `accepted` comes from [`Service::respond`], and its response must have been sent. `read_ahead`
/// holds the bytes that were read past the request head.
///
/// Dropping the future cuts the connection, and its `close` handler does not run.
pub async fn serve_upgraded<T>(accepted: Accepted, stream: T, read_ahead: &[u8])
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    accepted.run(Adapter::default(), Io::new(stream), read_ahead).await;
}
