//! The runtimes that the tests run on.

/// Makes `$name`, which holds an adapter, a runtime like it.
macro_rules! delegate_runtime {
    ($name:ident, $adapter:ty) => {
        impl axeom_ws::Runtime for $name {
            type Listener = <$adapter as axeom_ws::Runtime>::Listener;

            async fn bind(&self, addr: std::net::SocketAddr) -> std::io::Result<Self::Listener> {
                self.0.bind(addr).await
            }

            fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
                self.0.spawn(task);
            }

            fn sleep(
                &self,
                duration: std::time::Duration,
            ) -> impl Future<Output = ()> + Send + 'static {
                self.0.sleep(duration)
            }

            fn yield_now(&self, cx: &mut std::task::Context<'_>) {
                self.0.yield_now(cx);
            }

            fn now(&self) -> std::time::Instant {
                self.0.now()
            }
        }
    };
}

/// What runtimes of tests that stand on [`Tokio`] have in common with it.
#[cfg(any(feature = "axum", all(feature = "rustls", feature = "tokio")))]
macro_rules! as_on_tokio {
    () => {
        fn block_on<T: Send + 'static>(test: impl Future<Output = T> + Send + 'static) -> T {
            Tokio::block_on(test)
        }

        fn listener(listener: std::net::TcpListener) -> std::io::Result<impl axeom_ws::Listener> {
            Tokio::listener(listener)
        }

        #[cfg(unix)]
        fn bind_unix(
            path: &std::path::Path,
        ) -> Result<impl axeom_ws::Listener, axeom_ws::ServeError> {
            Tokio::bind_unix(path)
        }

        #[cfg(unix)]
        fn unix_listener(
            listener: std::os::unix::net::UnixListener,
        ) -> std::io::Result<impl axeom_ws::Listener> {
            Tokio::unix_listener(listener)
        }

        async fn serve_accepted(service: axeom_ws::Service, listener: std::net::TcpListener) {
            Tokio::serve_accepted(service, listener).await;
        }

        async fn serve_stream(
            service: axeom_ws::Service,
            stream: $crate::support::pipe::End,
            remote_addr: std::net::SocketAddr,
        ) {
            Tokio::serve_stream(service, stream, remote_addr).await;
        }

        async fn serve_upgraded(
            accepted: axeom_ws::Accepted,
            stream: $crate::support::pipe::End,
            read_ahead: Vec<u8>,
        ) {
            Tokio::serve_upgraded(accepted, stream, read_ahead).await;
        }
    };
}

#[cfg(any(feature = "axum", all(feature = "rustls", feature = "tokio")))]
pub(super) use {as_on_tokio, delegate_runtime};

/// The adapter of one runtime, with async-tungstenite's client beside it.
macro_rules! test_runtime {
    (
        $feature:literal, $name:ident, $adapter:ty, $client:ident, $connection:ty,
        block_on: $block_on:expr, connect_tcp: $connect_tcp:expr, listener: $listener:expr
    ) => {
        #[cfg(feature = $feature)]
        mod $client {
            use std::{future::Future, io, net::SocketAddr};

            use async_tungstenite::{
                WebSocketStream,
                tungstenite::{
                    self,
                    handshake::client::{Request, Response},
                },
            };
            use axeom_ws::{Accepted, Listener, ServeError, Service, TransportStream};
            use futures::{AsyncRead, AsyncWrite};

            use super::super::pipe::End;

            #[derive(Clone, Default)]
            pub struct $name($adapter);

            delegate_runtime!($name, $adapter);

            impl super::super::TestRuntime for $name {
                type Connection = $connection;

                fn block_on<T: Send + 'static>(
                    test: impl Future<Output = T> + Send + 'static,
                ) -> T {
                    $block_on(test)
                }

                #[allow(deprecated, reason = "async-std is, and so are the clients for it")]
                async fn connect(
                    request: Request,
                ) -> Result<(WebSocketStream<$connection>, Response), tungstenite::Error> {
                    async_tungstenite::$client::connect_async(request).await
                }

                async fn connect_tcp(
                    addr: SocketAddr,
                ) -> impl AsyncRead + AsyncWrite + Send + Unpin + 'static {
                    $connect_tcp(addr).await
                }

                fn listener(listener: std::net::TcpListener) -> io::Result<impl Listener> {
                    axeom_ws::$client::Listener::from_std(listener)
                }

                #[cfg(unix)]
                fn bind_unix(path: &std::path::Path) -> Result<impl Listener, ServeError> {
                    axeom_ws::$client::UnixListener::bind(path)
                }

                #[cfg(unix)]
                fn unix_listener(
                    listener: std::os::unix::net::UnixListener,
                ) -> io::Result<impl Listener> {
                    axeom_ws::$client::UnixListener::from_std(listener)
                }

                async fn serve_accepted(service: Service, listener: std::net::TcpListener) {
                    listener.set_nonblocking(true).unwrap();
                    let (stream, remote_addr) = $listener(listener).accept().await.unwrap();
                    axeom_ws::$client::serve_connection(&service, stream, remote_addr).await;
                }

                async fn serve_stream(service: Service, stream: End, remote_addr: SocketAddr) {
                    axeom_ws::$client::serve_stream(&service, stream, remote_addr).await;
                }

                async fn serve_upgraded(accepted: Accepted, stream: End, read_ahead: Vec<u8>) {
                    axeom_ws::$client::serve_upgraded(accepted, stream, &read_ahead).await;
                }
            }
        }
        #[cfg(feature = $feature)]
        pub use $client::$name;
    };
}

test_runtime! {
    "tokio", Tokio, axeom_ws::tokio::Adapter, tokio,
    async_tungstenite::tokio::TokioAdapter<::tokio::net::TcpStream>,
    block_on: |test| {
        let mut builder = ::tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test)
    },
    connect_tcp: async |addr: SocketAddr| {
        let stream = ::tokio::net::TcpStream::connect(addr).await.unwrap();
        TransportStream(axeom_ws::tokio::promote(stream))
    },
    listener: |listener| ::tokio::net::TcpListener::from_std(listener).unwrap()
}

test_runtime! {
    "async-std", AsyncStd, axeom_ws::async_std::Adapter, async_std,
    ::async_std::net::TcpStream,
    block_on: ::async_std::task::block_on,
    connect_tcp: async |addr: SocketAddr| {
        let stream = ::async_std::net::TcpStream::connect(addr).await.unwrap();
        TransportStream(axeom_ws::async_std::promote(stream))
    },
    listener: ::async_std::net::TcpListener::from
}

test_runtime! {
    "smol", Smol, axeom_ws::smol::Adapter, smol,
    ::smol::net::TcpStream,
    block_on: ::smol::block_on,
    connect_tcp: async |addr: SocketAddr| {
        let stream = ::smol::Async::<std::net::TcpStream>::connect(addr).await.unwrap();
        TransportStream(axeom_ws::smol::promote(stream))
    },
    listener: |listener| ::smol::Async::<std::net::TcpListener>::new(listener).unwrap()
}
