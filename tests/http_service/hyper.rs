//! Under plain hyper, on every runtime.

use std::{
    future::Future,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Context,
    time::{Duration, Instant},
};

use axeom_ws::{
    App, Bytes, ConnectionSet, HttpService, HyperRuntime, Runtime, Transport,
    hyper::upgrade::Upgraded,
};
use hyper::server::conn::http1;

use crate::{
    on_every_runtime,
    support::{
        Client, TestRuntime,
        frame::{self, Frame, TEXT},
        raw::Raw,
        request::Request as RawRequest,
        until,
    },
};

on_every_runtime!(a_connection_runs_over_the_socket_that_hyper_gives_back, one_call_ends_all);

/// The adapter of a runtime, and a server of hyper on it.
trait OnHyper: TestRuntime {
    type Adapter: HyperRuntime + Default;

    /// Serves every connection of a listener.
    fn serve_http(listener: TcpListener, service: HttpService<Counting<Self::Adapter>>);
}

#[cfg(feature = "tokio")]
impl OnHyper for crate::support::runtimes::Tokio {
    type Adapter = axeom_ws::tokio::Adapter;

    fn serve_http(listener: TcpListener, service: HttpService<Counting<Self::Adapter>>) {
        listener.set_nonblocking(true).unwrap();
        let listener = ::tokio::net::TcpListener::from_std(listener).unwrap();
        ::tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let stream = hyper_util::rt::TokioIo::new(stream);
                let serving = http1::Builder::new()
                    .serve_connection(stream, service.for_peer(peer))
                    .with_upgrades();
                ::tokio::spawn(serving);
            }
        });
    }
}

#[cfg(feature = "smol")]
impl OnHyper for crate::support::runtimes::Smol {
    type Adapter = axeom_ws::smol::Adapter;

    fn serve_http(listener: TcpListener, service: HttpService<Counting<Self::Adapter>>) {
        let listener = ::smol::Async::<TcpListener>::new(listener).unwrap();
        let accepting = async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let stream = smol_hyper::rt::FuturesIo::new(stream);
                let serving = http1::Builder::new()
                    .serve_connection(stream, service.for_peer(peer))
                    .with_upgrades();
                ::smol::spawn(serving).detach();
            }
        };
        ::smol::spawn(accepting).detach();
    }
}

#[cfg(feature = "async-std")]
impl OnHyper for crate::support::runtimes::AsyncStd {
    type Adapter = axeom_ws::async_std::Adapter;

    fn serve_http(listener: TcpListener, service: HttpService<Counting<Self::Adapter>>) {
        let listener = ::async_std::net::TcpListener::from(listener);
        let accepting = async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let stream = smol_hyper::rt::FuturesIo::new(stream);
                let serving = http1::Builder::new()
                    .serve_connection(stream, service.for_peer(peer))
                    .with_upgrades();
                ::async_std::task::spawn(serving);
            }
        };
        ::async_std::task::spawn(accepting);
    }
}

/// A runtime that counts how many sockets it got back.
#[derive(Clone, Default)]
struct Counting<R> {
    runtime: R,
    reclaimed: Arc<AtomicUsize>,
}

impl<R: Runtime> Runtime for Counting<R> {
    type Listener = R::Listener;

    async fn bind(&self, addr: SocketAddr) -> io::Result<Self::Listener> {
        self.runtime.bind(addr).await
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.runtime.sleep(duration)
    }

    fn yield_now(&self, cx: &mut Context<'_>) {
        self.runtime.yield_now(cx);
    }

    fn now(&self) -> Instant {
        self.runtime.now()
    }
}

impl<R: HyperRuntime> HyperRuntime for Counting<R> {
    fn reclaim(&self, upgraded: Upgraded) -> Result<(Box<dyn Transport>, Bytes), Upgraded> {
        let reclaimed = self.runtime.reclaim(upgraded)?;
        self.reclaimed.fetch_add(1, Ordering::Relaxed);
        Ok(reclaimed)
    }
}

/// A server of hyper with an echo in it.
struct Served<R: OnHyper> {
    addr: SocketAddr,
    connections: ConnectionSet<Counting<R::Adapter>>,
    reclaimed: Arc<AtomicUsize>,
}

fn serve<R: OnHyper>() -> Served<R> {
    let app = App::new().ws("/", |route| {
        route
            .open(async |ws| {
                let _ = ws.send(format!("you are {}", ws.peer())).await;
            })
            .message(async |ws, message| {
                let _ = ws.send(message).await;
            })
    });
    let runtime = Counting::<R::Adapter>::default();
    let reclaimed = Arc::clone(&runtime.reclaimed);
    let connections = ConnectionSet::new_on(runtime, app).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    R::serve_http(listener, HttpService::from(connections.clone()));
    Served { addr, connections, reclaimed }
}

async fn a_connection_runs_over_the_socket_that_hyper_gives_back<R: OnHyper>() {
    let served = serve::<R>();
    let mut raw = Raw::new(R::connect_tcp(served.addr).await);
    let early = frame::masked(TEXT, b"early");
    raw.send([RawRequest::get("/").text().as_bytes(), &early].concat()).await;
    assert_eq!(raw.head().await.status, 101);
    let hello = String::from_utf8(raw.frame().await.payload).unwrap();
    assert!(hello.starts_with("you are 127.0.0.1:"), "{hello}");
    assert_eq!(raw.frame().await, Frame::text("early"));
    assert_eq!(served.reclaimed.load(Ordering::Relaxed), 1);
    raw.send(frame::masked(TEXT, &[b'x'; 100_000])).await;
    assert_eq!(raw.frame().await, Frame::new(TEXT, [b'x'; 100_000]));
    raw.send(frame::close(1000)).await;
    assert_eq!(raw.close_code().await, 1000);
    until(|| served.connections.service().handle().connections() == 0).await;
}

async fn one_call_ends_all<R: OnHyper>() {
    let served = serve::<R>();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let request = format!("ws://{}/", served.addr);
        let request =
            async_tungstenite::tungstenite::client::IntoClientRequest::into_client_request(request);
        let mut client = Client::<R>(R::connect(request.unwrap()).await.unwrap().0);
        assert!(client.recv_text().await.starts_with("you are"));
        clients.push(client);
    }
    let closing = async {
        for client in &mut clients {
            assert_eq!(client.closed().await.unwrap().0, 1001);
        }
    };
    let shutdown = served.connections.shutdown(Duration::from_secs(10));
    futures::future::join(closing, shutdown).await;
    assert_eq!(served.connections.service().handle().connections(), 0);
}
