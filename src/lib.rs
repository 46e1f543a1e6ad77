#![doc = include_str!("../README.md")]

pub use axeom_ws_core::*;

#[cfg(feature = "async-std")]
pub use axeom_ws_async_std as async_std;
#[cfg(feature = "smol")]
pub use axeom_ws_smol as smol;
#[cfg(feature = "tokio")]
pub use axeom_ws_tokio as tokio;
