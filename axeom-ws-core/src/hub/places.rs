//! How many connections an app may have at a time, and how many from one address.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use super::Connections;
use crate::{
    handshake::Refusal,
    shrink::shrunk,
    sync::{Mutex, lock},
};

/// How many connections an app may have at a time. `None` is no limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    pub(crate) all: Option<usize>,
    pub(crate) per_ip: Option<usize>,
    /// How many of its first bits IPv6 addresses are told apart by.
    pub(crate) ipv6_prefix_len: u8,
}

impl Default for Capacity {
    /// No limit. A network of 64 bits is the least that a single IPv6 client has to choose its
    /// address from (RFC 4291 §2.5.4).
    fn default() -> Self {
        Self { all: None, per_ip: None, ipv6_prefix_len: 64 }
    }
}

impl Capacity {
    /// The address under which a client is counted: the same for all that may be one client.
    fn counted_as(&self, ip: IpAddr) -> IpAddr {
        // An IPv4 address and its IPv4-mapped IPv6 form are the same client.
        let IpAddr::V6(ip) = ip.to_canonical() else { return ip.to_canonical() };
        let rest = u32::from(128_u8.saturating_sub(self.ipv6_prefix_len));
        let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
        Ipv6Addr::from_bits(ip.to_bits() & mask).into()
    }
}

/// The places that are taken.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// The number per address or IPv6 network, counted only if it is limited.
    per_ip: HashMap<IpAddr, usize>,
    last_words: usize,
}

/// The place of a connection, from when it is accepted until it is over. It is counted only if
/// there is a limit.
pub(crate) struct Place {
    _counted: Option<Box<Counted>>,
}

struct Counted {
    connections: Arc<Connections>,
    ip: Option<IpAddr>,
}

impl Place {
    /// Takes a place, unless a limit is reached or the app is shutting down.
    pub(crate) fn take(
        connections: &Arc<Connections>,
        ip: Option<IpAddr>,
        capacity: Capacity,
    ) -> Result<Self, Refusal> {
        if connections.is_stopping() {
            return Err(Refusal::ShuttingDown);
        }
        if capacity.all.or(capacity.per_ip).is_none() {
            return Ok(Self { _counted: None });
        }
        let mut taken = lock(&connections.places.0);
        if capacity.all.is_some_and(|most| taken.all >= most) {
            return Err(Refusal::AtCapacity);
        }
        let mut counted = None;
        if let Some((most, ip)) = capacity.per_ip.zip(ip) {
            let ip = capacity.counted_as(ip);
            let count = taken.per_ip.get(&ip).copied().unwrap_or(0);
            if count >= most {
                return Err(Refusal::AtCapacity);
            }
            taken.per_ip.insert(ip, count + 1);
            counted = Some(ip);
        }
        taken.all += 1;
        drop(taken);
        let counted = Counted { connections: Arc::clone(connections), ip: counted };
        Ok(Self { _counted: Some(Box::new(counted)) })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut taken = lock(&self.connections.places.0);
        taken.all -= 1;
        if let Some(Entry::Occupied(mut count)) = self.ip.map(|ip| taken.per_ip.entry(ip)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        if let Some(capacity) = shrunk(taken.per_ip.len(), taken.per_ip.capacity()) {
            taken.per_ip.shrink_to(capacity);
        }
    }
}

/// The right to wait for a client to read a response, with a descriptor but without a place.
pub(crate) struct LastWord(Arc<Connections>);

/// How many connections may do so at a time. The others are closed at once, and a client that is
/// still sending may lose its response.
const MOST_LAST_WORDS: usize = 256;

impl LastWord {
    pub(crate) fn take(connections: &Arc<Connections>) -> Option<Self> {
        let mut taken = lock(&connections.places.0);
        if taken.last_words >= MOST_LAST_WORDS {
            return None;
        }
        taken.last_words += 1;
        Some(Self(Arc::clone(connections)))
    }
}

impl Drop for LastWord {
    fn drop(&mut self) {
        lock(&self.0.places.0).last_words -= 1;
    }
}

#[cfg(all(test, loom))]
impl Places {
    pub(super) fn is_empty(&self) -> bool {
        let taken = lock(&self.0);
        taken.all == 0 && taken.per_ip.is_empty()
    }
}
