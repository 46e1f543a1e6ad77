use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

/// Identifies a connection. It is unique within the process and never reused.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use std::collections::HashMap;
///
/// use axeom_ws::{ConnectionId, Ws};
///
/// fn note_name(names: &mut HashMap<ConnectionId, String>, ws: &Ws, name: &str) {
///     names.insert(ws.id(), name.to_owned());
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

impl ConnectionId {
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
