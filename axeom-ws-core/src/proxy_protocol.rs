//! The PROXY protocol, as an [`Acceptor`].
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

use std::{io, net::SocketAddr};

use futures::{AsyncRead, AsyncReadExt};
use ppp::{v1, v2};
use thiserror::Error;

use crate::{
    error::BoxError,
    networks::Networks,
    runtime::{Acceptor, Incoming, Peer},
};

/// Reads the header of the PROXY protocol, version 1 or 2, with which a proxy such as HAProxy says
/// who its client is: an [`Acceptor`] for [`Server::acceptor`](crate::Server::acceptor). It needs
/// the feature `proxy-protocol`.
///
/// Derives and handlers see the client as their peer, and `max_connections_per_ip` counts it.
/// Connections that the proxy makes for itself (`LOCAL`, `UNKNOWN`) keep the proxy as their peer.
///
/// Every connection must begin with such a header, and come from an address that is trusted: who
/// else could send one would choose an address. All others are cut. If TLS follows, this is added
/// before it.
///
/// ```no_run
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, BoxError, Networks, ProxyProtocol, Runtime, Server};
///
/// # async fn example<R: Runtime + Default>(app: App) -> Result<(), BoxError> {
/// let proxies = Networks::new(["10.0.0.0/8", "fd00::/8"])?;
/// let server = Server::<R>::bind("0.0.0.0:3000").await?;
/// server.acceptor(ProxyProtocol::trusting(proxies)).serve(app).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ProxyProtocol {
    trusted: Networks,
}

/// Why [`ProxyProtocol`] did not accept a connection. It is inside of the `io::Error`.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// # futures::executor::block_on(async {
/// use axeom_ws::{
///     Acceptor, Incoming, Io, Networks, ProxyProtocol, ProxyProtocolError, futures::io::Cursor,
/// };
///
/// let stranger = std::net::SocketAddr::from(([192, 0, 2, 9], 4711));
/// let incoming = Incoming::new(Io::new(Cursor::new(vec![0; 64])), stranger);
/// let acceptor = ProxyProtocol::trusting(Networks::new(["10.0.0.1"]).unwrap());
/// let error = acceptor.accept(incoming).await.unwrap_err();
/// let inside = error.get_ref().and_then(|inside| inside.downcast_ref());
/// assert!(matches!(inside, Some(ProxyProtocolError::Stranger { .. })));
/// assert_eq!(error.to_string(), "192.0.2.9:4711 is not a proxy that is trusted");
/// # });
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProxyProtocolError {
    /// The connection does not come from an address that is trusted.
    #[error("{peer} is not a proxy that is trusted")]
    Stranger {
        /// Where it comes from.
        peer: Peer,
    },
    /// A proxy that is trusted sent something else than a header.
    #[error("the proxy {peer} sent no valid header of the PROXY protocol")]
    Malformed {
        /// The proxy.
        peer: Peer,
        /// What is wrong with it.
        source: BoxError,
    },
}

impl ProxyProtocol {
    /// Trusts the proxies in these networks.
    pub fn trusting(proxies: Networks) -> Self {
        Self { trusted: proxies }
    }
}

impl Acceptor for ProxyProtocol {
    async fn accept(&self, mut incoming: Incoming) -> io::Result<Incoming> {
        let peer = incoming.peer();
        if !peer.is_in(&self.trusted) {
            let stranger = ProxyProtocolError::Stranger { peer };
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, stranger));
        }
        let header = read_header(incoming.stream_mut()).await?;
        let client = parse(&header).map_err(|source| {
            let malformed = ProxyProtocolError::Malformed { peer, source };
            io::Error::new(io::ErrorKind::InvalidData, malformed)
        })?;
        if let Some(client) = client {
            incoming.set_peer(client);
        }
        Ok(incoming)
    }

    fn is_proxy(&self, peer: Peer) -> bool {
        peer.is_in(&self.trusted)
    }
}

/// The longest line of version 1, with its end.
const LONGEST_LINE: usize = 107;

/// Reads a header and not a byte more, since what follows is for others. What is not a header, it
/// reads until that is certain.
async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    // No header is shorter than the signature of version 2.
    read_more(stream, &mut header, v2::PROTOCOL_PREFIX.len()).await?;
    if header == v2::PROTOCOL_PREFIX {
        read_more(stream, &mut header, 4).await?;
        if let Some([high, low]) = header.last_chunk() {
            let length = u16::from_be_bytes([*high, *low]);
            read_more(stream, &mut header, length.into()).await?;
        }
    } else if header.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) {
        while !header.ends_with(b"\r\n") && header.len() < LONGEST_LINE {
            // A line that has not come to its CR goes on for two bytes at least.
            let more = if header.ends_with(b"\r") { 1 } else { 2 };
            read_more(stream, &mut header, more).await?;
        }
    }
    Ok(header)
}

async fn read_more(
    stream: &mut (impl AsyncRead + Unpin),
    header: &mut Vec<u8>,
    bytes: usize,
) -> io::Result<()> {
    let mut more = vec![0; bytes];
    stream.read_exact(&mut more).await?;
    header.append(&mut more);
    Ok(())
}

/// The client that a header names, if it names one.
fn parse(header: &[u8]) -> Result<Option<Peer>, BoxError> {
    if !header.starts_with(v2::PROTOCOL_PREFIX) {
        let named = |ip, port| Some(SocketAddr::new(ip, port).into());
        return Ok(match v1::Header::try_from(header)?.addresses {
            v1::Addresses::Tcp4(ip) => named(ip.source_address.into(), ip.source_port),
            v1::Addresses::Tcp6(ip) => named(ip.source_address.into(), ip.source_port),
            v1::Addresses::Unknown => None,
        });
    }
    let header = v2::Header::try_from(header)?;
    let named = |ip, port| Some(SocketAddr::new(ip, port).into());
    Ok(match header.addresses {
        _ if header.command == v2::Command::Local => None,
        v2::Addresses::IPv4(ip) => named(ip.source_address.into(), ip.source_port),
        v2::Addresses::IPv6(ip) => named(ip.source_address.into(), ip.source_port),
        v2::Addresses::Unix(_) => Some(Peer::Unix),
        v2::Addresses::Unspecified => None,
    })
}
