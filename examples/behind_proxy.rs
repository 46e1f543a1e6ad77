//! An echo behind nginx, which ends TLS: on one port with `X-Forwarded-For` and its kin, on another
//! with the PROXY protocol. It tells each client who it is and what it asked for.
//!
//! ```text
//! cargo run --example behind_proxy --features proxy-protocol
//!
//! ws() { curl -siN --http1.1 --max-time 1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
//!     -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' "$@"; echo; }
//! ws http://127.0.0.1:3000/ -H 'X-Forwarded-For: 192.0.2.7'     # you are 192.0.2.7:0
//! ws http://127.0.0.1:3001/ --haproxy-protocol                  # you are 127.0.0.1:..
//! ```
//!
//! `tests/interop/nginx.py` has the configuration of nginx.

mod support;

use axeom_ws::{App, BoxError, Networks, ProxyProtocol, tokio::Server};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Whoever can reach the server from here can choose its address.
    let proxies = Networks::new(["127.0.0.1", "::1"])?;
    let app = App::new().trust_x_forwarded(proxies.clone()).ws("/*", |route| {
        route
            .open(async |ws| {
                let host = ws.header("host").unwrap_or("nothing");
                let _ = ws.send(format!("you are {} and asked for {host}", ws.peer())).await;
            })
            .message(async |ws, message| {
                let _ = ws.send(message).await;
            })
    });

    let mut addr = support::Args::parse()?.addr;
    let plain = Server::bind(addr).await?;
    // The next port, unless the system chooses.
    addr.set_port(addr.port().checked_add(1).filter(|_| addr.port() > 0).unwrap_or(0));
    let announced = Server::bind(addr).await?.acceptor(ProxyProtocol::trusting(proxies));
    println!("listening on http://{} (behind_proxy)", plain.local_addr());
    println!("listening on http://{} with the PROXY protocol", announced.local_addr());
    plain.and(announced).serve(app).with_graceful_shutdown(support::ctrl_c()?).await?;
    println!("closed all connections");
    Ok(())
}
