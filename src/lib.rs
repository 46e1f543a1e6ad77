#![cfg_attr(feature = "tokio", doc = include_str!("../README.md"))]
// The example of the README runs on tokio.
#![cfg_attr(
    not(feature = "tokio"),
    doc = "WebSocket handlers written once, run unchanged on tokio, async-std and smol."
)]
//!
//! The [`guide`] has a page on each of these things.

pub mod guide;

pub use axeom_ws_core::{
    Accepted, Acceptor, Answer, App, AppError, AppHandle, BoxError, Bytes, BytesMut, CloseCode,
    CloseFrame, CloseWhole, Closed, Compression, ConnectionError, ConnectionId, ConnectionSet,
    Context, DeflateParams, EndSending, Event, Group, Handler, HandlerResult, Incoming,
    IntoService, InvalidNetwork, InvalidOption, Io, Listener, LocalAddr, Message, Networks,
    Options, Peer, Rejection, ResponseHead, Route, Runtime, SendMessage, SendStatus, Serve,
    ServeError, Server, Service, Socket, TcpOptions, Transport, TransportStream, TrySendError,
    Utf8Bytes, Ws, bytes, context, futures, handshake, http, protocol, route, start_workers,
};
#[cfg(feature = "rustls")]
pub use axeom_ws_core::{ClientCertificates, Tls, TlsError, rustls};
#[cfg(feature = "hyper")]
pub use axeom_ws_core::{HttpService, HyperRuntime, Or, hyper};
#[cfg(feature = "json")]
pub use axeom_ws_core::{JsonError, SendJsonError};
#[cfg(unix)]
pub use axeom_ws_core::{PeerCredentials, SocketFile, bind_unix};
#[cfg(feature = "proxy-protocol")]
pub use axeom_ws_core::{ProxyProtocol, ProxyProtocolError};

#[cfg(feature = "async-std")]
#[doc(inline)]
pub use axeom_ws_async_std as async_std;
#[cfg(feature = "smol")]
#[doc(inline)]
pub use axeom_ws_smol as smol;
#[cfg(feature = "tokio")]
#[doc(inline)]
pub use axeom_ws_tokio as tokio;
