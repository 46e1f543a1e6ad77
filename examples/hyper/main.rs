//! An echo and its page on a server made of hyper's parts: HTTP/1.1 and HTTP/2 over TLS, on one
//! port. Browsers open the WebSocket over the HTTP/2 connection that the page came through (RFC
//! 8441).
//!
//! ```text
//! cargo run --example hyper --features http2      # then open https://127.0.0.1:3000
//! ```
//!
//! It makes a certificate for itself, which browsers warn of.

#[path = "../support/mod.rs"]
mod support;

use std::{convert::Infallible, sync::Arc, time::Duration};

use axeom_ws::{
    App, BoxError,
    http::{HeaderValue, Request, Response, Version, header},
    tokio::HttpService,
};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{net::TcpListener, time::timeout};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivateKeyDer},
};

/// How long a client may take for its TLS handshake.
const TLS_HANDSHAKE: Duration = Duration::from_secs(10);
/// How long connections may take to close at the end.
const GRACE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let echo = App::new().derive(async |ctx| Ok(ctx.version())).ws("/echo", |route| {
        route
            .open(async |ws| {
                let version: &Version = ws.get();
                println!("{} came over {version:?}", ws.peer());
                ws.send(format!("hello over {version:?}")).await?;
                Ok(())
            })
            .message(async |ws, message| {
                let _ = ws.send(message).await;
            })
    });
    let echo = HttpService::new(echo)?;
    let service = echo.clone().or(service_fn(page));

    let tls = tls()?;
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http2().enable_connect_protocol();
    let listener = TcpListener::bind(support::Args::parse()?.addr).await?;
    println!("listening on https://{} (hyper)", listener.local_addr()?);

    let graceful = GracefulShutdown::new();
    let mut stopped = std::pin::pin!(echo.connections().closing_on(support::ctrl_c()?));
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted?,
            () = &mut stopped => break,
        };
        let (tls, http, service) = (tls.clone(), http.clone(), service.for_peer(peer));
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            let Ok(Ok(stream)) = timeout(TLS_HANDSHAKE, tls.accept(stream)).await else { return };
            let serving = http.serve_connection_with_upgrades(TokioIo::new(stream), service);
            let _ = watcher.watch(serving).await;
        });
    }
    drop(listener);
    // Over HTTP/2, hyper waits for the WebSockets too.
    tokio::join!(graceful.shutdown(), echo.connections().shutdown(GRACE));
    println!("closed all connections");
    Ok(())
}

async fn page(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, kind, body) = match request.uri().path() {
        "/" => (200, "text/html; charset=utf-8", include_str!("page.html")),
        _ => (404, "text/plain; charset=utf-8", "the page is at /\n"),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status.try_into().unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

fn tls() -> Result<TlsAcceptor, BoxError> {
    let own = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()])?;
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der())?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
