//! One suite for every adapter: each test is written once, over the `Runtime` trait, and
//! runs on all runtimes that are compiled in.
#![cfg(any(feature = "tokio", feature = "async-std", feature = "smol"))]

#[path = "../support/mod.rs"]
mod support;

mod acceptors;
mod admission;
mod backpressure;
mod busy;
mod compression;
mod context;
mod dropping;
mod embedding;
mod failures;
mod fairness;
mod fallback;
mod framing;
mod handlers;
mod handshake;
mod head;
mod hooks;
#[cfg(feature = "json")]
mod json;
mod keepalive;
mod lifecycle;
mod limits;
mod listeners;
mod messages;
mod opening;
mod pace;
mod proxies;
#[cfg(feature = "proxy-protocol")]
mod proxy_protocol;
mod raw_frames;
mod raw_requests;
mod routes;
mod shutdown;
#[cfg(feature = "rustls")]
mod tls;
mod topics;
mod violations;
