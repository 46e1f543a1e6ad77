use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Where a [`Listener`](crate::Listener) listens.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::LocalAddr;
///
/// let addr = LocalAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], 3000)));
/// assert_eq!((addr.port(), addr.to_string()), (Some(3000), "127.0.0.1:3000".to_owned()));
/// assert_eq!(LocalAddr::Unix(Some("/run/chat.sock".into())).to_string(), "unix:/run/chat.sock");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LocalAddr {
    /// A socket with an IP address and a port.
    Ip(SocketAddr),
    /// A Unix domain socket, with its path if it has one.
    Unix(Option<PathBuf>),
    /// It listens in memory.
    Memory,
}

impl LocalAddr {
    /// The IP address and port, if there are any.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(addr) => Some(*addr),
            Self::Unix(_) | Self::Memory => None,
        }
    }

    /// The port, if there is one.
    pub fn port(&self) -> Option<u16> {
        self.socket_addr().map(|addr| addr.port())
    }

    /// The path, if there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => path.as_deref(),
            Self::Ip(_) | Self::Memory => None,
        }
    }
}

impl From<SocketAddr> for LocalAddr {
    fn from(addr: SocketAddr) -> Self {
        Self::Ip(addr)
    }
}

/// Writes the address and port, `unix:` and the path, or `memory`.
impl fmt::Display for LocalAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(addr) => fmt::Display::fmt(addr, f),
            Self::Unix(None) => f.write_str("unix"),
            Self::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Self::Memory => f.write_str("memory"),
        }
    }
}
