//! The negotiation of permessage-deflate (RFC 7692 §5 and §7.1).

use http::HeaderValue;

use super::lists::ExtensionOffer;
use crate::compression::{Compression, DeflateParams};

const NAME: &str = "permessage-deflate";
const SERVER_NO_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_BITS: &str = "server_max_window_bits";
const CLIENT_BITS: &str = "client_max_window_bits";

/// The parameters of one offer or answer.
#[derive(Debug, Default, PartialEq, Eq)]
struct ParsedParams {
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_bits: Option<u8>,
    /// `Some(None)` stands for the parameter without a value.
    client_bits: Option<Option<u8>>,
}

impl ParsedParams {
    /// `None` if this is not permessage-deflate, or if a parameter is unknown, repeated, or has
    /// no usable value.
    fn read(offer: &ExtensionOffer) -> Option<Self> {
        if !offer.name.eq_ignore_ascii_case(NAME) {
            return None;
        }
        let mut parsed = Self::default();
        for (name, value) in &offer.params {
            let value = value.as_deref();
            let fresh = match name.to_ascii_lowercase().as_str() {
                SERVER_NO_TAKEOVER if value.is_none() => {
                    !std::mem::replace(&mut parsed.server_no_takeover, true)
                }
                CLIENT_NO_TAKEOVER if value.is_none() => {
                    !std::mem::replace(&mut parsed.client_no_takeover, true)
                }
                SERVER_BITS => parsed.server_bits.replace(bits(value?)?).is_none(),
                CLIENT_BITS => {
                    let bits = match value {
                        Some(value) => Some(bits(value)?),
                        None => None,
                    };
                    parsed.client_bits.replace(bits).is_none()
                }
                _ => false,
            };
            if !fresh {
                return None;
            }
        }
        Some(parsed)
    }
}

/// Parses window bits: 8 to 15, in decimal without a leading zero (RFC 7692 §7.1.2).
fn bits(value: &str) -> Option<u8> {
    let plain = !value.starts_with('0') && value.bytes().all(|byte| byte.is_ascii_digit());
    value.parse().ok().filter(|bits| plain && (8..=15).contains(bits))
}

/// The smallest window that zlib supports without a header, as a power of two.
const SMALLEST: u8 = 9;

/// Accepts the first offer that can be met, and returns the parameters and the header of the
/// answer. The answer contains only parameters of the offer, with one exception:
/// `client_no_context_takeover`, which a server may always request (RFC 7692 §7.1.1.2).
pub(crate) fn negotiate(
    offers: &[ExtensionOffer],
    own: &Compression,
) -> Option<(DeflateParams, HeaderValue)> {
    offers.iter().filter_map(ParsedParams::read).find_map(|parsed| {
        let server_bits = parsed.server_bits.unwrap_or(15).min(own.server_max_window_bits);
        let client_bits = match parsed.client_bits {
            Some(bits) => bits.unwrap_or(15).min(own.client_max_window_bits),
            None => 15,
        };
        if server_bits < SMALLEST || client_bits < SMALLEST {
            return None;
        }
        let params = DeflateParams {
            server_no_context_takeover: parsed.server_no_takeover || !own.server_context_takeover,
            client_no_context_takeover: parsed.client_no_takeover || !own.client_context_takeover,
            server_max_window_bits: server_bits,
            client_max_window_bits: client_bits,
        };
        let mut answer = NAME.to_owned();
        if parsed.server_no_takeover {
            answer += "; server_no_context_takeover";
        }
        if params.client_no_context_takeover {
            answer += "; client_no_context_takeover";
        }
        if parsed.server_bits.is_some() {
            answer += &format!("; {SERVER_BITS}={server_bits}");
        }
        // 15 bits is what a client uses without the parameter.
        if parsed.client_bits.is_some() && client_bits < 15 {
            answer += &format!("; {CLIENT_BITS}={client_bits}");
        }
        Some((params, HeaderValue::try_from(answer).ok()?))
    })
}

/// The `Sec-WebSocket-Extensions` value with which a client offers this compression
/// (RFC 7692 §7.1).
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{Compression, handshake::offer_deflate};
///
/// assert_eq!(
///     offer_deflate(&Compression::new()),
///     "permessage-deflate; server_no_context_takeover; client_max_window_bits"
/// );
/// ```
pub fn offer_deflate(own: &Compression) -> String {
    let mut offer = NAME.to_owned();
    if !own.server_context_takeover {
        offer += "; server_no_context_takeover";
    }
    if !own.client_context_takeover {
        offer += "; client_no_context_takeover";
    }
    if own.server_max_window_bits < 15 {
        offer += &format!("; {SERVER_BITS}={}", own.server_max_window_bits);
    }
    offer += "; client_max_window_bits";
    if own.client_max_window_bits < 15 {
        offer += &format!("={}", own.client_max_window_bits);
    }
    offer
}

/// The parameters that follow from a server's answer to a client's [offer](offer_deflate). `None`
/// if the client must fail the connection because of the answer (RFC 7692 §7.1).
pub fn agreed_deflate(answer: &ExtensionOffer, own: &Compression) -> Option<DeflateParams> {
    let parsed = ParsedParams::read(answer)?;
    let server_bits = parsed.server_bits.unwrap_or(15);
    let client_bits = match parsed.client_bits {
        Some(bits) => bits?.min(own.client_max_window_bits),
        None => own.client_max_window_bits,
    };
    let broken = (!own.server_context_takeover && !parsed.server_no_takeover)
        || server_bits > own.server_max_window_bits
        || client_bits < SMALLEST;
    (!broken).then_some(DeflateParams {
        server_no_context_takeover: parsed.server_no_takeover,
        client_no_context_takeover: parsed.client_no_takeover || !own.client_context_takeover,
        server_max_window_bits: server_bits.max(SMALLEST),
        client_max_window_bits: client_bits,
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, header::SEC_WEBSOCKET_EXTENSIONS};

    use super::*;
    use crate::handshake::lists::extensions;

    fn offers(value: &str) -> Vec<ExtensionOffer> {
        let mut headers = HeaderMap::new();
        headers.append(SEC_WEBSOCKET_EXTENSIONS, value.parse().unwrap());
        extensions(&headers, &SEC_WEBSOCKET_EXTENSIONS).unwrap()
    }

    fn answer(own: Compression, value: &str) -> Option<String> {
        let (_, answer) = negotiate(&offers(value), &own)?;
        Some(answer.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_answer_names_only_what_was_offered() {
        let own = Compression::new();
        let small = Compression::new().server_max_window_bits(10).client_max_window_bits(11);
        for (own, offer, expected) in [
            (own, "permessage-deflate", "permessage-deflate"),
            (own, "permessage-deflate; client_max_window_bits", "permessage-deflate"),
            (
                own,
                "Permessage-Deflate; Server_No_Context_Takeover",
                "permessage-deflate; server_no_context_takeover",
            ),
            (
                own,
                "permessage-deflate; client_no_context_takeover",
                "permessage-deflate; client_no_context_takeover",
            ),
            (
                own,
                "permessage-deflate; server_max_window_bits=12",
                "permessage-deflate; server_max_window_bits=12",
            ),
            (
                own,
                "permessage-deflate; client_max_window_bits=10",
                "permessage-deflate; client_max_window_bits=10",
            ),
            (small, "permessage-deflate", "permessage-deflate"),
            (
                small,
                "permessage-deflate; client_max_window_bits",
                "permessage-deflate; client_max_window_bits=11",
            ),
            (
                small,
                "permessage-deflate; server_max_window_bits=\"15\"",
                "permessage-deflate; server_max_window_bits=10",
            ),
        ] {
            assert_eq!(answer(own, offer).as_deref(), Some(expected), "{offer}");
        }
    }

    #[test]
    fn an_unusable_offer_is_passed_over_for_the_next() {
        for unusable in [
            "x-webkit-deflate-frame",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; client_max_window_bits=8",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; client_max_window_bits=+9",
            "permessage-deflate; client_max_window_bits=9; client_max_window_bits=9",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; unknown",
        ] {
            assert_eq!(answer(Compression::new(), unusable), None, "{unusable}");
            let two = format!("{unusable}, permessage-deflate");
            assert_eq!(
                answer(Compression::new(), &two).as_deref(),
                Some("permessage-deflate"),
                "{two}"
            );
        }
    }

    #[test]
    fn a_client_takes_the_answers_to_its_own_offer_and_no_others() {
        for own in [
            Compression::new(),
            Compression::new().server_context_takeover(true),
            Compression::new().client_context_takeover(false).client_max_window_bits(9),
            Compression::new().server_max_window_bits(10).client_max_window_bits(12),
        ] {
            let (params, header) =
                negotiate(&offers(&offer_deflate(&own)), &Compression::new()).unwrap();
            let agreed = agreed_deflate(&offers(header.to_str().unwrap())[0], &own).unwrap();
            assert_eq!(agreed.server_max_window_bits, params.server_max_window_bits);
            assert!(agreed.client_max_window_bits <= params.client_max_window_bits);
        }
        let own = Compression::new().server_max_window_bits(10);
        for answer in [
            "permessage-deflate",
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=11",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=10; client_max_window_bits",
        ] {
            assert_eq!(agreed_deflate(&offers(answer)[0], &own), None, "{answer}");
        }
    }
}
