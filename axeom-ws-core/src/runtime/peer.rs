use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use crate::networks::Networks;

/// The other end of a connection, as far as the transport knows it.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::Peer;
///
/// let peer = Peer::from(std::net::SocketAddr::from(([192, 0, 2, 7], 4711)));
/// assert_eq!(peer.to_string(), "192.0.2.7:4711");
/// assert_eq!(Peer::Memory.ip(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// A socket with an IP address and a port.
    Ip(SocketAddr),
    /// A Unix domain socket. The peer's end seldom has a name, so there is none here.
    Unix,
    /// A stream in memory.
    Memory,
    /// The program did not say.
    Unknown,
}

impl Peer {
    /// The IP address, if the peer has one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.socket_addr().map(|addr| addr.ip())
    }

    /// Whether the peer is in one of these networks, or is a Unix socket that is among them.
    pub fn is_in(&self, networks: &Networks) -> bool {
        match self {
            Self::Ip(addr) => networks.contains(addr.ip()),
            Self::Unix => networks.has_unix(),
            Self::Memory | Self::Unknown => false,
        }
    }

    /// The IP address and port, if the peer has them.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(addr) => Some(*addr),
            Self::Unix | Self::Memory | Self::Unknown => None,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(addr: SocketAddr) -> Self {
        Self::Ip(addr)
    }
}

/// Writes the address and port, `unix`, `memory` or `unknown`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(addr) => fmt::Display::fmt(addr, f),
            Self::Unix => f.write_str("unix"),
            Self::Memory => f.write_str("memory"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}
