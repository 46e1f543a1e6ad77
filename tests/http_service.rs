//! An app that is mounted in another HTTP server.
#![cfg(feature = "hyper")]

mod support;

#[cfg(feature = "axum")]
#[path = "http_service/axum.rs"]
mod axum_routers;
#[path = "http_service/hyper.rs"]
mod hyper_servers;
