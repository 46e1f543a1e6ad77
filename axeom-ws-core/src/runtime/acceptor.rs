use std::{
    fmt,
    future::Future,
    io,
    panic::{self, AssertUnwindSafe},
};

use futures::future::BoxFuture;
use http::{Extensions, uri::Scheme};

use super::{
    Peer, TransportStream,
    transport::{BoxTransport, Transport},
};
use crate::contained::{Contained, caught};

/// A connection before its HTTP request: what a [`Listener`](crate::Listener) accepts, and what an
/// [`Acceptor`] prepares.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{Incoming, Io, Peer, futures::io::Cursor, http::uri::Scheme};
///
/// let mut incoming = Incoming::new(Io::new(Cursor::new(vec![0; 64])), Peer::Memory);
/// incoming.set_scheme(Scheme::HTTPS);
/// incoming.extensions_mut().insert("what derives and handlers find with `extension`");
/// assert_eq!((incoming.peer(), incoming.scheme()), (Peer::Memory, Some(&Scheme::HTTPS)));
/// ```
pub struct Incoming {
    pub(crate) stream: TransportStream<BoxTransport>,
    pub(crate) peer: Peer,
    pub(crate) scheme: Option<Scheme>,
    pub(crate) extensions: Extensions,
}

impl Incoming {
    /// A connection of which nothing else is known.
    pub fn new(transport: impl Transport, peer: impl Into<Peer>) -> Self {
        Self {
            stream: TransportStream(transport.boxed()),
            peer: peer.into(),
            scheme: None,
            extensions: Extensions::new(),
        }
    }

    /// The byte stream, to read from and write to before the request.
    pub fn stream_mut(&mut self) -> &mut TransportStream<Box<dyn Transport>> {
        &mut self.stream
    }

    /// Replaces the byte stream by what `map` makes of it, such as a TLS stream after its
    /// handshake.
    ///
    /// # Errors
    /// The error of `map`.
    pub async fn map_transport<T, F>(
        self,
        map: impl FnOnce(Box<dyn Transport>) -> F,
    ) -> io::Result<Self>
    where
        T: Transport,
        F: Future<Output = io::Result<T>>,
    {
        let Self { stream, peer, scheme, extensions } = self;
        let stream = TransportStream(map(stream.0).await?.boxed());
        Ok(Self { stream, peer, scheme, extensions })
    }

    /// The other end.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Says who the other end is, for example the client behind a proxy. That is what derives and
    /// handlers see as the peer, and whose address `max_connections_per_ip` counts.
    pub fn set_peer(&mut self, peer: impl Into<Peer>) {
        self.peer = peer.into();
    }

    /// The scheme by which pages reach the server over this connection, if it is known.
    pub fn scheme(&self) -> Option<&Scheme> {
        self.scheme.as_ref()
    }

    /// Says by which scheme pages reach the server over this connection. The check of a request's
    /// `Origin` then takes it instead of that of [`App::secure`](crate::App::secure).
    pub fn set_scheme(&mut self, scheme: Scheme) {
        self.scheme = Some(scheme);
    }

    /// What is known of the connection besides.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// What is known of the connection besides. Derives and handlers find it with
    /// [`Context::extension`](crate::Context::extension) and
    /// [`Ws::extension`](crate::Ws::extension).
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("peer", &self.peer)
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

/// Prepares a connection before its HTTP request is read: speaks TLS, reads the header of a proxy,
/// or turns strangers away.
///
/// A server runs its acceptors in the order in which they were added with
/// [`Server::acceptor`](crate::Server::acceptor), each on what the one before it made of the
/// connection. They run in the connection's own task, which delays no other connection. The
/// connection has its place under [`max_connections`](crate::App::max_connections) then, and all of
/// them together with the request head have the
/// [`handshake_timeout`](crate::App::handshake_timeout). A connection is cut when that is over, when
/// an acceptor fails or panics, and when the app shuts down; why it was is logged at the debug
/// level.
///
/// Functions and closures that take an [`Incoming`] are acceptors, too.
///
/// ```no_run
/// # use axeom_ws_core as axeom_ws;
/// use std::{io, net::Ipv4Addr};
///
/// use axeom_ws::{Acceptor, App, Incoming, Runtime, ServeError, Server};
///
/// /// Turns away who is not on this machine.
/// struct Loopback;
///
/// impl Acceptor for Loopback {
///     async fn accept(&self, incoming: Incoming) -> io::Result<Incoming> {
///         match incoming.peer().ip() {
///             Some(ip) if ip != Ipv4Addr::LOCALHOST => Err(io::Error::other("not from here")),
///             _ => Ok(incoming),
///         }
///     }
/// }
///
/// # async fn example<R: Runtime + Default>(app: App) -> Result<(), ServeError> {
/// let server = Server::<R>::bind("0.0.0.0:3000").await?;
/// server.acceptor(Loopback).serve(app).await
/// # }
/// ```
///
/// A program that accepts connections itself calls [`accept`](Self::accept), and gives the result to
/// [`Service::serve_incoming`](crate::Service::serve_incoming). Nothing bounds then how long an
/// acceptor takes.
pub trait Acceptor: Send + Sync + 'static {
    /// Prepares a connection. The future is dropped at the handshake timeout and at a shutdown.
    ///
    /// # Errors
    /// The connection is not to be served. It is closed.
    fn accept(&self, incoming: Incoming) -> impl Future<Output = io::Result<Incoming>> + Send;

    /// Whether this peer is a proxy, so that [`accept`](Self::accept) will learn from it who the
    /// client is. Until then, `max_connections_per_ip` does not count the connection under any
    /// address. By default, no peer is one.
    fn is_proxy(&self, peer: Peer) -> bool {
        let _ = peer;
        false
    }
}

impl<F, A> Acceptor for F
where
    F: Fn(Incoming) -> A + Send + Sync + 'static,
    A: Future<Output = io::Result<Incoming>> + Send,
{
    fn accept(&self, incoming: Incoming) -> impl Future<Output = io::Result<Incoming>> + Send {
        self(incoming)
    }
}

/// An [`Acceptor`] with its type erased, and its panics contained.
pub(crate) trait AnyAcceptor: Send + Sync + 'static {
    fn accept_boxed(&self, incoming: Incoming) -> BoxFuture<'_, io::Result<Incoming>>;
    fn is_for_proxy(&self, peer: Peer) -> bool;
}

impl<A: Acceptor> AnyAcceptor for Contained<A> {
    fn accept_boxed(&self, incoming: Incoming) -> BoxFuture<'_, io::Result<Incoming>> {
        Box::pin((**self).accept(incoming))
    }

    fn is_for_proxy(&self, peer: Peer) -> bool {
        let asked = panic::catch_unwind(AssertUnwindSafe(|| (**self).is_proxy(peer)));
        asked.unwrap_or_else(|panic| {
            let panic = caught(panic);
            tracing::error!(panic, "an acceptor panicked when it was asked for proxies");
            false
        })
    }
}
