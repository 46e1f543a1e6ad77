use async_tungstenite::tungstenite::handshake::derive_accept_key;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};

use super::{
    Refusal,
    lists::{self, ExtensionOffer},
};
use crate::origin::OriginPolicy;

/// Checks what every request must have: exactly one `Host` header (RFC 9112 §3.2).
///
/// # Errors
/// [`Refusal::Host`] if there is none, or more than one.
pub fn check_head<B>(request: &Request<B>) -> Result<(), Refusal> {
    if request.headers().get_all(header::HOST).iter().count() == 1 {
        Ok(())
    } else {
        Err(Refusal::Host)
    }
}

/// Whether a request asks for an upgrade to WebSocket, even if the rest of it is wrong.
pub fn is_upgrade<B>(request: &Request<B>) -> bool {
    lists::has_token(request.headers(), &header::UPGRADE, "websocket")
}

/// Checks that no body is announced, because it would be parsed as frames.
pub(crate) fn check_no_body(headers: &HeaderMap) -> Result<(), Refusal> {
    let empty = |value: &HeaderValue| {
        !value.is_empty() && value.as_bytes().iter().all(|digit| *digit == b'0')
    };
    let length_is_zero = headers.get_all(header::CONTENT_LENGTH).iter().all(empty);
    if length_is_zero && !headers.contains_key(header::TRANSFER_ENCODING) {
        Ok(())
    } else {
        Err(Refusal::Body)
    }
}

/// Checks a request to a WebSocket route (RFC 6455 §4.2.1): its method, upgrade, version, key,
/// body and origin, in this order.
///
/// # Errors
/// The refusal for the first check that fails.
pub fn check_upgrade<B>(request: &Request<B>, origins: &OriginPolicy) -> Result<Upgrade, Refusal> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(Refusal::MethodNotAllowed);
    }
    if request.version() != Version::HTTP_11
        || !is_upgrade(request)
        || !lists::has_token(headers, &header::CONNECTION, "upgrade")
    {
        return Err(Refusal::UpgradeRequired);
    }
    if only(headers, &header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal::UnsupportedVersion);
    }
    let key = only(headers, &header::SEC_WEBSOCKET_KEY)
        .filter(|key| is_key(key.as_bytes()))
        .ok_or(Refusal::BadKey)?;
    check_no_body(headers)?;
    if !origins.allows(headers) {
        return Err(Refusal::ForeignOrigin);
    }
    Ok(Upgrade { accept: derive_accept_key(key.as_bytes()) })
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
    accept: String,
}

impl Upgrade {
    /// The 101 response (RFC 6455 §4.2.2), with the subprotocol that was chosen, if any.
    pub fn response(&self, protocol: Option<&HeaderValue>) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(protocol) = protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol.clone());
        }
        response
    }
}

/// The value of a header, or `None` if it is missing or repeated.
pub(super) fn only<'a>(
    headers: &'a HeaderMap,
    name: &header::HeaderName,
) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether this looks like 16 bytes in base64, which are 22 digits and two padding characters.
fn is_key(key: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(digit)
}
