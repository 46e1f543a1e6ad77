//! Servers that end TLS themselves.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use async_tungstenite::client_async;
use axeom_ws::{App, ClientCertificates, Incoming, Io, Listener, LocalAddr, Server, Tls, TlsError};
use futures::{
    AsyncRead, AsyncWrite, StreamExt,
    channel::mpsc::{UnboundedReceiver, unbounded},
    lock::Mutex,
};
use futures_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    },
};
use rcgen::{CertificateParams, IsCa, Issuer, KeyPair};

use crate::{
    on_every_runtime,
    support::{
        NOWHERE, TestRuntime, TestServer, bind, chain,
        frame::{self, Frame, TEXT},
        pipe::{End, pipe},
        raw::Raw,
        recorder::recorder,
        request::Request,
    },
};

on_every_runtime!(
    messages_of_any_size_come_back_over_tls,
    a_response_over_tls_ends_in_order,
    pages_over_tls_are_of_the_scheme_https,
    a_shutdown_over_tls_closes_with_1001,
    client_certificates_are_seen_by_derives_and_handlers,
    a_certificate_may_be_replaced_while_the_server_runs,
    what_is_not_tls_is_cut,
    stalled_handshakes_are_cut_and_delay_nobody
);

const GRACE: Duration = Duration::from_secs(10);

/// An authority that signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    pem: String,
}

/// A certificate with its key, in PEM.
struct Certified {
    der: CertificateDer<'static>,
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (root, pem) = (certificate.der().clone(), certificate.pem());
        Self { issuer: Issuer::new(params, key), root, pem }
    }

    fn certify(&self, name: &str) -> Certified {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (der, key) = (certificate.der().clone(), key.serialize_pem());
        Certified { der, certificate: certificate.pem(), key }
    }

    /// What a server named localhost uses.
    fn tls(&self) -> Tls {
        let Certified { certificate, key, .. } = self.certify("localhost");
        Tls::from_pem(certificate, key).unwrap()
    }

    /// A TLS connection of a client that trusts this authority, and is named like this.
    async fn client<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        named: Option<&Certified>,
    ) -> io::Result<TlsStream<S>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match named {
            None => config.with_no_client_auth(),
            Some(Certified { der, key, .. }) => {
                use futures_rustls::rustls::pki_types::pem::PemObject;
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![der.clone()], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    async fn raw<R: TestRuntime>(&self, addr: SocketAddr) -> Raw {
        Raw::new(self.client(R::connect_tcp(addr).await, None).await.unwrap())
    }
}

async fn serve<R: TestRuntime>(tls: Tls, app: App) -> TestServer {
    TestServer::start_on(bind::<R>().await.tls(tls), app, GRACE)
}

async fn messages_of_any_size_come_back_over_tls<R: TestRuntime>() {
    let authority = Authority::new();
    let (app, mut seen) = recorder();
    let server = serve::<R>(authority.tls(), app).await;
    let stream = authority.client(R::connect_tcp(server.addr).await, None).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let (mut client, _) = client_async("wss://localhost/", stream).await.unwrap();
    for size in [0, 1, 1000, 100_000, 3_000_000] {
        let text = "x".repeat(size);
        client.send(text.clone().into()).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap().into_text().unwrap(), text);
    }
    client.close(None).await.unwrap();
    while client.next().await.is_some() {}
    while !matches!(seen.next().await, crate::support::recorder::Seen::Close(..)) {}
}

async fn a_response_over_tls_ends_in_order<R: TestRuntime>() {
    let authority = Authority::new();
    let server = serve::<R>(authority.tls(), App::new().ws("/", |route| route)).await;
    // Without a `close_notify` the client would report an error.
    let response = authority.raw::<R>(server.addr).await.ask(&Request::get("/nowhere")).await;
    assert_eq!(response.status, 404);
}

async fn pages_over_tls_are_of_the_scheme_https<R: TestRuntime>() {
    let authority = Authority::new();
    let server = serve::<R>(authority.tls(), App::new().ws("/", |route| route)).await;
    for (origin, status) in [("https://localhost", 101), ("http://localhost", 403)] {
        let mut raw = authority.raw::<R>(server.addr).await;
        raw.send(Request::get("/").with("Origin", origin).text()).await;
        assert_eq!(raw.head().await.status, status, "{origin}");
    }
}

async fn a_shutdown_over_tls_closes_with_1001<R: TestRuntime>() {
    let authority = Authority::new();
    let (app, _seen) = recorder();
    let mut server = serve::<R>(authority.tls(), app).await;
    let mut raw = authority.raw::<R>(server.addr).await;
    raw.upgrade("/").await;
    server.handle.shutdown();
    let close = raw.frame().await;
    assert_eq!(close.close_code(), Some(1001));
    raw.send(frame::close(1001)).await;
    assert_eq!(raw.read_to_orderly_end().await, b"");
    (&mut server.ended).await.unwrap().unwrap();
}

async fn client_certificates_are_seen_by_derives_and_handlers<R: TestRuntime>() {
    let (authority, other) = (Authority::new(), Authority::new());
    let app = App::new()
        .derive(async |ctx| Ok(ctx.extension::<ClientCertificates>().unwrap().clone()))
        .ws("/", |route| {
            route.open(async |ws| {
                let derived: &ClientCertificates = ws.get();
                assert_eq!(ws.extension(), Some(derived));
                let _ = ws.send(derived.chain()[0].to_vec()).await;
            })
        });
    let tls = authority.tls().client_auth(&authority.pem).unwrap();
    let server = TestServer::start_on(bind::<R>().await.tls(tls), app, GRACE);
    let ada = authority.certify("ada");
    let connect = async |named| authority.client(R::connect_tcp(server.addr).await, named).await;
    let mut raw = Raw::new(connect(Some(&ada)).await.unwrap());
    raw.upgrade("/").await;
    assert_eq!(raw.frame().await, Frame::new(frame::BINARY, &*ada.der));
    let eve = other.certify("ada");
    for stranger in [None, Some(&eve)] {
        // In TLS 1.3 the client is done before the server has seen what it is named.
        if let Ok(stream) = connect(stranger).await {
            let mut raw = Raw::new(stream);
            raw.try_send(Request::get("/").text()).await;
            assert_eq!(raw.read_to_end().await, b"");
        }
    }
}

async fn a_certificate_may_be_replaced_while_the_server_runs<R: TestRuntime>() {
    let (old, new) = (Authority::new(), Authority::new());
    let tls = old.tls();
    let (app, _seen) = recorder();
    let server = serve::<R>(tls.clone(), app).await;
    let mut before = old.raw::<R>(server.addr).await;
    before.upgrade("/").await;
    tls.replace(&new.tls());
    assert!(old.client(R::connect_tcp(server.addr).await, None).await.is_err());
    let mut after = new.raw::<R>(server.addr).await;
    after.upgrade("/").await;
    for raw in [&mut before, &mut after] {
        raw.send(frame::masked(TEXT, b"still here")).await;
        assert_eq!(raw.frame().await, Frame::text("still here"));
    }
}

async fn what_is_not_tls_is_cut<R: TestRuntime>() {
    let authority = Authority::new();
    let server = serve::<R>(authority.tls(), App::new().ws("/", |route| route)).await;
    for bytes in [Request::get("/").text().into_bytes(), vec![0; 64], vec![0x16; 64]] {
        let mut raw = server.raw::<R>().await;
        raw.send(bytes).await;
        let answer = raw.read_to_end().await;
        // An alert at most: its record type is 21.
        assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    }
    authority.raw::<R>(server.addr).await.upgrade("/").await;
}

/// Accepts what the test sends.
struct Sent(Mutex<UnboundedReceiver<End>>);

impl Listener for Sent {
    async fn accept(&self) -> io::Result<Incoming> {
        let end = self.0.lock().await.next().await.expect("the test goes on");
        Ok(Incoming::new(Io::new(end), NOWHERE))
    }

    fn local_addr(&self) -> io::Result<LocalAddr> {
        Ok(LocalAddr::Memory)
    }
}

async fn stalled_handshakes_are_cut_and_delay_nobody<R: TestRuntime>() {
    let authority = Authority::new();
    let (app, _seen) = recorder();
    let app = app.handshake_timeout(Duration::from_secs(3));
    let (accept, accepted) = unbounded();
    let in_memory = Server::on(Sent(Mutex::new(accepted))).unwrap();
    let server = bind::<R>().await.and(in_memory).tls(authority.tls());
    let server = TestServer::start_on(server, app, GRACE);
    let mut stalled = Vec::new();
    for said in [&b""[..], b"\x16\x03\x01\x02\x00\x01"].repeat(500) {
        let (client, end) = pipe();
        accept.unbounded_send(end).unwrap();
        let mut raw = Raw::new(client);
        raw.send(said).await;
        stalled.push(raw);
    }
    let mut served = authority.raw::<R>(server.addr).await;
    served.upgrade("/").await;
    served.send(frame::masked(TEXT, b"at once")).await;
    assert_eq!(served.frame().await, Frame::text("at once"));
    for mut raw in stalled {
        assert_eq!(raw.read_to_end().await, b"");
    }
    served.send(frame::masked(TEXT, b"still here")).await;
    assert_eq!(served.frame().await, Frame::text("still here"));
}

#[test]
fn what_is_wrong_with_certificates_and_keys_is_named() {
    let authority = Authority::new();
    let (own, other) = (authority.certify("localhost"), authority.certify("localhost"));
    let directory = std::env::temp_dir();
    let file = |kind: &str, content: &str| {
        let path = directory.join(format!("axeom-ws-{}-{kind}.pem", std::process::id()));
        std::fs::write(&path, content).unwrap();
        path
    };
    let (certificate, key) = (file("certificate", &own.certificate), file("key", &own.key));
    let (cert, wrong) = (certificate.display(), file("wrong", &other.key));
    assert!(Tls::from_pem_files(&certificate, &key).is_ok());

    let fails = |certificates: &std::path::Path, key: &std::path::Path| {
        Tls::from_pem_files(certificates, key).unwrap_err()
    };
    let missing = directory.join("axeom-ws-there-is-none.pem");
    let error = fails(&missing, &key);
    assert!(matches!(error, TlsError::Read { .. }));
    assert!(chain(&error).starts_with(&format!("cannot read {}: ", missing.display())));
    let error = fails(&certificate, &missing);
    assert_eq!(error.to_string(), format!("cannot read {}", missing.display()));
    // Each file in the place of the other.
    let error = fails(&key, &key);
    assert_eq!(error.to_string(), format!("there is no certificate in {}", key.display()));
    let error = fails(&certificate, &certificate);
    let expected = format!("there is no private key in {cert}, or only one with a password");
    assert_eq!(error.to_string(), expected);
    let error = fails(&certificate, &wrong);
    let wrong = wrong.display();
    let expected = format!("the key in {wrong} is not that of the first certificate in {cert}");
    assert_eq!(error.to_string(), expected);

    let torn = file("torn", &own.certificate[..own.certificate.len() - 40]);
    let error = fails(&torn, &key);
    assert!(matches!(error, TlsError::Pem { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("{} is not PEM", torn.display()));
    let nonsense = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let nonsense = file("nonsense", nonsense);
    let error = fails(&nonsense, &key);
    assert_eq!(error.to_string(), format!("{} cannot be used", nonsense.display()));

    let error = Tls::from_pem("", &own.key).unwrap_err();
    assert_eq!(error.to_string(), "there is no certificate in the certificates");
    let error = authority.tls().client_auth("").unwrap_err();
    assert_eq!(error.to_string(), "there is no certificate in the roots of clients");
}
