use std::{net::SocketAddr, str};

use http::{HeaderMap, HeaderName, HeaderValue, Request, header::*};

/// The parameters of a route's path, decoded. Their names belong to the route.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params(Box<[(std::sync::Arc<str>, Box<str>)]>);

impl Params {
    pub(crate) fn new(params: Vec<(std::sync::Arc<str>, Box<str>)>) -> Self {
        Self(params.into())
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| &**key == name).map_or("", |(_, value)| value)
    }
}

/// Header lines in one allocation of their own size: a connection keeps them for as
/// long as it lives, and a `HeaderMap` takes several times as much.
#[derive(Debug, Default)]
struct HeaderLines(Box<[u8]>);

/// The lengths of a name and a value, in front of each.
const LENGTHS: usize = 8;

impl HeaderLines {
    /// The headers, behind `first`: more lines, with names that no header has.
    fn new(first: &[(&str, &str)], headers: &HeaderMap) -> Self {
        let kept = || {
            headers
                .iter()
                .filter(|(name, _)| !is_of_the_handshake(name))
                .map(|(name, value)| (name.as_str(), value.as_bytes()))
        };
        let all = || first.iter().map(|(name, value)| (*name, value.as_bytes())).chain(kept());
        let size = all().map(|(name, value)| LENGTHS + name.len() + value.len()).sum();
        let mut lines = Vec::with_capacity(size);
        for (name, value) in all() {
            // A head is never as large as 4 GiB, so neither length is cut.
            lines.extend_from_slice(&(name.len() as u32).to_ne_bytes());
            lines.extend_from_slice(&(value.len() as u32).to_ne_bytes());
            lines.extend_from_slice(name.as_bytes());
            lines.extend_from_slice(value);
        }
        Self(lines.into())
    }

    /// The first value of a header, if it is there and is text.
    fn get(&self, name: &str) -> Option<&str> {
        let mut rest = &*self.0;
        while let Some((lengths, after)) = rest.split_first_chunk::<LENGTHS>() {
            let [a, b, c, d, e, f, g, h] = *lengths;
            let name_len = u32::from_ne_bytes([a, b, c, d]) as usize;
            let value_len = u32::from_ne_bytes([e, f, g, h]) as usize;
            let (key, after) = after.split_at_checked(name_len)?;
            let (value, after) = after.split_at_checked(value_len)?;
            if key.eq_ignore_ascii_case(name.as_bytes()) {
                return visible(value);
            }
            rest = after;
        }
        None
    }
}

/// Whether a header only serves the handshake, which is over.
fn is_of_the_handshake(name: &HeaderName) -> bool {
    [CONNECTION, UPGRADE, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_EXTENSIONS]
        .contains(name)
}

fn visible(value: &[u8]) -> Option<&str> {
    str::from_utf8(value).ok()
}

/// The first value of a header as text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(HeaderValue::as_bytes).and_then(visible)
}

/// What a connection keeps of its handshake.
#[derive(Debug)]
pub(crate) struct RequestInfo {
    lines: HeaderLines,
    params: Params,
    remote_addr: SocketAddr,
}

/// The names of lines that are no headers. A header's name has no colon.
const URI: &str = ":uri";
const PROTOCOL: &str = ":protocol";

impl RequestInfo {
    pub(crate) fn new(
        request: &Request<()>,
        params: Params,
        protocol: Option<&HeaderValue>,
        remote_addr: SocketAddr,
    ) -> Self {
        let uri = request.uri().to_string();
        let protocol = protocol.and_then(|protocol| protocol.to_str().ok());
        let first = [(URI, &*uri), (PROTOCOL, protocol.unwrap_or_default())];
        let first = if protocol.is_some() { &first[..] } else { &first[..1] };
        Self { lines: HeaderLines::new(first, request.headers()), params, remote_addr }
    }

    pub(crate) fn uri(&self) -> &str {
        self.lines.get(URI).unwrap_or_default()
    }

    /// The chosen subprotocol.
    pub(crate) fn protocol(&self) -> Option<&str> {
        self.lines.get(PROTOCOL)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.lines.get(name).filter(|_| !name.starts_with(':'))
    }

    pub(crate) fn param(&self, name: &str) -> &str {
        self.params.get(name)
    }

    pub(crate) fn remote_addr(&self) -> SocketAddr {
        self.remote_addr
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
}
