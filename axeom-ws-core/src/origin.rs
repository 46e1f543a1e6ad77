use http::{HeaderMap, Uri, header, uri::Authority};

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
/// assert_eq!(check_upgrade(&request, &OriginPolicy::SameHost), Err(Refusal::ForeignOrigin));
/// let listed = OriginPolicy::Listed(vec!["https://example.org".to_owned()]);
/// assert!(check_upgrade(&request, &listed).is_ok());
/// # Ok::<(), axeom_ws::BoxError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OriginPolicy {
    /// Pages from the host in the `Host` header may connect. This is the default.
    #[default]
    SameHost,
    /// Pages of these origins may connect too, such as `https://example.com`.
    Listed(Vec<String>),
    /// Every page may connect.
    Any,
}

impl OriginPolicy {
    /// Whether a request with these headers may connect.
    pub(crate) fn allows(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let (origin, more) = (origins.next(), origins.next());
        let Some(origin) = origin else { return true };
        let listed = match self {
            OriginPolicy::Any => return true,
            OriginPolicy::Listed(listed) => listed.as_slice(),
            OriginPolicy::SameHost => &[],
        };
        let origin = match origin.to_str() {
            Ok(origin) if more.is_none() => origin,
            _ => return false,
        };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        listed.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
            || host.is_some_and(|host| same_host(origin, host))
    }

    /// A listed origin that no browser would ever send, if there is one.
    pub(crate) fn unusable(&self) -> Option<&str> {
        let OriginPolicy::Listed(listed) = self else { return None };
        let usable = |origin: &str| {
            origin == "null"
                || origin.parse::<Uri>().is_ok_and(|uri| {
                    uri.scheme().is_some()
                        && uri.host().is_some()
                        && !origin.ends_with('/')
                        && uri.path_and_query().is_none_or(|path| path == "/")
                })
        };
        listed.iter().map(String::as_str).find(|origin| !usable(origin))
    }
}

/// Whether `origin` (`scheme://host[:port]`) has the same host and port as the `Host` header. A
/// proxy may have ended TLS, so schemes are not compared, and a `Host` without a port matches both
/// default ports.
fn same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, origin)) = origin.split_once("://") else { return false };
    let (Ok(origin), Ok(host)) = (origin.parse::<Authority>(), host.parse::<Authority>()) else {
        return false;
    };
    let default = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
    let origin_port = origin.port_u16().unwrap_or(default);
    let same_port = match host.port_u16() {
        Some(port) => port == origin_port,
        None => matches!(origin_port, 80 | 443),
    };
    same_port && origin.host().eq_ignore_ascii_case(host.host())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_host_is_the_same_name_and_port() {
        for (origin, host) in [
            ("http://example.com", "example.com"),
            ("https://Example.com", "example.com"),
            ("http://example.com", "example.com:80"),
            ("http://localhost:3000", "localhost:3000"),
            ("http://[::1]:3000", "[::1]:3000"),
        ] {
            assert!(same_host(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("null", "example.com"),
            ("http://evil.com", "example.com"),
            ("http://example.com.evil.com", "example.com"),
            ("http://localhost:3001", "localhost:3000"),
            ("http://example.com:8080", "example.com"),
        ] {
            assert!(!same_host(origin, host), "{origin} {host}");
        }
    }

    #[test]
    fn entries_that_never_match_are_found() {
        let unusable = |origin: &str| {
            OriginPolicy::Listed(vec![origin.to_owned()]).unusable().map(str::to_owned)
        };
        for bad in ["https://example.com/", "example.com", "https://example.com/page", ""] {
            assert_eq!(unusable(bad).as_deref(), Some(bad));
        }
        assert_eq!(unusable("https://example.com:8443"), None);
    }
}
