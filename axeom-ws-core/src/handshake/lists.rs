//! The comma-separated lists of RFC 9110 §5.6.1.

use http::{HeaderMap, HeaderName};

use super::Refusal;

/// Whether any of the `name` headers lists `token`, ignoring case.
pub(super) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// The tokens of all `name` headers, in order and without empty items.
pub(super) fn tokens<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    broken: &Refusal,
) -> Result<Vec<&'a str>, Refusal> {
    let mut tokens = Vec::new();
    for value in headers.get_all(name) {
        let value = value.to_str().map_err(|_| broken.clone())?;
        for item in value.split(',').map(|item| item.trim_matches([' ', '\t'])) {
            if item.is_empty() {
                continue;
            }
            if !item.bytes().all(is_token_byte) {
                return Err(broken.clone());
            }
            tokens.push(item);
        }
    }
    Ok(tokens)
}

/// One extension that a client offers or a server uses, with its parameters (RFC 6455 §9.1).
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{handshake::offered_extensions, http::Request};
///
/// let request = Request::builder()
///     .header("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits=10")
///     .body(())?;
/// let offers = offered_extensions(&request)?;
/// assert_eq!(offers[0].name, "permessage-deflate");
/// assert_eq!(offers[0].params[0].1.as_deref(), Some("10"));
/// # Ok::<(), axeom_ws::BoxError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExtensionOffer {
    /// The name of the extension, such as `permessage-deflate`.
    pub name: String,
    /// The parameters in order, each with its value if it has one.
    pub params: Vec<(String, Option<String>)>,
}

/// The extensions of all `name` headers, in order.
pub(super) fn extensions(
    headers: &HeaderMap,
    name: &HeaderName,
) -> Result<Vec<ExtensionOffer>, Refusal> {
    let mut offers = Vec::new();
    for value in headers.get_all(name) {
        let mut cursor = Cursor(value.as_bytes());
        loop {
            cursor.skip_space();
            if cursor.0.first().is_some_and(|byte| *byte != b',') {
                offers.push(cursor.extension().ok_or(Refusal::BadExtensions)?);
            }
            if cursor.0.is_empty() {
                break;
            }
            if !cursor.take(b',') {
                return Err(Refusal::BadExtensions);
            }
        }
    }
    Ok(offers)
}

pub(super) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self(text)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_at(&self, byte: u8) -> bool {
        self.0.first() == Some(&byte)
    }

    fn extension(&mut self) -> Option<ExtensionOffer> {
        let name = self.token()?;
        let mut params = Vec::new();
        while self.take(b';') {
            let name = self.token()?;
            let value = if self.take(b'=') { Some(self.value()?) } else { None };
            params.push((name, value));
        }
        Some(ExtensionOffer { name, params })
    }

    /// Reads a token, or a quoted string that contains one.
    fn value(&mut self) -> Option<String> {
        self.skip_space();
        if !self.take(b'"') {
            return self.token();
        }
        let mut value = String::new();
        while !self.take(b'"') {
            self.take(b'\\');
            let (byte, rest) = self.0.split_first()?;
            if !is_token_byte(*byte) {
                return None;
            }
            value.push(char::from(*byte));
            self.0 = rest;
        }
        self.skip_space();
        (!value.is_empty()).then_some(value)
    }

    /// Reads a quoted string (RFC 9110 §5.6.4), or as many of these bytes as there are.
    pub(super) fn quoted_or(&mut self, is_allowed: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
        if !self.take(b'"') {
            let end = self.0.iter().position(|byte| !is_allowed(*byte)).unwrap_or(self.0.len());
            let (value, rest) = self.0.split_at(end);
            self.0 = rest;
            return (!value.is_empty()).then(|| value.to_vec());
        }
        let mut value = Vec::new();
        while !self.take(b'"') {
            self.take(b'\\');
            let (byte, rest) = self.0.split_first()?;
            value.push(*byte);
            self.0 = rest;
        }
        Some(value)
    }

    pub(super) fn token(&mut self) -> Option<String> {
        self.skip_space();
        let end = self.0.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        self.skip_space();
        (!token.is_empty()).then(|| token.iter().copied().map(char::from).collect())
    }

    pub(super) fn take(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    pub(super) fn skip_space(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }
}

/// Whether this is a character of a token (RFC 9110 §5.6.2).
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::SEC_WEBSOCKET_EXTENSIONS};

    use super::*;

    fn parse(value: &str) -> Result<Vec<ExtensionOffer>, Refusal> {
        let mut headers = HeaderMap::new();
        headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_str(value).unwrap());
        extensions(&headers, &SEC_WEBSOCKET_EXTENSIONS)
    }

    #[test]
    fn offers_keep_their_order_and_parameters() {
        let offers = parse(
            "permessage-deflate; client_max_window_bits ; server_max_window_bits=\"10\", x-y",
        )
        .unwrap();
        assert_eq!(offers.len(), 2);
        assert_eq!(offers[0].name, "permessage-deflate");
        assert_eq!(
            offers[0].params,
            [
                ("client_max_window_bits".to_owned(), None),
                ("server_max_window_bits".to_owned(), Some("10".to_owned())),
            ]
        );
        assert_eq!(offers[1], ExtensionOffer { name: "x-y".to_owned(), params: vec![] });
        assert_eq!(parse(" , ,a,").unwrap().len(), 1);
    }

    #[test]
    fn broken_syntax_is_refused() {
        for value in
            ["a b", "a;", "a;=1", "a; b=", "a; b=\"", "a; b=\"x y\"", "a;b=\"\"", "(a)", "a=1"]
        {
            assert_eq!(parse(value), Err(Refusal::BadExtensions), "{value}");
        }
    }
}
