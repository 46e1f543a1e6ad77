//! The parts of the handshake request that handlers can read.
//!
//! A header, cookie or query parameter is `None` if it is missing or not UTF-8. A path parameter
//! always has a value: the route would not match without it, and a path whose parameters are not
//! UTF-8 is refused.
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

use std::{borrow::Cow, str, sync::Arc};

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, header::*};
use percent_encoding::percent_decode_str;

use crate::runtime::Peer;

/// The decoded values of a route's path parameters, with their names, which the route shares.
#[derive(Debug, Clone, Default)]
pub(super) struct Params(Box<[(Arc<str>, Box<str>)]>);

impl Params {
    pub(super) fn new(params: Vec<(Arc<str>, Box<str>)>) -> Self {
        Self(params.into())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// A name that the route does not have is a bug in the program: it is logged, and the value is
    /// empty.
    pub(super) fn get(&self, name: &str) -> &str {
        if let Some((_, value)) = self.iter().find(|(key, _)| *key == name) {
            return value;
        }
        let has: Vec<_> = self.iter().map(|(name, _)| name).collect();
        tracing::error!(param = name, ?has, "the route has no parameter of this name");
        ""
    }
}

/// Header lines in one allocation of exactly their size. Every connection keeps them for as long
/// as it lives, and a `HeaderMap` would take several times the memory.
#[derive(Debug, Default)]
struct HeaderLines(Box<[u8]>);

/// The size of the two lengths, of name and value, that precede each line.
const LENGTHS: usize = 8;

impl HeaderLines {
    /// Stores the lines of `first`, whose names cannot be those of headers, and then the headers.
    fn new(first: &[(&str, &str)], headers: &HeaderMap) -> Self {
        let kept = || {
            headers
                .iter()
                .filter(|(name, _)| !serves_the_handshake_alone(name))
                .map(|(name, value)| (name.as_str(), value.as_bytes()))
        };
        let all = || first.iter().map(|(name, value)| (*name, value.as_bytes())).chain(kept());
        let size = all()
            .map(|(name, value)| LENGTHS.saturating_add(name.len()).saturating_add(value.len()))
            .sum();
        let mut lines = Vec::with_capacity(size);
        for (name, value) in all() {
            // A head is smaller than 4 GiB, so the lengths fit.
            lines.extend_from_slice(&(name.len() as u32).to_ne_bytes());
            lines.extend_from_slice(&(value.len() as u32).to_ne_bytes());
            lines.extend_from_slice(name.as_bytes());
            lines.extend_from_slice(value);
        }
        Self(lines.into())
    }

    /// The values of all lines with this name, in order.
    fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            while let Some((lengths, after)) = rest.split_first_chunk::<LENGTHS>() {
                let [a, b, c, d, e, f, g, h] = *lengths;
                let name_len = u32::from_ne_bytes([a, b, c, d]) as usize;
                let value_len = u32::from_ne_bytes([e, f, g, h]) as usize;
                let (key, after) = after.split_at_checked(name_len)?;
                let (value, after) = after.split_at_checked(value_len)?;
                rest = after;
                if key.eq_ignore_ascii_case(name.as_bytes()) {
                    return Some(value);
                }
            }
            None
        })
    }

    fn get(&self, name: &str) -> Option<&str> {
        text(self.all(name).next()?)
    }
}

/// Whether a header is of no use once the handshake is over.
fn serves_the_handshake_alone(name: &HeaderName) -> bool {
    [CONNECTION, UPGRADE, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_EXTENSIONS]
        .contains(name)
}

fn text(value: &[u8]) -> Option<&str> {
    str::from_utf8(value).ok()
}

/// The values of all headers with this name that are text.
pub(super) fn headers<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().map(HeaderValue::as_bytes).filter_map(text)
}

pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(HeaderValue::as_bytes).and_then(text)
}

/// The first cookie with this name in the values of all `Cookie` headers.
pub(super) fn cookie<'a>(headers: impl Iterator<Item = &'a [u8]>, name: &str) -> Option<&'a str> {
    headers
        .flat_map(|value| value.split(|byte| *byte == b';'))
        .filter_map(|pair| {
            let pair = pair.trim_ascii();
            let equals = pair.iter().position(|byte| *byte == b'=')?;
            let (key, value) = pair.split_at_checked(equals)?;
            Some((key, value.strip_prefix(b"=")?))
        })
        .find_map(|(key, value)| (key == name.as_bytes()).then_some(value))
        .and_then(text)
}

/// The first value of a parameter in a query string, which is form-encoded.
pub(super) fn query<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .find(|(key, _)| decode(key).is_some_and(|key| key == name))
        .and_then(|(_, value)| decode(value))
}

/// `None` if the decoded bytes are not UTF-8.
fn decode(encoded: &str) -> Option<Cow<'_, str>> {
    if !encoded.contains('+') {
        return percent_decode_str(encoded).decode_utf8().ok();
    }
    let encoded = encoded.replace('+', " ");
    Some(percent_decode_str(&encoded).decode_utf8().ok()?.into_owned().into())
}

/// What a connection keeps of its handshake request.
#[derive(Debug)]
pub(super) struct RequestInfo {
    lines: HeaderLines,
    params: Params,
    peer: Peer,
    extensions: Extensions,
}

/// The names of lines that are not headers. The name of a header cannot contain a colon.
const URI: &str = ":uri";
const PROTOCOL: &str = ":protocol";

impl RequestInfo {
    pub(super) fn new(
        request: &Request<()>,
        params: Params,
        protocol: Option<&HeaderValue>,
        peer: Peer,
    ) -> Self {
        let uri = request.uri().to_string();
        let protocol = protocol.and_then(|protocol| protocol.to_str().ok());
        let first = [(URI, &*uri), (PROTOCOL, protocol.unwrap_or_default())];
        let first = if protocol.is_some() { &first[..] } else { &first[..1] };
        Self {
            lines: HeaderLines::new(first, request.headers()),
            params,
            peer,
            extensions: request.extensions().clone(),
        }
    }

    pub(super) fn uri(&self) -> &str {
        self.lines.get(URI).unwrap_or_default()
    }

    pub(super) fn protocol(&self) -> Option<&str> {
        self.lines.get(PROTOCOL)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.lines.get(name).filter(|_| !name.starts_with(':'))
    }

    pub(super) fn headers<'n>(&self, name: &'n str) -> impl Iterator<Item = &str> + use<'_, 'n> {
        self.lines.all(name).filter(|_| !name.starts_with(':')).filter_map(text)
    }

    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        cookie(self.lines.all(COOKIE.as_str()), name)
    }

    pub(super) fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        let (_, after) = self.uri().split_once('?')?;
        query(after, name)
    }

    pub(super) fn params(&self) -> &Params {
        &self.params
    }

    pub(super) fn peer(&self) -> Peer {
        self.peer
    }

    pub(super) fn extension<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.extensions.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_lines_answer_as_the_map_did() {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("example.com"));
        headers.insert("x-empty", HeaderValue::from_static(""));
        headers.insert("x-bytes", HeaderValue::from_bytes(b"\xff").unwrap());
        headers.append("cookie", HeaderValue::from_static("a=1"));
        headers.append("cookie", HeaderValue::from_static("b=2"));
        let lines = HeaderLines::new(&[(URI, "/")], &headers);
        for name in ["host", "Host", "x-empty", "x-bytes", "cookie", "missing"] {
            assert_eq!(lines.get(name), header(&headers, name), "{name}");
        }
        assert_eq!(lines.get(URI), Some("/"));
        assert_eq!(HeaderLines::default().get("host"), None);
    }

    #[test]
    fn what_is_missing_or_not_text_is_none() {
        let cookies = [&b"a=1; b=\xff"[..], b"c = 3;d=4;d=5; e"];
        let cookie = |name| cookie(cookies.into_iter(), name);
        assert_eq!(cookie("a"), Some("1"));
        assert_eq!(cookie("d"), Some("4"));
        assert_eq!((cookie("b"), cookie("e"), cookie("f")), (None, None, None));

        let query = |name| query("a=1&b=x+y%21&c=%ff&d&%65=5&a=2", name);
        assert_eq!(query("a").as_deref(), Some("1"));
        assert_eq!(query("b").as_deref(), Some("x y!"));
        assert_eq!(query("d").as_deref(), Some(""));
        assert_eq!(query("e").as_deref(), Some("5"));
        assert_eq!((query("c"), query("f")), (None, None));
    }
}
