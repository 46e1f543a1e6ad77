//! One suite for every adapter: each test is written once, over the `Runtime` trait, and
//! runs on all runtimes that are compiled in.

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod failures;
mod fallback;
mod framing;
mod handshake;
mod head;
mod lifecycle;
mod messages;
mod violations;
