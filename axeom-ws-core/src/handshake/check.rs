use async_tungstenite::tungstenite::handshake::derive_accept_key;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};

use super::{
    Refusal,
    lists::{self, ExtensionOffer},
};
use crate::origin::OriginPolicy;

/// Checks what holds for any request: exactly one `Host`.
///
/// # Errors
/// [`Refusal::Host`].
pub fn check_head<B>(request: &Request<B>) -> Result<(), Refusal> {
    if request.headers().get_all(header::HOST).iter().count() == 1 {
        Ok(())
    } else {
        Err(Refusal::Host)
    }
}

/// Whether a client asks for WebSocket at all, well or badly.
pub fn is_upgrade<B>(request: &Request<B>) -> bool {
    lists::has_token(request.headers(), &header::UPGRADE, "websocket")
}

/// Checks that no body is announced: it would be taken for frames.
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

/// Checks a request to a WebSocket route, in the order that the refusals have in
/// RFC 6455 §4.2: method, upgrade, version, key, body, origin.
///
/// # Errors
/// The first check that does not hold.
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

/// The subprotocols a client offers, in its order of preference.
///
/// # Errors
/// [`Refusal::BadProtocols`].
pub fn offered_protocols<B>(request: &Request<B>) -> Result<Vec<&str>, Refusal> {
    lists::tokens(request.headers(), &header::SEC_WEBSOCKET_PROTOCOL, &Refusal::BadProtocols)
}

/// The extensions a client offers, in its order of preference. An unknown one is
/// to be ignored.
///
/// # Errors
/// [`Refusal::BadExtensions`].
pub fn offered_extensions<B>(request: &Request<B>) -> Result<Vec<ExtensionOffer>, Refusal> {
    lists::extensions(request.headers(), &header::SEC_WEBSOCKET_EXTENSIONS)
}

/// A handshake that may be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    accept: String,
}

impl Upgrade {
    /// The 101 response, with `protocol` if one was chosen (RFC 6455 §4.2.2).
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

/// The value of a header that must not be repeated.
pub(super) fn only<'a>(
    headers: &'a HeaderMap,
    name: &header::HeaderName,
) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether this is 16 bytes in base64: 22 digits and two signs of padding.
fn is_key(key: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(digit)
}
