//! An echo under hyper on smol: the HTTP server is hyper's, over `smol-hyper`, and the WebSocket
//! takes the raw socket back from it.
//!
//! ```text
//! cargo run --example smol_hyper --features smol,hyper
//! curl http://127.0.0.1:3000/          # hyper answers this
//! ```

mod support;

use std::{convert::Infallible, pin::pin, time::Duration};

use axeom_ws::{
    App, BoxError, Bytes,
    http::{Request, Response},
    smol::HttpService,
};
use futures::future::{Either, select};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use smol::Async;
use smol_hyper::rt::FuturesIo;

fn main() -> Result<(), BoxError> {
    let echo = App::new().ws("/*", |route| {
        route.message(async |ws, message| {
            let _ = ws.send(message).await;
        })
    });
    let echo = HttpService::new(echo)?;
    let service = echo.clone().or(service_fn(hello));
    let addr = support::Args::parse()?.addr;
    let mut stopped = pin!(echo.connections().closing_on(support::ctrl_c()?));
    smol::block_on(async {
        let listener = Async::<std::net::TcpListener>::bind(addr)?;
        println!("listening on http://{} (smol_hyper)", listener.get_ref().local_addr()?);
        loop {
            let (stream, peer) = match select(pin!(listener.accept()), stopped.as_mut()).await {
                Either::Left((accepted, _)) => accepted?,
                Either::Right(_) => break,
            };
            let service = service.for_peer(peer);
            let serving = http1::Builder::new()
                .serve_connection(FuturesIo::new(stream), service)
                .with_upgrades();
            smol::spawn(serving).detach();
        }
        echo.connections().shutdown(Duration::from_secs(10)).await;
        println!("closed all connections");
        Ok(())
    })
}

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("connect with a WebSocket\n")))
}
