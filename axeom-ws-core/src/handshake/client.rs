//! How a client checks the answer to its handshake (RFC 6455 §4.1).

use async_tungstenite::tungstenite::handshake::derive_accept_key;
use http::{HeaderValue, Response, StatusCode, header};
use thiserror::Error;

use super::{
    check::single,
    lists::{self, ExtensionOffer},
    refusal::shown,
};

/// Why a client must not use a connection after the server's answer (RFC 6455 §4.1).
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{
///     handshake::{BadResponse, check_response},
///     http::{Response, StatusCode},
/// };
///
/// let mut response = Response::new(());
/// *response.status_mut() = StatusCode::NOT_FOUND;
/// let error = check_response(&response, "dGhlIHNhbXBsZSBub25jZQ==", &[]).unwrap_err();
/// assert_eq!(error, BadResponse::Status(StatusCode::NOT_FOUND));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadResponse {
    /// The status is not 101.
    #[error("the server answers {0}, not 101")]
    Status(StatusCode),
    /// `Upgrade` is not `websocket`, or `Connection` does not list `Upgrade`.
    #[error("the server does not upgrade to websocket")]
    Upgrade,
    /// `Sec-WebSocket-Accept` is missing or repeated, or does not match the key.
    #[error("the server's Sec-WebSocket-Accept does not belong to the key")]
    Accept,
    /// `Sec-WebSocket-Protocol` is not one of the subprotocols that were offered. Here it is in
    /// printable ASCII and cut after 100 characters.
    #[error("the server's Sec-WebSocket-Protocol \"{0}\" is not one that was offered")]
    Protocol(String),
    /// `Sec-WebSocket-Extensions` does not follow its grammar.
    #[error("the server's Sec-WebSocket-Extensions is malformed")]
    Extensions,
}

/// Checks a server's answer to a handshake with this `Sec-WebSocket-Key` and these subprotocols,
/// and returns the extensions that the server uses. A server may choose none of the subprotocols:
/// whether the client goes on then is its own decision.
///
/// The caller must still fail the connection if there is an extension that it did not offer, or
/// permessage-deflate twice; see also [`agreed_deflate`](super::agreed_deflate).
///
/// # Errors
/// The first check of RFC 6455 §4.1 that fails.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{handshake::check_response, http::Response};
///
/// let response = Response::builder()
///     .status(101)
///     .header("Upgrade", "websocket")
///     .header("Connection", "Upgrade")
///     .header("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
///     .header("Sec-WebSocket-Protocol", "chat.v2")
///     .header("Sec-WebSocket-Extensions", "permessage-deflate")
///     .body(())?;
/// let offered = ["chat.v2", "chat.v1"];
/// let extensions = check_response(&response, "dGhlIHNhbXBsZSBub25jZQ==", &offered)?;
/// assert_eq!(extensions[0].name, "permessage-deflate");
/// # Ok::<(), axeom_ws::BoxError>(())
/// ```
pub fn check_response<B>(
    response: &Response<B>,
    key: &str,
    protocols: &[&str],
) -> Result<Vec<ExtensionOffer>, BadResponse> {
    let headers = response.headers();
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(BadResponse::Status(response.status()));
    }
    let upgrade = single(headers, &header::UPGRADE, BadResponse::Upgrade)?
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !upgrade || !lists::has_token(headers, &header::CONNECTION, "upgrade") {
        return Err(BadResponse::Upgrade);
    }
    let accept = derive_accept_key(key.as_bytes());
    let answered = single(headers, &header::SEC_WEBSOCKET_ACCEPT, BadResponse::Accept)?;
    if answered.is_none_or(|value| *value != *accept) {
        return Err(BadResponse::Accept);
    }
    let chosen = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let chosen: Vec<_> = chosen.map(HeaderValue::as_bytes).collect();
    let is_offered = |chosen: &[u8]| protocols.iter().any(|own| own.as_bytes() == chosen);
    match chosen[..] {
        [] => {}
        [one] if is_offered(one) => {}
        _ => return Err(BadResponse::Protocol(shown(&chosen.join(&b", "[..])))),
    }
    lists::extensions(headers, &header::SEC_WEBSOCKET_EXTENSIONS)
        .map_err(|_| BadResponse::Extensions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const GOOD: [(&str, &str); 3] = [
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, upgrade"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ];

    fn check(status: u16, headers: &[&[(&str, &str)]]) -> Result<Vec<ExtensionOffer>, BadResponse> {
        let response = Response::builder().status(status);
        let headers = headers.iter().copied().flatten();
        let response =
            headers.fold(response, |response, (name, value)| response.header(*name, *value));
        check_response(&response.body(()).unwrap(), KEY, &["v2", "v1"])
    }

    #[test]
    fn a_good_answer_has_its_extensions() {
        assert_eq!(check(101, &[&GOOD]), Ok(vec![]));
        let extensions = [
            ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits=9, a"),
            ("sec-websocket-extensions", "b"),
        ];
        let extensions = check(101, &[&GOOD, &extensions]).unwrap();
        assert_eq!(
            extensions.iter().map(|one| &*one.name).collect::<String>(),
            "permessage-deflateab"
        );
        assert_eq!(
            extensions[0].params,
            [("client_max_window_bits".to_owned(), Some("9".to_owned()))]
        );
    }

    #[test]
    fn the_subprotocol_is_one_that_was_offered() {
        let name = "sec-websocket-protocol";
        assert_eq!(check(101, &[&GOOD, &[(name, "v1")]]), Ok(vec![]));
        for (answer, shown) in [
            (&[(name, "v3")][..], "v3"),
            (&[(name, "V1")], "V1"),
            (&[(name, "")], ""),
            (&[(name, "v2, v1")], "v2, v1"),
            (&[(name, "v1"), (name, "v1")], "v1, v1"),
        ] {
            let refused = Err(BadResponse::Protocol(shown.to_owned()));
            assert_eq!(check(101, &[&GOOD, answer]), refused);
        }
        let response = Response::builder().status(101).header(name, "v1");
        let response = GOOD.iter().fold(response, |all, (name, value)| all.header(*name, *value));
        let none_offered = check_response(&response.body(()).unwrap(), KEY, &[]);
        assert_eq!(none_offered, Err(BadResponse::Protocol("v1".to_owned())));
    }

    #[test]
    fn an_answer_that_is_not_good_is_refused() {
        let [upgrade, connection, accept] = GOOD;
        let other = ("sec-websocket-accept", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        for (status, headers, expected) in [
            (200, &GOOD[..], BadResponse::Status(StatusCode::OK)),
            (101, &[connection, accept], BadResponse::Upgrade),
            (101, &[upgrade, accept], BadResponse::Upgrade),
            (101, &[("upgrade", "h2c"), connection, accept], BadResponse::Upgrade),
            (101, &[upgrade, ("connection", "close"), accept], BadResponse::Upgrade),
            (101, &[upgrade, connection], BadResponse::Accept),
            (101, &[upgrade, connection, other], BadResponse::Accept),
            (101, &[upgrade, connection, accept, accept], BadResponse::Accept),
        ] {
            assert_eq!(check(status, &[headers]), Err(expected), "{headers:?}");
        }
        let broken = [("sec-websocket-extensions", "permessage-deflate;")];
        assert_eq!(check(101, &[&GOOD, &broken]), Err(BadResponse::Extensions));
    }
}
