use std::io;

use thiserror::Error;

use crate::{
    message::{Message, SendMessage},
    options::InvalidOption,
    violation::Violation,
};

/// Any error that a handler may return.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Nothing more can be sent, because the connection is closed or its close frame is queued.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{Closed, Ws};
///
/// async fn count(ws: Ws) -> Result<(), Closed> {
///     for number in 1..=3 {
///         ws.send(number.to_string()).await?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the connection is closed")]
#[allow(clippy::exhaustive_structs, reason = "there is nothing to add to it")]
pub struct Closed;

/// How [`Ws::try_send`](crate::Ws::try_send) queued a message.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{Closed, SendStatus, Ws};
///
/// async fn send_all(ws: Ws, lines: Vec<String>) -> Result<(), Closed> {
///     for line in lines {
///         if let Ok(SendStatus::Backpressure) = ws.try_send(line) {
///             ws.ready().await?;
///         }
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendStatus {
    /// The message is queued, and the connection is not congested.
    Sent,
    /// The message is queued, but the connection has crossed its high-water mark. `drain` runs
    /// once the queue is down to the low-water mark.
    Backpressure,
}

/// Why [`Ws::try_send`](crate::Ws::try_send) did not queue a message. It contains the message, as
/// it was given.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{SendMessage, TrySendError, Ws};
///
/// /// Returns the message if it should be sent again after a `drain`.
/// fn offer(ws: &Ws, message: SendMessage) -> Option<SendMessage> {
///     match ws.try_send(message) {
///         Err(TrySendError::Full(message)) => Some(message),
///         _ => None,
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// The message would take the connection over its send limit. Wait for `drain`, or for
    /// [`Ws::ready`](crate::Ws::ready).
    #[error("the connection's send limit is reached; wait for drain")]
    Full(SendMessage),
    /// The connection is closed, or its close frame is queued.
    #[error("the connection is closed")]
    Closed(SendMessage),
}

impl TrySendError {
    /// The message with its compression setting, to be sent again.
    pub fn into_inner(self) -> SendMessage {
        match self {
            TrySendError::Full(message) | TrySendError::Closed(message) => message,
        }
    }

    /// The message without its compression setting.
    pub fn into_message(self) -> Message {
        self.into_inner().into_message()
    }
}

/// What went wrong with a connection. The `error` handler receives it before `close` runs.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, ConnectionError};
///
/// let app = App::new().ws("/", |route| {
///     route.error(async |ws, error| match error {
///         ConnectionError::Io(_) => {}
///         other => eprintln!("connection {}: {other}", ws.id()),
///     })
/// });
/// # let _ = app;
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer broke the protocol.
    #[error("the peer broke the protocol")]
    Violation(#[from] Violation),
    /// The transport failed, or ended without a closing handshake.
    #[error("the connection was lost")]
    Io(#[from] io::Error),
    /// A handler returned an error.
    #[error("a handler failed")]
    Handler(#[source] BoxError),
    /// A handler panicked.
    #[error("a handler panicked: {0}")]
    Panic(String),
    /// The peer has sent nothing within the
    /// [`pong_timeout`](crate::Options::pong_timeout) after a ping.
    #[error("the peer did not answer a ping in time")]
    PongTimeout,
    /// The peer has taken nothing of what was sent within the
    /// [`write_timeout`](crate::Options::write_timeout).
    #[error("the peer took no data in time")]
    WriteTimeout,
    /// The peer takes what is sent more slowly than the [`min_rate`](crate::Options::min_rate).
    #[error("the peer takes data more slowly than the least rate")]
    TooSlow,
    /// The peer did not finish the closing handshake within the
    /// [`close_timeout`](crate::Options::close_timeout).
    #[error("the closing handshake was not finished in time")]
    CloseTimeout,
}

/// Why an [`App`](crate::App) cannot be built.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, AppError, Options};
///
/// let app = App::new().options(Options::new().max_message_size(0)).ws("/", |route| route);
/// match app.build() {
///     Err(AppError::Option { path, source }) => {
///         assert_eq!((&*path, source.name), ("/", "max_message_size"));
///     }
///     _ => unreachable!(),
/// }
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AppError {
    /// The path of a route is malformed, or conflicts with the path of another route.
    #[error("route {path}: {reason}")]
    Route {
        /// The path as it was given, with the prefix of its group.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option of a route has a value that is not allowed.
    #[error("an option of route {path} cannot be used")]
    Option {
        /// The path of the route.
        path: String,
        /// The option, and what is wrong with it.
        source: InvalidOption,
    },
    /// A subprotocol is not a token (RFC 6455 §4.1).
    #[error("route {path}: subprotocol {protocol:?} is not a token")]
    Protocol {
        /// The path of the route.
        path: String,
        /// The subprotocol.
        protocol: String,
    },
    /// A host that the app is to answer for is not a name or an address with an optional port.
    #[error("allow_hosts: {host:?} must be a name or an address with an optional port")]
    Host {
        /// The host.
        host: String,
    },
}

/// Why a server cannot serve.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::ServeError;
///
/// fn explain(error: &ServeError) -> String {
///     match error {
///         ServeError::Bind { addr, source } => format!("cannot use {addr}: {source}"),
///         other => other.to_string(),
///     }
/// }
/// # let _ = explain;
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The app cannot be built.
    #[error(transparent)]
    App(#[from] AppError),
    /// The address cannot be bound.
    #[error("cannot listen on {addr}")]
    Bind {
        /// The address, as it was given or as its host name was resolved.
        addr: String,
        /// The error of the operating system.
        source: io::Error,
    },
}
