use axeom_ws_core::{
    Answer, App, Compression, DeflateParams, Options, Peer,
    handshake::{
        ExtensionOffer, agreed_deflate, check_response, offer_deflate, offered_extensions,
    },
    http::{
        HeaderValue, Request, Response,
        header::{HOST, SEC_WEBSOCKET_EXTENSIONS},
    },
};
use futures::FutureExt;

use crate::{
    input::Input,
    request::{self, ACCEPT, KEY},
};

/// A server answers with what was offered and nothing else, and a client that gets any answer
/// takes only one that belongs to its offer.
pub fn extensions(data: &[u8]) {
    let mut input = Input::new(data);
    let own = compression(&mut input);
    let values: Vec<_> = input
        .rest()
        .split(|byte| *byte == b'\n')
        .filter_map(|value| HeaderValue::from_bytes(value).ok())
        .collect();
    as_server(&own, &values);
    as_client(&own, &values);
}

fn compression(input: &mut Input<'_>) -> Compression {
    let (flags, bits) = (input.byte(), input.byte());
    Compression::new()
        .server_context_takeover(flags & 1 != 0)
        .client_context_takeover(flags & 2 != 0)
        .server_max_window_bits(9 + bits % 7)
        .client_max_window_bits(9 + bits / 7 % 7)
}

fn as_server(own: &Compression, values: &[HeaderValue]) {
    let mut request = request::without_host();
    request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
    for value in values {
        request.headers_mut().append(SEC_WEBSOCKET_EXTENSIONS, value.clone());
    }
    let offers = offered_extensions(&request);
    let app = App::new().options(Options::new().compression(*own)).ws("/", |route| route);
    let service = app.build().unwrap();
    match service.respond(request, Peer::Memory).now_or_never().expect("nothing waits") {
        Answer::Upgrade(accepted) => {
            let offers = offers.unwrap();
            let answered = accepted.response().headers().get(SEC_WEBSOCKET_EXTENSIONS);
            if let Some(answered) = answered {
                let answer = parse_answer(answered);
                assert!(offers.iter().any(|offer| belongs(&answer, offer)), "{answer:?}");
            }
        }
        Answer::Response(response) => {
            assert_eq!(response.status(), 400);
            assert!(offers.is_err());
        }
        _ => unreachable!("there are no other answers"),
    }
}

fn parse_answer(value: &HeaderValue) -> ExtensionOffer {
    let request =
        Request::get("/").header(SEC_WEBSOCKET_EXTENSIONS, value.clone()).body(()).unwrap();
    let mut parsed = offered_extensions(&request).unwrap();
    assert_eq!(parsed.len(), 1, "{value:?}");
    parsed.remove(0)
}

/// Whether an answer is one to this offer (RFC 7692 §7.1).
fn belongs(answer: &ExtensionOffer, offer: &ExtensionOffer) -> bool {
    let offered = |wanted: &str| {
        offer.params.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, v)| v)
    };
    // A number that is none is larger than all.
    let bits = |value: &Option<String>| value.as_ref().map(|bits| bits.parse().unwrap_or(u8::MAX));
    let is_within = |value, most| bits(value).is_some_and(|bits| (9..=most).contains(&bits));
    answer.name.eq_ignore_ascii_case("permessage-deflate")
        && offer.name.eq_ignore_ascii_case("permessage-deflate")
        && answer.params.iter().all(|(name, value)| match name.as_str() {
            // A server may always ask for this.
            "client_no_context_takeover" => value.is_none(),
            "server_no_context_takeover" => value.is_none() && offered(name).is_some(),
            "server_max_window_bits" | "client_max_window_bits" => {
                offered(name).is_some_and(|most| is_within(value, bits(most).unwrap_or(15).min(15)))
            }
            _ => false,
        })
        // What was asked of the server is promised.
        && ["server_no_context_takeover", "server_max_window_bits"].iter().all(|wanted| {
            offered(wanted).is_none() || answer.params.iter().any(|(name, _)| name == wanted)
        })
}

fn as_client(own: &Compression, values: &[HeaderValue]) {
    let mut response = Response::builder()
        .status(101)
        .header("upgrade", "websocket")
        .header("connection", "Upgrade")
        .header("sec-websocket-accept", ACCEPT)
        .body(())
        .unwrap();
    for value in values {
        response.headers_mut().append(SEC_WEBSOCKET_EXTENSIONS, value.clone());
    }
    let Ok(answers) = check_response(&response, KEY, &[]) else { return };
    let offer = parse_answer(&HeaderValue::from_str(&offer_deflate(own)).unwrap());
    let asks = |wanted: &str| offer.params.iter().any(|(name, _)| name == wanted);
    for params in answers.iter().filter_map(|answer| agreed_deflate(answer, own)) {
        let DeflateParams { server_max_window_bits, client_max_window_bits, .. } = params;
        assert!((9..=15).contains(&server_max_window_bits));
        assert!((9..=15).contains(&client_max_window_bits));
        assert!(params.server_no_context_takeover || !asks("server_no_context_takeover"));
        assert!(params.client_no_context_takeover || !asks("client_no_context_takeover"));
    }
}
