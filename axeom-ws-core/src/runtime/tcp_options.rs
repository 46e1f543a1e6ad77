use std::{
    fmt, io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::error::ServeError;

/// How to bind a TCP socket, for a server that needs more than
/// [`Server::bind`](crate::Server::bind).
///
/// It gives a listener of the standard library, which the `Listener::from_std` of each adapter
/// takes.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use std::time::Duration;
///
/// use axeom_ws::TcpOptions;
///
/// let options = TcpOptions::new().backlog(4096).keepalive(Duration::from_secs(60));
/// let listener = options.bind("127.0.0.1:0")?;
/// // let server = axeom_ws::tokio::Server::on(axeom_ws::tokio::Listener::from_std(listener)?)?;
/// # let _ = listener;
/// # Ok::<(), axeom_ws::ServeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct TcpOptions {
    backlog: u32,
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    reuse_port: bool,
    only_v6: Option<bool>,
    keepalive: Option<Duration>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            backlog: 1024,
            #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
            reuse_port: false,
            only_v6: None,
            keepalive: None,
        }
    }
}

impl TcpOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many connections may wait to be accepted. The operating system may allow fewer, on Linux
    /// `net.core.somaxconn`. Default: 1024.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Lets several sockets be bound to one address, among which the kernel divides connections
    /// (`SO_REUSEPORT`). All of them must ask for it. Default: off.
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// Whether a socket of an IPv6 address leaves IPv4 to others (`IPV6_V6ONLY`). Default: what the
    /// operating system does.
    pub fn only_v6(mut self, only: bool) -> Self {
        self.only_v6 = Some(only);
        self
    }

    /// Has the kernel probe connections on which nothing came for this time (`SO_KEEPALIVE`).
    /// Accepted connections have it from the listener. Default: off, for a connection is probed by
    /// its pings.
    pub fn keepalive(mut self, idle: Duration) -> Self {
        self.keepalive = Some(idle);
        self
    }

    /// Binds to an address, and listens there. If `addr` resolves to several addresses, the first
    /// that can be bound is used. A host name is resolved on the calling thread, which blocks it.
    ///
    /// # Errors
    /// [`ServeError::Bind`] if no address can be bound. It has the error for the last one.
    pub fn bind(&self, addr: impl ToSocketAddrs + fmt::Debug) -> Result<TcpListener, ServeError> {
        let (addrs, mut last) = addresses(addr)?;
        for addr in addrs {
            match self.bind_to(addr) {
                Ok(listener) => return Ok(listener),
                Err(source) => last = ServeError::Bind { addr: addr.to_string(), source },
            }
        }
        Err(last)
    }

    fn bind_to(&self, addr: SocketAddr) -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        // A connection of an earlier process that is not forgotten yet does not keep the address.
        // On Windows, this would let others take the address over.
        #[cfg(not(windows))]
        socket.set_reuse_address(true)?;
        #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
        socket.set_reuse_port(self.reuse_port)?;
        if let Some(only) = self.only_v6.filter(|_| addr.is_ipv6()) {
            socket.set_only_v6(only)?;
        }
        if let Some(idle) = self.keepalive {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
        }
        socket.bind(&addr.into())?;
        socket.listen(i32::try_from(self.backlog).unwrap_or(i32::MAX))?;
        Ok(socket.into())
    }
}

/// The addresses that a name stands for, and the error if none of them can be bound.
pub(crate) fn addresses(
    addr: impl ToSocketAddrs + fmt::Debug,
) -> Result<(Vec<SocketAddr>, ServeError), ServeError> {
    let failed = |source| ServeError::Bind { addr: format!("{addr:?}"), source };
    let addrs = addr.to_socket_addrs().map_err(failed)?.collect();
    let none = io::Error::new(io::ErrorKind::InvalidInput, "the host has no address");
    Ok((addrs, failed(none)))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::net::{Ipv6Addr, TcpStream};

    use socket2::SockRef;

    use super::*;

    #[test]
    fn an_address_that_is_taken_is_named() {
        let taken = TcpOptions::new().bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        match TcpOptions::new().bind(addr) {
            Err(ServeError::Bind { addr: named, source }) => {
                assert_eq!((named, source.kind()), (addr.to_string(), io::ErrorKind::AddrInUse));
            }
            other => panic!("{other:?}"),
        }
    }

    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    #[test]
    fn several_sockets_may_share_a_port() {
        let shared = TcpOptions::new().reuse_port(true);
        let first = shared.bind("127.0.0.1:0").unwrap();
        let addr = first.local_addr().unwrap();
        assert_eq!(shared.bind(addr).unwrap().local_addr().unwrap(), addr);
        assert!(TcpOptions::new().bind(addr).is_err());
    }

    #[test]
    fn accepted_connections_are_kept_alive_if_the_listener_is() {
        for idle in [None, Some(Duration::from_secs(77))] {
            let mut options = TcpOptions::new();
            options.keepalive = idle;
            let listener = options.bind("127.0.0.1:0").unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let accepted = SockRef::from(&accepted);
            assert_eq!(accepted.keepalive().unwrap(), idle.is_some());
            #[cfg(target_os = "linux")]
            if let Some(idle) = idle {
                assert_eq!(accepted.tcp_keepalive_time().unwrap(), idle);
            }
        }
    }

    #[test]
    fn ipv4_reaches_an_ipv6_socket_unless_it_is_for_ipv6_only() {
        // A machine without IPv6 has nothing to test.
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            return;
        }
        for only in [false, true] {
            let listener = TcpOptions::new().only_v6(only).bind("[::]:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            assert_eq!(TcpStream::connect(("127.0.0.1", port)).is_err(), only);
        }
    }
}
