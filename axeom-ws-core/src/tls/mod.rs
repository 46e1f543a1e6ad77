//! TLS through rustls, as an [`Acceptor`].

mod pem;

use std::{
    fmt, io,
    path::Path,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
};

use futures::io::AsyncWrite;
use futures_rustls::{
    TlsAcceptor,
    rustls::{
        self, RootCertStore, ServerConfig, ServerConnection,
        crypto::{CryptoProvider, ring},
        pki_types::CertificateDer,
        server::{ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
        sign::{CertifiedKey, SingleCertAndKey},
    },
    server::TlsStream,
};
use http::uri::Scheme;
use socket2::SockRef;

use self::pem::Source;
pub use self::pem::TlsError;
use crate::runtime::{Acceptor, EndSending, Incoming, Io, Transport, TransportStream};

/// How many bytes a connection buffers to send, besides what waits in its queue.
const SEND_BUFFER: usize = 32 * 1024;

/// Ends TLS: an [`Acceptor`] for [`Server::tls`](crate::Server::tls). It needs the feature
/// `rustls`.
///
/// Connections are of the scheme `https` from then on, which the check of a request's `Origin`
/// knows. A handshake that fails, or is not done within the
/// [`handshake_timeout`](crate::App::handshake_timeout), cuts its connection.
///
/// All clones are one: a program that keeps a clone can [`replace`](Self::replace) what a running
/// server uses.
///
/// ```no_run
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, BoxError, Runtime, Server, Tls};
///
/// # async fn example<R: Runtime + Default>(
/// #     app: App,
/// #     renewed: impl Future<Output = ()> + Send,
/// # ) -> Result<(), BoxError> {
/// let read = || Tls::from_pem_files("/etc/chat/fullchain.pem", "/etc/chat/privkey.pem");
/// let tls = read()?;
/// let serving = Server::<R>::bind("0.0.0.0:443").await?.tls(tls.clone()).serve(app);
/// let renewing = async {
///     renewed.await;
///     match read() {
///         Ok(new) => tls.replace(&new),
///         Err(error) => eprintln!("the old certificate stays: {error}"),
///     }
/// };
/// let both = axeom_ws::futures::future::join(serving.into_future(), renewing);
/// # both.await.0?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls(Arc<RwLock<Arc<ServerConfig>>>);

impl Tls {
    /// Takes a config of rustls, for all that the other constructors do not offer. Its
    /// `alpn_protocols` should be empty or contain `http/1.1`.
    ///
    /// A program takes rustls from [`axeom_ws::rustls`](crate::rustls), so that it is the same
    /// version.
    pub fn new(config: impl Into<Arc<ServerConfig>>) -> Self {
        Self(Arc::new(RwLock::new(config.into())))
    }

    /// Reads a chain of certificates, the server's own first, and its private key from two files
    /// in PEM. The protocols are TLS 1.2 and 1.3, the provider is *ring*, and the ALPN protocol is
    /// `http/1.1`.
    ///
    /// # Errors
    /// A file cannot be read or has nothing of what it should have, or both do not belong together.
    pub fn from_pem_files(
        certificates: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        let (certificates, key) = (certificates.as_ref(), key.as_ref());
        Self::of(&Source::read(certificates)?, &Source::read(key)?)
    }

    /// Does what [`from_pem_files`](Self::from_pem_files) does, with PEM in memory.
    ///
    /// # Errors
    /// One has nothing of what it should have, or both do not belong together.
    pub fn from_pem(
        certificates: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, TlsError> {
        let certificates = Source::memory("the certificates", certificates.as_ref());
        Self::of(&certificates, &Source::memory("the private key", key.as_ref()))
    }

    fn of(certificates: &Source, key: &Source) -> Result<Self, TlsError> {
        let chain = certificates.certificates()?;
        let certified = CertifiedKey::from_der(chain, key.private_key()?, &provider());
        let certified = certified.map_err(|error| TlsError::rejected(certificates, key, error))?;
        let certificate = Arc::new(SingleCertAndKey::from(certified));
        Ok(Self::new(config(WebPkiClientVerifier::no_client_auth(), certificate)))
    }

    /// Asks every client for a certificate, and cuts those whose certificate none of `roots`, in
    /// PEM, stands behind. [`ClientCertificates`] tell derives and handlers who the client is.
    ///
    /// This makes a new config with the certificate and the ALPN protocols of this one. A program
    /// that wants clients without a certificate too, or has made the config itself, says so in the
    /// config that it gives to [`new`](Self::new).
    ///
    /// ```no_run
    /// # use axeom_ws_core as axeom_ws;
    /// use axeom_ws::{App, BoxError, ClientCertificates, Rejection, Tls};
    ///
    /// # fn example() -> Result<(), BoxError> {
    /// let roots = std::fs::read("/etc/chat/clients.pem")?;
    /// let tls = Tls::from_pem_files("/etc/chat/fullchain.pem", "/etc/chat/privkey.pem")?
    ///     .client_auth(roots)?;
    /// let app = App::new()
    ///     .derive(async |ctx| {
    ///         let client = ctx.extension::<ClientCertificates>().cloned();
    ///         client.ok_or(Rejection::forbidden("this port has no TLS"))
    ///     })
    ///     .ws("/", |route| route);
    /// # let _ = (tls, app);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// There is no certificate in `roots`, or one that cannot be used.
    pub fn client_auth(self, roots: impl AsRef<[u8]>) -> Result<Self, TlsError> {
        let source = Source::memory("the roots of clients", roots.as_ref());
        let mut roots = RootCertStore::empty();
        for certificate in source.certificates()? {
            roots.add(certificate).map_err(|error| source.unusable(error))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let verifier = verifier.build().map_err(|error| source.unusable(error))?;
        let own = self.config();
        let mut config = config(verifier, Arc::clone(&own.cert_resolver));
        config.alpn_protocols.clone_from(&own.alpn_protocols);
        Ok(Self::new(config))
    }

    /// Replaces what this and all of its clones use by what `other` does now, such as a renewed
    /// certificate. Handshakes that begin from now on have it; connections that are open, or are
    /// about to be, keep what they have.
    pub fn replace(&self, other: &Self) {
        let config = other.config();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// The config that new handshakes have.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn config(
    clients: Arc<dyn ClientCertVerifier>,
    certificate: Arc<dyn ResolvesServerCert>,
) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .expect("ring has cipher suites for TLS 1.2 and 1.3")
        .with_client_cert_verifier(clients)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

impl Acceptor for Tls {
    async fn accept(&self, incoming: Incoming) -> io::Result<Incoming> {
        let acceptor = TlsAcceptor::from(self.config());
        let mut clients = None;
        let secured = incoming.map_transport(async |transport| {
            let limit = |session: &mut ServerConnection| {
                session.set_buffer_limit(Some(SEND_BUFFER));
            };
            let stream = acceptor.accept_with(TransportStream(transport), limit).await?;
            clients = stream.get_ref().1.peer_certificates().map(ClientCertificates::new);
            Ok(Io::<_, Secured>::ending(stream))
        });
        let mut incoming = secured.await?;
        incoming.set_scheme(Scheme::HTTPS);
        if let Some(clients) = clients {
            incoming.extensions_mut().insert(clients);
        }
        Ok(incoming)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("config", &self.config()).finish()
    }
}

type Stream = TlsStream<TransportStream<Box<dyn Transport>>>;

/// Ends the sending direction with a `close_notify` and then that of the transport below.
struct Secured;

impl EndSending<Stream> for Secured {
    fn poll_end(stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(stream).poll_close(cx)
    }

    fn socket(stream: &Stream) -> Option<SockRef<'_>> {
        stream.get_ref().0.0.socket()
    }
}

/// The certificates of a client, which a [`Tls`] with [`client_auth`](Tls::client_auth) has
/// verified. Derives and handlers find them with
/// [`Context::extension`](crate::Context::extension) and
/// [`Ws::extension`](crate::Ws::extension).
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{ClientCertificates, Ws};
///
/// async fn open(ws: Ws) {
///     if let Some(client) = ws.extension::<ClientCertificates>() {
///         let _ = ws.send(format!("{} bytes say who you are", client.chain()[0].len())).await;
///     }
/// }
/// # let _ = open;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates(Arc<[CertificateDer<'static>]>);

impl ClientCertificates {
    fn new(chain: &[CertificateDer<'static>]) -> Self {
        Self(chain.into())
    }

    /// The chain in DER, as the client sent it. Its own certificate is the first, and there always
    /// is one.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0
    }
}
