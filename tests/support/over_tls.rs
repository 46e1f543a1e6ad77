//! Servers that end TLS, with clients that speak it.

use std::{
    net::SocketAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use async_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        self,
        handshake::client::{Request, Response},
    },
};
use axeom_ws::{
    ServeError, Service, Tls, TransportStream,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
    tokio::{Tcp, promote},
};
use futures::{AsyncRead, AsyncWrite, channel::oneshot};
use futures_rustls::{TlsConnector, client::TlsStream};
use tokio::net::TcpStream;

use super::{
    TestRuntime, bind, in_background,
    runtimes::{Tokio, as_on_tokio, delegate_runtime},
};

/// The certificate of all servers, and a client that trusts it.
static TLS: LazyLock<(Tls, TlsConnector)> = LazyLock::new(|| {
    let own = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = Tls::from_pem(own.cert.pem(), own.signing_key.serialize_pem()).unwrap();
    (tls, TlsConnector::from(Arc::new(client)))
});

/// A client's end of a connection over TLS.
type Stream = TlsStream<TransportStream<Tcp>>;

#[derive(Clone, Default)]
pub struct OverTls(Tokio);

delegate_runtime!(OverTls, Tokio);

impl TestRuntime for OverTls {
    type Connection = Stream;

    as_on_tokio!();

    async fn connect(
        request: Request,
    ) -> Result<(WebSocketStream<Stream>, Response), tungstenite::Error> {
        let authority = request.uri().authority().unwrap().as_str();
        let stream = connect(authority.parse().unwrap()).await;
        client_async(request, stream).await
    }

    async fn connect_tcp(addr: SocketAddr) -> impl AsyncRead + AsyncWrite + Send + Unpin + 'static {
        connect(addr).await
    }

    async fn serve(
        service: Service,
        grace: Duration,
    ) -> (SocketAddr, oneshot::Receiver<Result<(), ServeError>>) {
        in_background(bind::<Self>().await.tls(TLS.0.clone()), service, grace)
    }
}

async fn connect(addr: SocketAddr) -> Stream {
    let stream = promote(TcpStream::connect(addr).await.unwrap());
    let name = ServerName::try_from("localhost").unwrap();
    TLS.1.connect(name, TransportStream(stream)).await.unwrap()
}
