//! An echo on a Unix domain socket and on a TCP port at once. It tells each client who it is.
//!
//! ```text
//! cargo run --example unix
//!
//! curl -siN --http1.1 --max-time 1 --unix-socket /tmp/axeom-ws.sock \
//!     -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' \
//!     -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' http://localhost/
//! ```

mod support;

#[cfg(unix)]
#[tokio::main]
async fn main() -> Result<(), axeom_ws::BoxError> {
    use axeom_ws::{
        App, PeerCredentials,
        tokio::{Server, UnixListener},
    };

    let app = App::new().ws("/*", |route| {
        route
            .open(async |ws| {
                let uid = ws.extension::<PeerCredentials>().map(|peer| peer.uid);
                let _ = ws.send(format!("you are {}, user {uid:?}", ws.peer())).await;
            })
            .message(async |ws, message| {
                let _ = ws.send(message).await;
            })
    });
    let path = std::env::temp_dir().join("axeom-ws.sock");
    let public = Server::bind(support::Args::parse()?.addr).await?;
    let local = Server::on(UnixListener::bind(path)?)?;
    println!("listening on http://{} (unix)", public.local_addr());
    println!("listening on {}", local.local_addr());
    public.and(local).serve(app).with_graceful_shutdown(support::ctrl_c()?).await?;
    println!("closed all connections");
    Ok(())
}

#[cfg(not(unix))]
fn main() {
    eprintln!("there are no Unix domain sockets here");
}
