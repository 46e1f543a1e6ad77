use http::{HeaderMap, Response, StatusCode, header};

use super::lists::has_token;

/// Encodes a response for the wire. The connection ends after it, or, with status 101, becomes a
/// WebSocket.
///
/// Except for 101, this sets `Content-Length` from the body, and `Connection: close`. A 204 or 304
/// is sent without a body, even if the response has one (RFC 9110 §6.4.1).
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{handshake::encode, http::Response};
///
/// assert_eq!(
///     encode(&Response::new("hello")),
///     b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
/// );
/// ```
pub fn encode(response: &Response<impl AsRef<[u8]>>) -> Vec<u8> {
    let (mut out, body) = encode_parts(response, false);
    out.extend_from_slice(body);
    out
}

/// The same in two parts, without a copy of the body. `without_body` leaves it out, because the
/// request asked for the head alone.
pub(crate) fn encode_parts<B: AsRef<[u8]>>(
    response: &Response<B>,
    without_body: bool,
) -> (Vec<u8>, &[u8]) {
    let body = response.body().as_ref();
    let head = encode_head(response, body.len());
    let is_sent = may_have_body(response.status()) && !without_body;
    (head, if is_sent { body } else { &[] })
}

/// Encodes the head of a response whose body would be of this length, for a request that asked
/// for the head alone, or for a 101.
pub(crate) fn encode_head<T>(response: &Response<T>, body: usize) -> Vec<u8> {
    let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let mut out = Vec::with_capacity(256);
    let reason = response.status().canonical_reason().unwrap_or_default();
    line(&mut out, &[b"HTTP/1.1 ", response.status().as_str().as_bytes(), b" ", reason.as_bytes()]);
    let closes = upgraded || has_token(response.headers(), &header::CONNECTION, "close");
    write_headers(&mut out, response.headers(), closes);
    if !upgraded {
        if may_have_body(response.status()) {
            line(&mut out, &[b"Content-Length: ", body.to_string().as_bytes()]);
        }
        if !closes {
            line(&mut out, &[b"Connection: close"]);
        }
    }
    line(&mut out, &[]);
    out
}

fn may_have_body(status: StatusCode) -> bool {
    !matches!(
        status,
        StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    )
}

fn write_headers(out: &mut Vec<u8>, headers: &HeaderMap, connection: bool) {
    for (name, value) in headers {
        // The body is always sent as it is, so a header that says otherwise would make the
        // client read its end in the wrong place.
        if matches!(*name, header::CONTENT_LENGTH | header::TRANSFER_ENCODING)
            || (*name == header::CONNECTION && !connection)
        {
            continue;
        }
        title_case(out, name.as_str());
        line(out, &[b": ", value.as_bytes()]);
    }
}

fn line(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes `sec-websocket-accept` as `Sec-WebSocket-Accept`. Header names are case-insensitive,
/// but some old clients compare them with the spelling of the RFC.
fn title_case(out: &mut Vec<u8>, name: &str) {
    let rest = name.strip_prefix("sec-websocket").inspect(|_| out.extend(b"Sec-WebSocket"));
    let mut upper = rest.is_none();
    for byte in rest.unwrap_or(name).bytes() {
        out.push(if upper { byte.to_ascii_uppercase() } else { byte });
        upper = byte == b'-';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_ends_its_connection_and_has_a_body_only_where_one_may_be() {
        let response = Response::builder()
            .status(204)
            .header("connection", "keep-alive")
            .body("not sent")
            .unwrap();
        assert_eq!(
            String::from_utf8(encode(&response)).unwrap(),
            "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn a_response_cannot_announce_another_body_than_it_has() {
        let response = Response::builder()
            .status(403)
            .header("content-length", "999")
            .header("transfer-encoding", "chunked")
            .header("sec-websocket-version", "13")
            .body("no\n")
            .unwrap();
        assert_eq!(
            String::from_utf8(encode(&response)).unwrap(),
            "HTTP/1.1 403 Forbidden\r\nSec-WebSocket-Version: 13\r\n\
             Content-Length: 3\r\nConnection: close\r\n\r\nno\n"
        );
    }
}
