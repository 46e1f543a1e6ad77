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

use http::uri::Scheme;
use memchr::memchr;

use crate::authority::Authority;

/// Which pages may connect (RFC 6455 §10.2). Browsers send the origin of the page in the handshake,
/// but they do not stop pages of other origins by themselves.
///
/// A request without an `Origin` header does not come from a page, and is always allowed.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{
///     handshake::{OriginPolicy, Refusal, check_upgrade},
///     http::Request,
/// };
///
/// let request = Request::builder()
///     .header("Host", "example.com")
///     .header("Upgrade", "websocket")
///     .header("Connection", "Upgrade")
///     .header("Sec-WebSocket-Version", "13")
///     .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
///     .header("Origin", "https://example.org")
///     .body(())?;
/// assert_eq!(
///     check_upgrade(&request, &OriginPolicy::SameHost, None),
///     Err(Refusal::ForeignOrigin { origin: "https://example.org".to_owned() })
/// );
/// let listed = OriginPolicy::Listed(vec!["https://example.org".to_owned()]);
/// assert!(check_upgrade(&request, &listed, None).is_ok());
/// # Ok::<(), axeom_ws::BoxError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OriginPolicy {
    /// Pages from the host that the request asks for may connect. This is the default.
    #[default]
    SameHost,
    /// Pages of these origins may connect too, such as `https://example.com`.
    Listed(Vec<String>),
    /// Every page may connect.
    Any,
}

impl OriginPolicy {
    /// Whether a page of this origin may connect to this host. If the scheme by which pages reach
    /// the host is known, it must be theirs too.
    pub(crate) fn allows(
        &self,
        origin: &[u8],
        host: Option<&[u8]>,
        scheme: Option<&Scheme>,
    ) -> bool {
        let listed = match self {
            OriginPolicy::Any => return true,
            OriginPolicy::Listed(listed) => listed.as_slice(),
            OriginPolicy::SameHost => &[],
        };
        listed.iter().any(|listed| listed.as_bytes().eq_ignore_ascii_case(origin))
            || host.is_some_and(|host| same_host(origin, host, scheme))
    }

    /// A listed origin that no browser would ever send, if there is one.
    pub(crate) fn unusable(&self) -> Option<&str> {
        let OriginPolicy::Listed(listed) = self else { return None };
        let usable = |origin: &str| origin == "null" || Origin::parse(origin.as_bytes()).is_some();
        listed.iter().map(String::as_str).find(|origin| !usable(origin))
    }
}

/// An origin as browsers send it, `scheme://host[:port]` (RFC 6454 §6.2).
struct Origin<'a> {
    scheme: &'a [u8],
    authority: Authority<'a>,
}

impl<'a> Origin<'a> {
    fn parse(origin: &'a [u8]) -> Option<Self> {
        let colon = memchr(b':', origin)?;
        let (scheme, rest) = origin.split_at(colon);
        let is_scheme_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        if scheme.is_empty() || !scheme.iter().all(is_scheme_byte) {
            return None;
        }
        Some(Self { scheme, authority: Authority::parse(rest.strip_prefix(b"://")?)? })
    }
}

/// The port of pages of this scheme whose origin names none. Pages of other schemes come from no
/// host.
fn default_port(scheme: &[u8]) -> Option<u16> {
    [(Scheme::HTTP, 80), (Scheme::HTTPS, 443)]
        .into_iter()
        .find_map(|(known, port)| is_scheme(scheme, &known).then_some(port))
}

fn is_scheme(scheme: &[u8], known: &Scheme) -> bool {
    scheme.eq_ignore_ascii_case(known.as_str().as_bytes())
}

/// Whether `origin` is that of a page from this host, port and scheme, as far as they are known. A
/// host without a port has the default port of the page's scheme: what the server itself listens
/// on says nothing, because a proxy may have ended TLS.
fn same_host(origin: &[u8], host: &[u8], scheme: Option<&Scheme>) -> bool {
    let (Some(origin), Some(host)) = (Origin::parse(origin), Authority::parse(host)) else {
        return false;
    };
    let Some(default) = default_port(origin.scheme) else { return false };
    scheme.is_none_or(|scheme| is_scheme(origin.scheme, scheme))
        && origin.authority.port.unwrap_or(default) == host.port.unwrap_or(default)
        && origin.authority.has_host_of(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(origin: &str, host: &str, scheme: Option<&Scheme>) -> bool {
        same_host(origin.as_bytes(), host.as_bytes(), scheme)
    }

    #[test]
    fn the_same_host_is_the_same_name_and_port() {
        for (origin, host) in [
            ("http://example.com", "example.com"),
            ("https://Example.com", "example.com"),
            ("http://example.com", "example.com:80"),
            ("http://example.com:80", "example.com"),
            ("https://example.com", "example.com:443"),
            ("http://localhost:3000", "localhost:3000"),
            ("http://[::1]:3000", "[::1]:3000"),
        ] {
            assert!(same(origin, host, None), "{origin} {host}");
        }
        for (origin, host) in [
            ("null", "example.com"),
            ("http://evil.com", "example.com"),
            ("http://example.com.evil.com", "example.com"),
            ("http://evil.com@example.com", "example.com"),
            ("http://user:secret@example.com", "example.com"),
            ("http://localhost:3001", "localhost:3000"),
            ("http://example.com:8080", "example.com"),
            ("http://example.com:443", "example.com"),
            ("https://example.com", "example.com:80"),
            ("app://example.com", "example.com"),
            ("app://example.com:80", "example.com:80"),
        ] {
            assert!(!same(origin, host, None), "{origin} {host}");
        }
    }

    #[test]
    fn a_scheme_that_is_known_is_that_of_the_page() {
        for host in ["example.com", "example.com:443"] {
            assert!(same("https://example.com", host, Some(&Scheme::HTTPS)), "{host}");
            assert!(same("HTTPS://example.com:443", host, Some(&Scheme::HTTPS)), "{host}");
            assert!(!same("http://example.com", host, Some(&Scheme::HTTPS)), "{host}");
            assert!(!same("http://example.com:443", host, Some(&Scheme::HTTPS)), "{host}");
        }
        assert!(same("http://example.com", "example.com", Some(&Scheme::HTTP)));
        assert!(!same("https://example.com", "example.com", Some(&Scheme::HTTP)));
    }

    #[test]
    fn entries_that_never_match_are_found() {
        let unusable = |origin: &str| {
            OriginPolicy::Listed(vec![origin.to_owned()]).unusable().map(str::to_owned)
        };
        for bad in [
            "https://example.com/",
            "example.com",
            "https://example.com/page",
            "https://user@example.com",
            "https://",
            "://example.com",
            "",
        ] {
            assert_eq!(unusable(bad).as_deref(), Some(bad));
        }
        assert_eq!(unusable("null"), None);
        assert_eq!(unusable("https://example.com:8443"), None);
    }
}
