//! An echo over TLS, with a certificate that the example makes for itself. smol and async-std end TLS
//! in the same way.
//!
//! ```text
//! cargo run --example tls --features rustls      # says where it wrote its certificate
//!
//! curl -siN --http1.1 --max-time 1 --cacert /tmp/axeom-ws-certificate.pem \
//!     -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' \
//!     -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' https://localhost:3000/
//! ```

mod support;

use axeom_ws::{App, BoxError, Tls, tokio::Server};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let own = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()])?;
    let file = std::env::temp_dir().join("axeom-ws-certificate.pem");
    std::fs::write(&file, own.cert.pem())?;
    let tls = Tls::from_pem(own.cert.pem(), own.signing_key.serialize_pem())?;

    let app = App::new().ws("/*", |route| {
        route.message(async |ws, message| {
            let _ = ws.send(message).await;
        })
    });
    let server = Server::bind(support::Args::parse()?.addr).await?;
    println!("listening on https://{} (tls)", server.local_addr());
    println!("its certificate is {}", file.display());
    server.tls(tls).serve(app).with_graceful_shutdown(support::ctrl_c()?).await?;
    println!("closed all connections");
    Ok(())
}
