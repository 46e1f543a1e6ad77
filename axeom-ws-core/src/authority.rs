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

use std::{net::Ipv6Addr, str};

use memchr::memchr;

/// A host and a port, as `Host`, an absolute request target and an origin name them
/// (RFC 9110 §7.2, RFC 3986 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    host: &'a [u8],
    pub(crate) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// `None` if there is no host, if one of the two is malformed, or if there is more than these
    /// two, such as userinfo.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        let end = match text.first()? {
            // An IPv6 address has colons of its own.
            b'[' => memchr(b']', text)?.saturating_add(1),
            _ => memchr(b':', text).unwrap_or(text.len()),
        };
        let (host, rest) = text.split_at(end);
        let port = match rest {
            [] | [b':'] => None,
            [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
                Some(str::from_utf8(digits).ok()?.parse().ok()?)
            }
            _ => return None,
        };
        is_host(host).then_some(Self { host, port })
    }

    /// Whether both name the same host, whatever their ports are.
    pub(crate) fn has_host_of(&self, other: &Self) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
    }
}

/// Whether this is an IPv6 address in brackets, an IPv4 address or a name (RFC 3986 §3.2.2).
fn is_host(host: &[u8]) -> bool {
    if let [b'[', address @ .., b']'] = host {
        return str::from_utf8(address).is_ok_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
    }
    let mut bytes = host.iter();
    let is_hex = |digit: Option<&u8>| digit.is_some_and(u8::is_ascii_hexdigit);
    while let Some(byte) = bytes.next() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {}
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => {}
            b'%' if is_hex(bytes.next()) && is_hex(bytes.next()) => {}
            _ => return false,
        }
    }
    !host.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port_are_told_apart() {
        for (text, host, port) in [
            ("example.com", "example.com", None),
            ("example.com:", "example.com", None),
            ("example.com:0080", "example.com", Some(80)),
            ("127.0.0.1:65535", "127.0.0.1", Some(65535)),
            ("[::1]", "[::1]", None),
            ("[::ffff:10.0.0.1]:3000", "[::ffff:10.0.0.1]", Some(3000)),
            ("a_b.%C3%A9", "a_b.%C3%A9", None),
        ] {
            let host = host.as_bytes();
            assert_eq!(Authority::parse(text.as_bytes()), Some(Authority { host, port }), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_host_and_a_port_is_nothing() {
        for text in [
            "",
            ":80",
            "a b",
            "a\tb",
            "a@b",
            "a:b@c",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a\"b",
            "<a>",
            "a:65536",
            "a:+80",
            "a:-1",
            "a:8o",
            "a:80:80",
            "::1",
            "[]",
            "[::1",
            "[::1]80",
            "[::1]x:80",
            "[fe80::1%25eth0]",
            "[v1.a]",
            "[example.com]",
            "a[::1]",
            "a%",
            "a%4",
            "a%g0",
            "\u{e9}",
        ] {
            assert_eq!(Authority::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Authority::parse(b"\xff"), None);
    }
}
