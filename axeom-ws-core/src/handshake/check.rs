use async_tungstenite::tungstenite::handshake::derive_accept_key;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
    uri::Scheme,
};

use super::{
    Refusal,
    lists::{self, ExtensionOffer},
    refusal::shown,
};
use crate::{authority::Authority, origin::OriginPolicy};

/// Checks what every request must have: a target of a form that belongs to its method (RFC 9112
/// §3.2), and exactly one `Host` header, which names a host and perhaps a port. HTTP/1.1 alone
/// requires the header (RFC 9112 §3.2).
///
/// # Errors
/// [`Refusal::InvalidHead`] if the target has another form, [`Refusal::Host`] if there is no `Host`
/// or more than one, and [`Refusal::MalformedHost`] if it, or the target, names no usable host.
pub fn check_head<B>(request: &Request<B>) -> Result<(), Refusal> {
    let (method, uri) = (request.method(), request.uri());
    if uri.path() == "*" && method != Method::OPTIONS {
        return Err(Refusal::InvalidHead("only OPTIONS may have the target *"));
    }
    if uri.scheme().is_none() && uri.authority().is_some() && method != Method::CONNECT {
        return Err(Refusal::InvalidHead("the target must begin with a slash or with http://"));
    }
    let host = single(request.headers(), &header::HOST, Refusal::Host)?.map(HeaderValue::as_bytes);
    if host.is_none() && request.version() == Version::HTTP_11 {
        return Err(Refusal::Host);
    }
    let named = uri.authority().map(|authority| authority.as_str().as_bytes());
    match [host, named].into_iter().flatten().find(|host| Authority::parse(host).is_none()) {
        Some(host) => Err(Refusal::MalformedHost { host: shown(host) }),
        None => Ok(()),
    }
}

/// The host that a request asks for: that of its target, if it names one, and else that of its
/// `Host` header (RFC 9112 §3.3).
fn host<B>(request: &Request<B>) -> Option<&[u8]> {
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str().as_bytes()),
        None => request.headers().get(header::HOST).map(HeaderValue::as_bytes),
    }
}

/// Makes the host that a proxy has passed on that which the request asks for.
pub(crate) fn set_host<B>(request: &mut Request<B>, host: HeaderValue) {
    let mut parts = request.uri().clone().into_parts();
    if let Some(authority) = &mut parts.authority {
        // It was parsed as a host and a port, which are an authority.
        if let Ok(named) = host.as_bytes().try_into() {
            *authority = named;
        }
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request.headers_mut().insert(header::HOST, host);
}

/// Replaces the `Host` header by the host that the target names, if it names one: that is the one
/// which counts (RFC 9112 §3.2.2).
pub(crate) fn settle_host<B>(request: &mut Request<B>) {
    let named = request.uri().authority().map(|named| HeaderValue::from_str(named.as_str()));
    if let Some(Ok(named)) = named {
        request.headers_mut().insert(header::HOST, named);
    }
}

/// Checks that a request asks for one of these hosts, which name a port if it is to be that one.
pub(crate) fn check_host<B>(request: &Request<B>, hosts: &[String]) -> Result<(), Refusal> {
    let asked = host(request).unwrap_or_default();
    let is_allowed = |asked: Authority<'_>| {
        let mut own = hosts.iter().filter_map(|host| Authority::parse(host.as_bytes()));
        own.any(|own| own.has_host_of(&asked) && (own.port.is_none() || own.port == asked.port))
    };
    if Authority::parse(asked).is_some_and(is_allowed) {
        Ok(())
    } else {
        Err(Refusal::UnknownHost { host: shown(asked) })
    }
}

/// Says that a request is an extended CONNECT of HTTP/2 whose `:protocol` is `websocket` (RFC 8441
/// §4). An HTTP server puts it into the extensions of such a request, because the pseudo-header has
/// no place in a [`Request`].
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{
///     handshake::{ExtendedConnect, OriginPolicy, check_upgrade},
///     http::{Method, Request, Version},
/// };
///
/// let request = Request::builder()
///     .method(Method::CONNECT)
///     .uri("https://example.com/chat")
///     .version(Version::HTTP_2)
///     .header("sec-websocket-version", "13")
///     .extension(ExtendedConnect)
///     .body(())?;
/// let upgrade = check_upgrade(&request, &OriginPolicy::default(), None)?;
/// assert_eq!(upgrade.response(None).status(), 200);
/// # Ok::<(), axeom_ws::BoxError>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[allow(clippy::exhaustive_structs, reason = "it is a mark")]
pub struct ExtendedConnect;

fn is_extended_connect<B>(request: &Request<B>) -> bool {
    request.method() == Method::CONNECT && request.extensions().get::<ExtendedConnect>().is_some()
}

/// Whether a request asks for an upgrade to WebSocket, even if the rest of it is wrong.
pub fn is_upgrade<B>(request: &Request<B>) -> bool {
    lists::has_token(request.headers(), &header::UPGRADE, "websocket")
        || is_extended_connect(request)
}

/// Checks that no body is announced, because it would be parsed as frames.
pub(crate) fn check_no_body(headers: &HeaderMap) -> Result<(), Refusal> {
    let length = single(headers, &header::CONTENT_LENGTH, Refusal::Body)?;
    let is_zero = |value: &HeaderValue| {
        !value.is_empty() && value.as_bytes().iter().all(|digit| *digit == b'0')
    };
    if length.is_none_or(is_zero) && !headers.contains_key(header::TRANSFER_ENCODING) {
        Ok(())
    } else {
        Err(Refusal::Body)
    }
}

/// Checks a request to a WebSocket route (RFC 6455 §4.2.1): its method, upgrade, version, key,
/// body and origin, in this order. An [`ExtendedConnect`] has another method, and neither upgrade
/// nor key (RFC 8441 §5).
///
/// `scheme` is that by which pages reach the server, `http` or `https`. If it is known, pages of
/// the other scheme are not of the same host.
///
/// # Errors
/// The refusal for the first check that fails.
pub fn check_upgrade<B>(
    request: &Request<B>,
    origins: &OriginPolicy,
    scheme: Option<&Scheme>,
) -> Result<Upgrade, Refusal> {
    let headers = request.headers();
    let is_extended = is_extended_connect(request);
    if !is_extended {
        if request.method() != Method::GET {
            return Err(Refusal::MethodNotAllowed);
        }
        if request.version() != Version::HTTP_11
            || !is_upgrade(request)
            || !lists::has_token(headers, &header::CONNECTION, "upgrade")
        {
            return Err(Refusal::UpgradeRequired);
        }
    }
    let repeated = Refusal::Repeated { header: "Sec-WebSocket-Version" };
    let version = single(headers, &header::SEC_WEBSOCKET_VERSION, repeated)?;
    if version.is_none_or(|version| version != "13") {
        return Err(Refusal::UnsupportedVersion);
    }
    let accept = if is_extended {
        None
    } else {
        let key = single(headers, &header::SEC_WEBSOCKET_KEY, Refusal::BadKey)?
            .filter(|key| is_key(key.as_bytes()))
            .ok_or(Refusal::BadKey)?;
        Some(derive_accept_key(key.as_bytes()))
    };
    check_no_body(headers)?;
    let repeated = Refusal::Repeated { header: "Origin" };
    let origin = single(headers, &header::ORIGIN, repeated)?.map(HeaderValue::as_bytes);
    match origin.filter(|origin| !origins.allows(origin, host(request), scheme)) {
        Some(origin) => Err(Refusal::ForeignOrigin { origin: shown(origin) }),
        None => Ok(Upgrade { accept }),
    }
}

/// The subprotocols that a client offers, in its order of preference (RFC 6455 §4.1).
///
/// # Errors
/// [`Refusal::BadProtocols`] if the header is not a list of tokens.
pub fn offered_protocols<B>(request: &Request<B>) -> Result<Vec<&str>, Refusal> {
    lists::tokens(request.headers(), &header::SEC_WEBSOCKET_PROTOCOL, &Refusal::BadProtocols)
}

/// The extensions that a client offers, in its order of preference (RFC 6455 §9.1). A server
/// ignores those that it does not know.
///
/// # Errors
/// [`Refusal::BadExtensions`] if the header does not follow its grammar.
pub fn offered_extensions<B>(request: &Request<B>) -> Result<Vec<ExtensionOffer>, Refusal> {
    lists::extensions(request.headers(), &header::SEC_WEBSOCKET_EXTENSIONS)
}

/// A handshake that passed all checks and may be accepted. The [module](crate::handshake) has an
/// example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// An extended CONNECT has no key to derive it from.
    accept: Option<String>,
}

impl Upgrade {
    /// The 101 response (RFC 6455 §4.2.2), or 200 to an [`ExtendedConnect`] (RFC 8441 §5), with the
    /// subprotocol that was chosen, if any.
    pub fn response(&self, protocol: Option<&HeaderValue>) -> Response<()> {
        let mut response = Response::new(());
        if let Some(accept) = &self.accept {
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            if let Ok(accept) = HeaderValue::from_str(accept) {
                headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
            }
        }
        if let Some(protocol) = protocol {
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol.clone());
        }
        response
    }
}

/// The value of a header that may not be repeated, or `None` if it is missing.
pub(super) fn single<'a, E>(
    headers: &'a HeaderMap,
    name: &header::HeaderName,
    repeated: E,
) -> Result<Option<&'a HeaderValue>, E> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(repeated) } else { Ok(first) }
}

/// Whether this is what base64 makes of 16 bytes: 22 digits, of which the last holds two bits, and
/// two padding characters (RFC 4648 §4).
fn is_key(key: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let Some((digits, [last, b'=', b'='])) = key.split_first_chunk::<21>() else { return false };
    digits.iter().all(digit) && matches!(last, b'A' | b'Q' | b'g' | b'w')
}
