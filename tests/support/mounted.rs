//! Apps that axum has mounted, with clients over HTTP/1.1 and HTTP/2.
#![allow(unused_imports, reason = "each test binary uses its own part of this")]

use std::{
    future::{Future, IntoFuture, pending},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use async_tungstenite::{
    WebSocketStream,
    tokio::TokioAdapter,
    tungstenite::{
        self,
        handshake::client::{Request, Response},
        protocol::Role,
    },
};
use axeom_ws::{HttpService, ServeError, Service, TransportStream, tokio::ConnectionSet};
use axum::Router;
use futures::{AsyncRead, AsyncWrite, channel::oneshot};
use tokio::net::{TcpListener, TcpStream};

use super::{
    TestRuntime,
    raw::Raw,
    runtimes::{Tokio, as_on_tokio, delegate_runtime},
};

/// Serves an app under axum until it is shut down.
async fn serve(
    service: Service,
    grace: Duration,
) -> (SocketAddr, oneshot::Receiver<Result<(), ServeError>>) {
    let connections = ConnectionSet::new(service).unwrap();
    let router = Router::new().fallback_service(HttpService::from(connections.clone()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let router = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, router)
        .with_graceful_shutdown(connections.closing_on(pending()))
        .into_future();
    let (end, ended) = oneshot::channel();
    tokio::spawn(async move {
        // Over HTTP/2, axum waits for the connections too.
        futures::future::join(serving, async {
            connections.closing_on(pending()).await;
            connections.shutdown(grace).await;
        })
        .await
        .0
        .unwrap();
        let _ = end.send(Ok(()));
    });
    (addr, ended)
}

/// What both have in common.
macro_rules! under_axum {
    () => {
        as_on_tokio!();

        async fn connect_tcp(
            addr: SocketAddr,
        ) -> impl AsyncRead + AsyncWrite + Send + Unpin + 'static {
            Tokio::connect_tcp(addr).await
        }

        async fn serve(
            service: Service,
            grace: Duration,
        ) -> (SocketAddr, oneshot::Receiver<Result<(), ServeError>>) {
            serve(service, grace).await
        }
    };
}

#[derive(Clone, Default)]
pub struct UnderAxum(Tokio);

delegate_runtime!(UnderAxum, Tokio);

impl TestRuntime for UnderAxum {
    type Connection = TokioAdapter<TcpStream>;

    async fn connect(
        request: Request,
    ) -> Result<(WebSocketStream<Self::Connection>, Response), tungstenite::Error> {
        Tokio::connect(request).await
    }

    under_axum!();
}

#[cfg(feature = "http2")]
pub use self::http2::OverHttp2;

#[cfg(feature = "http2")]
mod http2 {
    use axeom_ws::http::{self, Method, StatusCode, Version, header};
    use http_body_util::{BodyExt, Empty};
    use hyper::{client::conn::http2, ext::Protocol, upgrade::Upgraded};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    use super::*;

    /// The stream of a WebSocket over HTTP/2.
    type Stream = TransportStream<axeom_ws::tokio::Io<TokioIo<Upgraded>>>;

    #[derive(Clone, Default)]
    pub struct OverHttp2(Tokio);

    delegate_runtime!(OverHttp2, Tokio);

    impl TestRuntime for OverHttp2 {
        type Connection = Stream;

        async fn connect(
            request: Request,
        ) -> Result<(WebSocketStream<Stream>, Response), tungstenite::Error> {
            let (stream, response) = open(request).await?;
            let socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
            Ok((socket, response))
        }

        async fn upgraded(addr: SocketAddr, path: &str) -> Raw {
            let request = Request::get(format!("ws://{addr}{path}")).body(()).unwrap();
            Raw::new(open(request).await.unwrap().0)
        }

        under_axum!();
    }

    /// Opens a stream on an HTTP/2 connection of its own, with what a client of HTTP/1.1 would have
    /// asked for.
    async fn open(request: Request) -> Result<(Stream, Response), tungstenite::Error> {
        let authority = request.uri().authority().unwrap().clone();
        let stream = TcpStream::connect(authority.as_str()).await?;
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let (mut parts, ()) = request.into_parts();
        parts.method = Method::CONNECT;
        parts.version = Version::HTTP_2;
        parts.uri = parts.uri.to_string().replacen("ws", "http", 1).parse().unwrap();
        for name in [header::HOST, header::UPGRADE, header::CONNECTION, header::SEC_WEBSOCKET_KEY] {
            parts.headers.remove(name);
        }
        parts.headers.insert(header::SEC_WEBSOCKET_VERSION, "13".parse().unwrap());
        parts.extensions.insert(Protocol::from_static("websocket"));
        // The server's SETTINGS allow it, once they are here.
        let mut response = loop {
            sender.ready().await.unwrap();
            let request = http::Request::from_parts(parts.clone(), Empty::<axeom_ws::Bytes>::new());
            match sender.send_request(request).await {
                Ok(response) => break response,
                Err(error) if error.is_user() => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        if response.status() != StatusCode::OK {
            let (parts, body) = response.into_parts();
            let body = body.collect().await.unwrap().to_bytes().to_vec();
            let response = http::Response::from_parts(parts, Some(body));
            return Err(tungstenite::Error::Http(Box::new(response)));
        }
        let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
        let stream = TransportStream(axeom_ws::tokio::Io::new(TokioIo::new(upgraded)));
        Ok((stream, response.map(|_| None)))
    }
}
