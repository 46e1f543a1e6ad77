use axeom_ws_core::{Bytes, HyperRuntime, Transport, hyper::upgrade::Upgraded};
#[cfg(feature = "axum")]
use axeom_ws_core::{Peer, http::Extensions};
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::net::TcpStream;

use crate::{Adapter, promote};

/// An [`HttpService`](axeom_ws_core::HttpService) on tokio, for axum and other servers on hyper.
///
/// ```no_run
/// # async fn example(app: axeom_ws_core::App) -> Result<(), axeom_ws_core::BoxError> {
/// use std::time::Duration;
///
/// use axeom_ws_tokio::{HttpService, tokio::net::TcpListener};
/// use hyper_util::{rt::{TokioExecutor, TokioIo}, server::conn::auto};
///
/// let service = HttpService::new(app)?;
/// let listener = TcpListener::bind("127.0.0.1:3000").await?;
/// loop {
///     let (stream, addr) = listener.accept().await?;
///     let service = service.clone();
///     axeom_ws_tokio::tokio::spawn(async move {
///         let builder = auto::Builder::new(TokioExecutor::new());
///         let stream = TokioIo::new(stream);
///         let _ = builder.serve_connection_with_upgrades(stream, service.for_peer(addr)).await;
///     });
/// }
/// # }
/// ```
pub type HttpService = axeom_ws_core::HttpService<Adapter>;

impl HyperRuntime for Adapter {
    fn reclaim(&self, upgraded: Upgraded) -> Result<(Box<dyn Transport>, Bytes), Upgraded> {
        // `hyper-util` puts the stream into a type of its own, and `hyper` alone does not.
        let (stream, read_ahead) = match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
            Ok(parts) => (parts.io, parts.read_buf),
            Err(upgraded) => {
                let parts = upgraded.downcast::<TokioIo<TcpStream>>()?;
                (parts.io, parts.read_buf)
            }
        };
        Ok((promote(stream.into_inner()).boxed(), read_ahead))
    }

    #[cfg(feature = "axum")]
    fn peer(&self, extensions: &Extensions) -> Option<Peer> {
        use std::net::SocketAddr;

        use axum::extract::ConnectInfo;

        let connect_info = || extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.into());
        extensions.get().copied().or_else(connect_info)
    }
}
