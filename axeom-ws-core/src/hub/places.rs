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
    /// The address under which a client is counted, if it is: the same for all that may be one
    /// client.
    fn counted_as(&self, ip: Option<IpAddr>) -> Option<IpAddr> {
        // An IPv4 address and its IPv4-mapped IPv6 form are the same client.
        let ip = self.per_ip.and(ip)?.to_canonical();
        let IpAddr::V6(ip) = ip else { return Some(ip) };
        let rest = u32::from(128_u8.saturating_sub(self.ipv6_prefix_len));
        let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
        Some(Ipv6Addr::from_bits(ip.to_bits() & mask).into())
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

impl Taken {
    /// Counts one more connection of a client.
    fn add(&mut self, ip: Option<IpAddr>, capacity: Capacity) -> Result<(), Refusal> {
        let Some((most, ip)) = capacity.per_ip.zip(ip) else { return Ok(()) };
        let count = self.per_ip.get(&ip).copied().unwrap_or(0);
        if count >= most {
            return Err(Refusal::AtCapacity);
        }
        self.per_ip.insert(ip, count + 1);
        Ok(())
    }

    fn remove(&mut self, ip: Option<IpAddr>) {
        if let Some(Entry::Occupied(mut count)) = ip.map(|ip| self.per_ip.entry(ip)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        if let Some(capacity) = shrunk(self.per_ip.len(), self.per_ip.capacity()) {
            self.per_ip.shrink_to(capacity);
        }
    }
}

/// The place of a connection, from when it is accepted until it is over. It is counted only if
/// there is a limit.
pub(crate) struct Place {
    counted: Option<Box<Counted>>,
}

struct Counted {
    connections: Arc<Connections>,
    /// The address under which it is counted, if it is under one.
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
            return Ok(Self { counted: None });
        }
        let ip = capacity.counted_as(ip);
        let mut taken = lock(&connections.places.0);
        if capacity.all.is_some_and(|most| taken.all >= most) {
            return Err(Refusal::AtCapacity);
        }
        taken.add(ip, capacity)?;
        taken.all += 1;
        drop(taken);
        let counted = Counted { connections: Arc::clone(connections), ip };
        Ok(Self { counted: Some(Box::new(counted)) })
    }

    /// Counts the connection under the address that its client turned out to have, instead of the
    /// one before. It keeps its place as it was if that address has no room.
    pub(crate) fn belongs_to(
        &mut self,
        ip: Option<IpAddr>,
        capacity: Capacity,
    ) -> Result<(), Refusal> {
        let Some(counted) = &mut self.counted else { return Ok(()) };
        let ip = capacity.counted_as(ip);
        if ip != counted.ip {
            let mut taken = lock(&counted.connections.places.0);
            taken.add(ip, capacity)?;
            taken.remove(counted.ip);
            counted.ip = ip;
        }
        Ok(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut taken = lock(&self.connections.places.0);
        taken.all -= 1;
        taken.remove(self.ip);
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
