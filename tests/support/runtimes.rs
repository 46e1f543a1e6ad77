//! The runtimes that the tests run on.

/// The adapter of one runtime, with async-tungstenite's client beside it.
macro_rules! test_runtime {
    (
        $feature:literal, $name:ident, $adapter:ty, $client:ident, $connection:ty,
        block_on: $block_on:expr, connect_tcp: $connect_tcp:expr
    ) => {
        #[cfg(feature = $feature)]
        mod $client {
            use std::{future::Future, io, net::SocketAddr, time::Duration};

            use async_tungstenite::{
                WebSocketStream,
                tungstenite::{
                    self,
                    handshake::client::{Request, Response},
                },
            };
            use axeom_ws::Runtime;
            use futures::{AsyncRead, AsyncWrite};

            #[derive(Clone, Default)]
            pub struct $name($adapter);

            impl Runtime for $name {
                type Stream = <$adapter as Runtime>::Stream;
                type Listener = <$adapter as Runtime>::Listener;

                async fn bind(&self, addr: SocketAddr) -> io::Result<Self::Listener> {
                    self.0.bind(addr).await
                }

                fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
                    self.0.spawn(task);
                }

                fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
                    self.0.sleep(duration)
                }
            }

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
        axeom_ws::tokio::Stream::promote(stream)
    }
}

test_runtime! {
    "async-std", AsyncStd, axeom_ws::async_std::Adapter, async_std,
    ::async_std::net::TcpStream,
    block_on: ::async_std::task::block_on,
    connect_tcp: async |addr: SocketAddr| {
        let stream = ::async_std::net::TcpStream::connect(addr).await.unwrap();
        axeom_ws::async_std::Stream::promote(stream)
    }
}

test_runtime! {
    "smol", Smol, axeom_ws::smol::Adapter, smol,
    ::smol::net::TcpStream,
    block_on: ::smol::block_on,
    connect_tcp: async |addr: SocketAddr| {
        let stream = ::smol::Async::<std::net::TcpStream>::connect(addr).await.unwrap();
        axeom_ws::smol::Stream::promote(stream)
    }
}
