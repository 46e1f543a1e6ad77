//! The opening handshake of RFC 6455 §4, without I/O.
//!
//! [`HeadReader`] parses received bytes into an [`http::Request`]. [`check_head`] and
//! [`check_upgrade`] turn the request into an [`Upgrade`], which makes the 101 response, or into
//! a [`Refusal`], which tells the client what to change. [`encode`] turns any response into
//! bytes. For clients, there is [`check_response`].
//!
//! ```
//! # use axeom_ws_core as axeom_ws;
//! use axeom_ws::handshake::{HeadLimits, HeadReader, OriginPolicy, check_head, check_upgrade};
//!
//! let bytes = b"GET /chat HTTP/1.1\r\n\
//!     Host: example.com\r\n\
//!     Upgrade: websocket\r\n\
//!     Connection: Upgrade\r\n\
//!     Sec-WebSocket-Version: 13\r\n\
//!     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
//! let head = HeadReader::new(HeadLimits::default()).read(bytes)?.expect("the head is complete");
//! check_head(&head.request)?;
//! let upgrade = check_upgrade(&head.request, &OriginPolicy::default(), None)?;
//! let response = upgrade.response(None);
//! assert_eq!(response.status(), 101);
//! assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
//! # Ok::<(), axeom_ws::handshake::Refusal>(())
//! ```
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod check;
mod client;
mod deflate;
mod encode;
mod forwarded;
mod head;
mod lists;
mod refusal;

pub use crate::origin::OriginPolicy;

pub use self::{
    check::{
        ExtendedConnect, Upgrade, check_head, check_upgrade, is_upgrade, offered_extensions,
        offered_protocols,
    },
    client::{BadResponse, check_response},
    deflate::{agreed_deflate, offer_deflate},
    encode::encode,
    head::{Head, HeadLimits, HeadReader},
    lists::ExtensionOffer,
    refusal::Refusal,
};
pub(crate) use self::{
    check::{check_host, check_no_body, set_host, settle_host},
    deflate::negotiate,
    encode::{encode_head, encode_parts},
    forwarded::{Forwarded, ForwardingHeaders},
    lists::is_token_byte,
};
