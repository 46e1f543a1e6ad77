//! What the tests share: a server per test, clients on each runtime, and a peer that
//! speaks in bytes.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]

pub mod blocking;
pub mod deflate;
pub mod frame;
#[cfg(feature = "axum")]
pub mod mounted;
#[cfg(all(feature = "rustls", feature = "tokio"))]
pub mod over_tls;
pub mod pipe;
pub mod raw;
pub mod recorder;
pub mod request;
pub mod runtimes;

use std::{
    fmt::Debug,
    future::{Future, poll_fn},
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    task::Poll,
    time::Duration,
};

use async_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message, client::IntoClientRequest, handshake::client::Response as ClientResponse,
    },
};
use axeom_ws::{
    Accepted, Answer, App, AppHandle, Bytes, Listener, Runtime, ServeError, Server, Service,
    http::{Request, Response},
};
use futures::{
    AsyncRead, AsyncWrite, StreamExt,
    channel::{mpsc, oneshot},
    future::{Either, select},
};

use self::{pipe::End, raw::Raw};

/// No test takes this long; one that would hang fails instead.
const WATCHDOG: Duration = Duration::from_secs(60);

/// A runtime that tests run on: the adapter, and async-tungstenite's client on the same
/// runtime.
pub trait TestRuntime: Runtime + Default {
    type Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Runs a test to its end on the runtime.
    fn block_on<T: Send + 'static>(test: impl Future<Output = T> + Send + 'static) -> T;

    /// async-tungstenite's own `connect_async`.
    fn connect(
        request: tungstenite::handshake::client::Request,
    ) -> impl Future<
        Output = Result<(WebSocketStream<Self::Connection>, ClientResponse), tungstenite::Error>,
    > + Send;

    /// A plain TCP connection.
    fn connect_tcp(
        addr: SocketAddr,
    ) -> impl Future<Output = impl AsyncRead + AsyncWrite + Send + Unpin + 'static> + Send;

    /// Serves an app on a port of its own, which is returned with what serving will end with.
    fn serve(
        service: Service,
        grace: Duration,
    ) -> impl Future<Output = (SocketAddr, oneshot::Receiver<Result<(), ServeError>>)> + Send {
        async move { in_background(bind::<Self>().await, service, grace) }
    }

    /// A byte-level peer after a good handshake.
    fn upgraded(addr: SocketAddr, path: &str) -> impl Future<Output = Raw> + Send {
        async move {
            let mut raw = Raw::new(Self::connect_tcp(addr).await);
            raw.upgrade(path).await;
            raw
        }
    }
    /// The adapter's `Listener::from_std`.
    fn listener(listener: std::net::TcpListener) -> io::Result<impl Listener>;

    /// The adapter's `UnixListener::bind`.
    #[cfg(unix)]
    fn bind_unix(path: &std::path::Path) -> Result<impl Listener, ServeError>;

    /// The adapter's `UnixListener::from_std`.
    #[cfg(unix)]
    fn unix_listener(listener: std::os::unix::net::UnixListener) -> io::Result<impl Listener>;

    /// Accepts one connection by the runtime's own means, and hands it to the adapter's
    /// `serve_connection`.
    fn serve_accepted(
        service: Service,
        listener: std::net::TcpListener,
    ) -> impl Future<Output = ()> + Send + 'static;

    /// The adapter's `serve_stream`, over memory.
    fn serve_stream(
        service: Service,
        stream: End,
        remote_addr: SocketAddr,
    ) -> impl Future<Output = ()> + Send + 'static;

    /// The adapter's `serve_upgraded`, over memory.
    fn serve_upgraded(
        accepted: Accepted,
        stream: End,
        read_ahead: Vec<u8>,
    ) -> impl Future<Output = ()> + Send + 'static;
}

/// Where connections in memory say they come from.
pub const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7);

/// A peer in memory, whose every write is at least one read of the server.
pub fn in_memory<R: TestRuntime>(service: &Service) -> Raw {
    in_memory_from::<R>(service, NOWHERE, usize::MAX)
}

/// The same, from this address, over a stream that takes no more than `capacity` bytes
/// which the peer has not read.
pub fn in_memory_from<R: TestRuntime>(service: &Service, from: SocketAddr, capacity: usize) -> Raw {
    let (client, server) = pipe::pipe_of(usize::MAX, capacity);
    R::default().spawn(R::serve_stream(service.clone(), server, from));
    Raw::new(client)
}

/// What a service makes of a request: a connection to run, or a response.
pub async fn handshake<B>(
    service: &Service,
    request: Request<B>,
    from: SocketAddr,
) -> Result<Accepted, Response<Bytes>> {
    match service.respond(request, from).await {
        Answer::Upgrade(accepted) => Ok(accepted),
        Answer::Response(response) => Err(response),
        other => panic!("{other:?}"),
    }
}

/// What an error says, and all that caused it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Waits for what no event tells, giving way to all other tasks in between.
pub async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        std::thread::yield_now();
        yield_now().await;
    }
}

/// Lets other tasks run, on any runtime.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs one test on one runtime.
pub fn run<R: TestRuntime>(test: impl Future<Output = ()> + Send + 'static) {
    // Boxed: a runtime may move what it runs around, on the small stack of a test.
    let test = Box::pin(test);
    R::block_on(async {
        let watchdog = pin!(R::default().sleep(WATCHDOG));
        if let Either::Right(_) = select(test, watchdog).await {
            panic!("the test hangs");
        }
    });
}

/// Makes of each `async fn name<R: TestRuntime>()` one test per runtime that is compiled
/// in: the whole suite is written once.
///
/// Those after `mounted:` also run on tokio over TLS, and in an app that axum has mounted, over
/// HTTP/1.1 and HTTP/2; those after `mounted over http1:` over all but HTTP/2. What is about our own
/// server, or its TCP sockets, comes after `alone:`.
#[macro_export]
macro_rules! on_every_runtime {
    (mounted: $($name:ident),+ $(; alone: $($alone:ident),+)? $(,)?) => {
        $crate::on_every_runtime!(mounted over http1: $($name),+ $(; alone: $($alone),+)?);
        #[cfg(all(feature = "axum", feature = "http2"))]
        mod over_http2 {
            $(#[test] fn $name() {
                use $crate::support::{run, mounted::OverHttp2};
                run::<OverHttp2>(super::$name::<OverHttp2>());
            })+
        }
    };
    (mounted over http1: $($name:ident),+ $(; alone: $($alone:ident),+)? $(,)?) => {
        $crate::on_every_runtime!($($name),+ $(, $($alone),+)?);
        #[cfg(all(feature = "rustls", feature = "tokio"))]
        mod over_tls {
            $(#[test] fn $name() {
                use $crate::support::{run, over_tls::OverTls};
                run::<OverTls>(super::$name::<OverTls>());
            })+
        }
        #[cfg(feature = "axum")]
        mod under_axum {
            $(#[test] fn $name() {
                use $crate::support::{run, mounted::UnderAxum};
                run::<UnderAxum>(super::$name::<UnderAxum>());
            })+
        }
    };
    ($($(#[$attribute:meta])* $name:ident),+ $(,)?) => {
        #[cfg(feature = "tokio")]
        mod tokio {
            $($(#[$attribute])* #[test] fn $name() {
                use $crate::support::{run, runtimes::Tokio};
                run::<Tokio>(super::$name::<Tokio>());
            })+
        }
        #[cfg(feature = "async-std")]
        mod async_std {
            $($(#[$attribute])* #[test] fn $name() {
                use $crate::support::{run, runtimes::AsyncStd};
                run::<AsyncStd>(super::$name::<AsyncStd>());
            })+
        }
        #[cfg(feature = "smol")]
        mod smol {
            $($(#[$attribute])* #[test] fn $name() {
                use $crate::support::{run, runtimes::Smol};
                run::<Smol>(super::$name::<Smol>());
            })+
        }
    };
}

/// A server on a port of its own.
pub async fn bind<R: TestRuntime>() -> Server<R> {
    Server::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

/// Runs a server in the background. Returns where, and what serving will end with.
fn in_background<R: TestRuntime>(
    server: Server<R>,
    service: Service,
    grace: Duration,
) -> (SocketAddr, oneshot::Receiver<Result<(), ServeError>>) {
    let addr = server.local_addr().socket_addr().unwrap_or(NOWHERE);
    let (end, ended) = oneshot::channel();
    let serving = server.serve(service).grace_period(grace).into_future();
    R::default().spawn(async move {
        let _ = end.send(serving.await);
    });
    (addr, ended)
}

/// A server with one app, on a port of its own. It shuts down when dropped.
pub struct TestServer {
    pub addr: SocketAddr,
    pub handle: AppHandle,
    /// What `serve` returned, once it did.
    pub ended: oneshot::Receiver<Result<(), ServeError>>,
}

impl TestServer {
    pub async fn start<R, D>(app: App<D>) -> Self
    where
        R: TestRuntime,
        D: Clone + Send + Sync + 'static,
    {
        Self::start_with_grace::<R, D>(app, Duration::from_secs(10)).await
    }

    pub async fn start_with_grace<R, D>(app: App<D>, grace: Duration) -> Self
    where
        R: TestRuntime,
        D: Clone + Send + Sync + 'static,
    {
        let handle = app.handle();
        let (addr, ended) = R::serve(app.build().unwrap(), grace).await;
        Self { addr, handle, ended }
    }

    /// The same, on a server that the test has prepared.
    pub fn start_on<R, D>(server: Server<R>, app: App<D>, grace: Duration) -> Self
    where
        R: TestRuntime,
        D: Clone + Send + Sync + 'static,
    {
        let handle = app.handle();
        let (addr, ended) = in_background(server, app.build().unwrap(), grace);
        Self { addr, handle, ended }
    }

    pub fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.addr)
    }

    /// A client that async-tungstenite made, with its part of the handshake checked by it.
    pub async fn connect<R: TestRuntime>(&self, path: &str) -> Client<R> {
        self.request::<R>(path, &[]).await.unwrap().0
    }

    /// A client with additional headers in its handshake.
    pub async fn request<R: TestRuntime>(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Client<R>, ClientResponse), tungstenite::Error> {
        let mut request = self.url(path).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let (stream, response) = R::connect(request).await?;
        Ok((Client(stream), response))
    }

    /// A peer that says whatever it is told, before any handshake.
    pub async fn raw<R: TestRuntime>(&self) -> Raw {
        Raw::new(R::connect_tcp(self.addr).await)
    }

    /// A byte-level peer after a good handshake.
    pub async fn upgraded<R: TestRuntime>(&self, path: &str) -> Raw {
        R::upgraded(self.addr, path).await
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

/// async-tungstenite's client, with the shorthands of tests.
pub struct Client<R: TestRuntime>(pub WebSocketStream<R::Connection>);

impl<R: TestRuntime> Client<R> {
    pub async fn send(&mut self, message: impl Into<Message>) {
        self.0.send(message.into()).await.unwrap();
    }

    /// The next message that is not a pong.
    pub async fn recv(&mut self) -> Message {
        loop {
            match self.0.next().await.expect("the connection ended").unwrap() {
                Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    pub async fn recv_text(&mut self) -> String {
        match self.recv().await {
            Message::Text(text) => text.to_string(),
            other => panic!("expected text, got {other:?}"),
        }
    }

    /// Sends a close frame, or answers one, and reads to the end; the close frame that
    /// came.
    pub async fn close(&mut self, code: u16, reason: &str) -> Option<(u16, String)> {
        let frame = tungstenite::protocol::CloseFrame { code: code.into(), reason: reason.into() };
        let _ = self.0.close(Some(frame)).await;
        self.closed().await
    }

    /// Reads to the end; the close frame that came, if one did.
    pub async fn closed(&mut self) -> Option<(u16, String)> {
        let mut close = None;
        while let Some(message) = self.0.next().await {
            match message {
                Ok(Message::Close(frame)) => {
                    close = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        close
    }
}

/// A channel for what handlers have to tell a test, in order.
pub struct Events<T> {
    pub tx: mpsc::UnboundedSender<T>,
    rx: mpsc::UnboundedReceiver<T>,
}

impl<T: Debug> Events<T> {
    pub fn new() -> Self {
        let (tx, rx) = mpsc::unbounded();
        Self { tx, rx }
    }

    /// A function for a handler to tell the test something.
    pub fn teller(&self) -> impl Fn(T) + Clone + Send + Sync + 'static
    where
        T: Send + 'static,
    {
        let tx = self.tx.clone();
        move |event| {
            let _ = tx.unbounded_send(event);
        }
    }

    pub async fn next(&mut self) -> T {
        self.rx.next().await.expect("the handlers are gone")
    }

    /// What was told so far and not looked at.
    pub fn rest(&mut self) -> Vec<T> {
        let mut rest = Vec::new();
        while let Ok(event) = self.rx.try_recv() {
            rest.push(event);
        }
        rest
    }
}
