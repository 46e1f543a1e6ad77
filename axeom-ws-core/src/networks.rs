use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;
use thiserror::Error;

/// Networks whose addresses are trusted, such as those of the proxies in front of a server, and
/// perhaps Unix sockets.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::Networks;
///
/// let proxies = Networks::new(["10.0.0.0/8", "fd00::/8", "192.0.2.7"])?;
/// assert!(proxies.contains("10.1.2.3".parse()?));
/// assert!(!proxies.contains("192.0.2.8".parse()?));
///
/// let error = Networks::new(["10.0.0.0/33"]).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "\"10.0.0.0/33\" is no network; write an address and a prefix length, such as 10.0.0.0/8"
/// );
/// # Ok::<(), axeom_ws::BoxError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    networks: Vec<IpNet>,
    has_unix: bool,
}

impl Networks {
    /// Networks in CIDR notation, such as `10.0.0.0/8`. An address without a prefix length stands
    /// for itself alone.
    ///
    /// # Errors
    /// One of them is neither.
    pub fn new<N: AsRef<str>>(
        networks: impl IntoIterator<Item = N>,
    ) -> Result<Self, InvalidNetwork> {
        let parse = |network: &str| {
            let address = IpAddr::from_str(network).map(IpNet::from);
            address
                .or_else(|_| IpNet::from_str(network))
                .map_err(|_| InvalidNetwork { network: network.to_owned() })
        };
        let networks = networks.into_iter().map(|network| parse(network.as_ref()));
        Ok(Self { networks: networks.collect::<Result<_, _>>()?, has_unix: false })
    }

    /// Trusts whoever connects to a Unix domain socket, too: a proxy on the same machine. Whoever
    /// may write to the socket's file can.
    pub fn and_unix(mut self) -> Self {
        self.has_unix = true;
        self
    }

    /// Whether Unix sockets are among them.
    pub fn has_unix(&self) -> bool {
        self.has_unix
    }

    /// Whether the address is in one of the networks. An IPv4-mapped IPv6 address is its IPv4
    /// address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.networks.iter().any(|network| network.contains(&ip))
    }
}

/// A network that cannot be parsed; see [`Networks::new`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
#[error("{network:?} is no network; write an address and a prefix length, such as 10.0.0.0/8")]
pub struct InvalidNetwork {
    /// What was given.
    pub network: String,
}
