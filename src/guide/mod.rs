//! How to use axeom-ws, one page for each matter.
//!
//! - [`handlers`]: closures, [`Handler`](crate::Handler) and [`Socket`](crate::Socket); the order
//!   of events; context; groups and plugins.
//! - [`embedding`]: listeners, acceptors, your own stream, HTTP server or runtime; graceful
//!   shutdown.
//! - [`limits`]: every limit and deadline, its default, and what happens past it.
//! - [`topics`]: subscribe and publish; slow subscribers.
//! - [`metrics`]: what is counted, and how to read it.
//! - [`performance`]: what a server pays for the same work, beside its peers.

pub mod handlers {
    #![doc = include_str!("handlers.md")]
}

pub mod embedding {
    #![doc = include_str!("embedding.md")]
}

pub mod limits {
    #![doc = include_str!("limits.md")]
}

pub mod topics {
    #![doc = include_str!("topics.md")]
}

pub mod metrics {
    #![doc = include_str!("metrics.md")]
}

pub mod performance {
    #![doc = include_str!("performance.md")]
    #![doc = include_str!("performance.svg")]
}
