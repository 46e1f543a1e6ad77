//! The connections of an app: their registry, their topics, and the app's shutdown.

mod handle;
#[cfg(all(test, loom))]
mod loom_model;
mod member;
mod topics;

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use event_listener::Event;

pub use self::handle::AppHandle;
pub(crate) use self::member::{Member, Registration};
use self::topics::Topics;
use crate::{
    close::{CloseCode, CloseFrame},
    handshake::Refusal,
    link::{ConnectionId, Link},
    shrink::shrunk,
    sync::{
        Mutex, RandomState,
        atomic::{AtomicBool, Ordering},
        lock,
    },
    telemetry,
};

/// The state that all connections of an app share.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    topics: Topics,
    registered: Mutex<Registered>,
    stopping: AtomicBool,
    /// Notified when `stopping` is set.
    stop: Event,
}

#[derive(Debug, Default)]
struct Registered {
    members: HashMap<ConnectionId, Arc<Member>, RandomState>,
    /// The number of connections per address or IPv6 network, counted only if it is limited.
    per_ip: HashMap<IpAddr, usize>,
}

impl Registered {
    fn shrink(&mut self) {
        let Self { members, per_ip } = self;
        if let Some(capacity) = shrunk(members.len(), members.capacity()) {
            members.shrink_to(capacity);
        }
        if let Some(capacity) = shrunk(per_ip.len(), per_ip.capacity()) {
            per_ip.shrink_to(capacity);
        }
    }
}

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

impl Connections {
    /// Registers a connection, unless a limit is reached or the app is shutting down.
    pub(crate) fn register(
        self: &Arc<Self>,
        link: Link,
        ip: Option<IpAddr>,
        capacity: Capacity,
    ) -> Result<Registration, Refusal> {
        let member = Arc::new(Member::new(link, Arc::clone(self)));
        let mut registered = lock(&self.registered);
        // `shut_down` sets this under the same lock, so it closes every connection registered
        // before.
        if self.is_stopping() {
            return Err(Refusal::ShuttingDown);
        }
        if capacity.all.is_some_and(|most| registered.members.len() >= most) {
            return Err(Refusal::AtCapacity);
        }
        let mut counted = None;
        if let Some((most, ip)) = capacity.per_ip.zip(ip) {
            let ip = capacity.counted_as(ip);
            let count = registered.per_ip.get(&ip).copied().unwrap_or(0);
            if count >= most {
                return Err(Refusal::AtCapacity);
            }
            registered.per_ip.insert(ip, count + 1);
            counted = Some(Box::new(ip));
        }
        registered.members.insert(member.link().id(), Arc::clone(&member));
        drop(registered);
        telemetry::opened();
        Ok(Registration::new(member, counted))
    }

    fn unregister(&self, id: ConnectionId, counted: Option<Box<IpAddr>>) {
        let mut registered = lock(&self.registered);
        let member = registered.members.remove(&id);
        if let Some(Entry::Occupied(mut count)) = counted.map(|ip| registered.per_ip.entry(*ip)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        registered.shrink();
        drop(registered);
        // This may be the last handle: what it owns is dropped without the lock.
        drop(member);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Waits until the shutdown starts.
    pub(crate) async fn stopping(&self) {
        while !self.is_stopping() {
            let listener = self.stop.listen();
            if !self.is_stopping() {
                listener.await;
            }
        }
    }

    /// Refuses further connections, and closes those that exist.
    pub(crate) fn shut_down(&self) {
        let members: Vec<_> = {
            let registered = lock(&self.registered);
            self.stopping.store(true, Ordering::Release);
            registered.members.values().cloned().collect()
        };
        self.stop.notify(usize::MAX);
        for member in members {
            member.link().close(CloseFrame::new(CloseCode::GOING_AWAY, "server shutting down"));
        }
    }

    /// Cuts all connections that are still registered.
    pub(crate) fn cut_all(&self) {
        let members: Vec<_> = lock(&self.registered).members.values().cloned().collect();
        for member in members {
            member.link().cut();
        }
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.registered).members.len()
    }
}
