//! What trusted proxies say of the client.

use std::{
    net::{IpAddr, SocketAddr},
    str,
};

use http::{HeaderMap, HeaderName, HeaderValue, header, uri::Scheme};

use super::{
    Refusal,
    lists::{Cursor, is_token_byte},
    refusal::shown,
};
use crate::{authority::Authority, networks::Networks};

/// The headers that proxies say it in. A server believes only those that its proxies write: they
/// pass the others on as the client sent them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForwardingHeaders {
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The client of a request that came through proxies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Forwarded {
    /// Where it comes from, if they say so. The inner `None` is a client that they do not know.
    pub(crate) addr: Option<Option<SocketAddr>>,
    pub(crate) scheme: Option<Scheme>,
    /// The host that it asked for.
    pub(crate) host: Option<HeaderValue>,
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

impl ForwardingHeaders {
    /// What the headers say. Each proxy appends the address it was reached from, so the addresses
    /// are read from the last: the first that is no trusted proxy is the client's, and what stands
    /// before it may be made up.
    pub(crate) fn read(
        self,
        headers: &HeaderMap,
        trusted: &Networks,
    ) -> Result<Forwarded, Refusal> {
        match self {
            Self::XForwarded => read_x_forwarded(headers, trusted),
            Self::Forwarded => read_forwarded(headers, trusted),
        }
    }
}

fn read_x_forwarded(headers: &HeaderMap, trusted: &Networks) -> Result<Forwarded, Refusal> {
    let items = |name| {
        let values = headers.get_all(name).iter().rev();
        values
            .flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
    };
    let mut addr = None;
    for item in items(X_FORWARDED_FOR) {
        let node = parse_node(item);
        addr = Some(node);
        if node.is_none_or(|node| !trusted.contains(node.ip())) {
            break;
        }
    }
    Ok(Forwarded {
        addr,
        scheme: items(X_FORWARDED_PROTO).next().and_then(parse_scheme),
        host: items(X_FORWARDED_HOST).next().map(parse_host).transpose()?,
    })
}

/// Reads `Forwarded` as a whole, because a quotation mark that a client has left open would take in
/// what a proxy has appended.
fn read_forwarded(headers: &HeaderMap, trusted: &Networks) -> Result<Forwarded, Refusal> {
    let mut elements = Vec::new();
    for value in headers.get_all(header::FORWARDED) {
        let mut cursor = Cursor::new(value.as_bytes());
        loop {
            cursor.skip_space();
            if !cursor.is_at(b',') && !cursor.is_empty() {
                elements.push(parse_element(&mut cursor)?);
            }
            if cursor.is_empty() {
                break;
            }
            if !cursor.take(b',') {
                return Err(Refusal::BadForwarded);
            }
        }
    }
    let mut client = Forwarded::default();
    for element in elements.into_iter().rev() {
        let node = element.addr.flatten();
        client = element;
        if node.is_none_or(|node| !trusted.contains(node.ip())) {
            break;
        }
    }
    Ok(client)
}

/// Parses what one proxy has appended (RFC 7239 §4).
fn parse_element(cursor: &mut Cursor<'_>) -> Result<Forwarded, Refusal> {
    // A proxy that does not say where a request came from does not know.
    let mut element = Forwarded { addr: Some(None), ..Forwarded::default() };
    loop {
        cursor.skip_space();
        if !cursor.is_empty() && !cursor.is_at(b';') && !cursor.is_at(b',') {
            let name = cursor.token().filter(|_| cursor.take(b'=')).ok_or(Refusal::BadForwarded)?;
            let value = cursor.quoted_or(is_node_byte).ok_or(Refusal::BadForwarded)?;
            match name.to_ascii_lowercase().as_str() {
                "for" => element.addr = Some(parse_node(&value)),
                "proto" => element.scheme = parse_scheme(&value),
                "host" => element.host = Some(parse_host(&value)?),
                _ => {}
            }
            cursor.skip_space();
        }
        if !cursor.take(b';') {
            return Ok(element);
        }
    }
}

/// Proxies are known to leave the quotation marks out that a colon or a bracket would need.
fn is_node_byte(byte: u8) -> bool {
    is_token_byte(byte) || matches!(byte, b':' | b'[' | b']')
}

/// The address of a client, perhaps with a port, which is 0 if it is not given. `None` for one that
/// is not known, is kept secret (RFC 7239 §6), or cannot be parsed.
fn parse_node(text: &[u8]) -> Option<SocketAddr> {
    let text = str::from_utf8(text).ok()?;
    if let Ok(addr) = text.parse() {
        return Some(addr);
    }
    let ip = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    ip.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 0))
}

fn parse_scheme(text: &[u8]) -> Option<Scheme> {
    match text.to_ascii_lowercase().as_slice() {
        b"https" | b"wss" => Some(Scheme::HTTPS),
        b"http" | b"ws" => Some(Scheme::HTTP),
        _ => None,
    }
}

fn parse_host(text: &[u8]) -> Result<HeaderValue, Refusal> {
    let host = Authority::parse(text).and_then(|_| HeaderValue::from_bytes(text).ok());
    host.ok_or_else(|| Refusal::MalformedHost { host: shown(text) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: ForwardingHeaders, lines: &[(&str, &str)]) -> Result<Forwarded, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        kind.read(&headers, &Networks::new(["10.0.0.0/8", "fd00::/8"]).unwrap())
    }

    fn x_forwarded(lines: &[(&str, &str)]) -> Forwarded {
        read(ForwardingHeaders::XForwarded, lines).unwrap()
    }

    fn addr(text: &str) -> Option<Option<SocketAddr>> {
        Some(Some(text.parse().unwrap()))
    }

    #[test]
    fn the_last_address_that_is_no_proxy_is_the_client() {
        let name = "x-forwarded-for";
        for (values, expected) in [
            (&["192.0.2.1"][..], addr("192.0.2.1:0")),
            (&["6.6.6.6, 192.0.2.1"], addr("192.0.2.1:0")),
            (&["6.6.6.6", "192.0.2.1, 10.0.0.1", "10.2.3.4"], addr("192.0.2.1:0")),
            (&["192.0.2.1:4711,10.0.0.1:80"], addr("192.0.2.1:4711")),
            (&["6.6.6.6, 2001:db8::1,fd00::2"], addr("[2001:db8::1]:0")),
            (&["[2001:db8::1]:443"], addr("[2001:db8::1]:443")),
            (&["[2001:db8::1]"], addr("[2001:db8::1]:0")),
            // All of them are proxies: the first is where it began.
            (&["10.0.0.9, 10.0.0.1"], addr("10.0.0.9:0")),
            (&["192.0.2.1, unknown, 10.0.0.1"], Some(None)),
            (&["192.0.2.1, "], Some(None)),
            (&["192.0.2.1, ::ffff:10.0.0.1"], addr("192.0.2.1:0")),
            (&[], None),
        ] {
            let lines: Vec<_> = values.iter().map(|value| (name, *value)).collect();
            assert_eq!(x_forwarded(&lines).addr, expected, "{values:?}");
        }
    }

    #[test]
    fn the_last_scheme_and_host_count() {
        let client = x_forwarded(&[
            ("x-forwarded-proto", "http"),
            ("x-forwarded-proto", "http, HTTPS"),
            ("x-forwarded-host", "evil.example, chat.example:8443"),
        ]);
        assert_eq!(client.scheme, Some(Scheme::HTTPS));
        assert_eq!(client.host.unwrap(), "chat.example:8443");
        assert_eq!(x_forwarded(&[("x-forwarded-proto", "gopher")]).scheme, None);
        let malformed = read(ForwardingHeaders::XForwarded, &[("x-forwarded-host", "a b")]);
        assert_eq!(malformed, Err(Refusal::MalformedHost { host: "a b".to_owned() }));
        // The other header is the client's.
        assert_eq!(x_forwarded(&[("forwarded", "for=6.6.6.6")]), Forwarded::default());
    }

    #[test]
    fn an_element_of_forwarded_says_all_of_its_client() {
        let read =
            |value: &str| read(ForwardingHeaders::Forwarded, &[("forwarded", value)]).unwrap();
        let client = read(concat!(
            "for=6.6.6.6;host=evil.example, For=\"[2001:db8::1]:4711\" ; Proto=https;",
            "host=\"chat.example:8443\";by=_hidden;ext=\"a\\\"b, c\" ,, for=10.0.0.1;proto=http"
        ));
        assert_eq!(client.addr, addr("[2001:db8::1]:4711"));
        assert_eq!(client.scheme, Some(Scheme::HTTPS));
        assert_eq!(client.host.unwrap(), "chat.example:8443");
        for (value, expected) in [
            ("for=192.0.2.43", addr("192.0.2.43:0")),
            ("for=192.0.2.43:80", addr("192.0.2.43:80")),
            ("for=_secret", Some(None)),
            ("for=192.0.2.43, for=unknown", Some(None)),
            ("for=192.0.2.43, proto=https", Some(None)),
            ("for=192.0.2.43; ", addr("192.0.2.43:0")),
            (";", Some(None)),
            ("", None),
            (" , ", None),
        ] {
            assert_eq!(read(value).addr, expected, "{value}");
        }
    }

    #[test]
    fn a_client_cannot_take_in_what_a_proxy_appends() {
        for value in [
            "for=\", for=192.0.2.1",
            "for=6.6.6.6;by=\", for=192.0.2.1;proto=https",
            "for=6.6.6.6;by=\", for=\"[2001:db8::1]\"",
            "for=\"6.6.6.6\\, for=192.0.2.1",
            "for",
            "for=",
            "for=1.2.3.4 proto=https",
            "=1",
            "for=1.2.3.4;;=",
        ] {
            let read = read(ForwardingHeaders::Forwarded, &[("forwarded", value)]);
            assert_eq!(read, Err(Refusal::BadForwarded), "{value}");
        }
    }
}
