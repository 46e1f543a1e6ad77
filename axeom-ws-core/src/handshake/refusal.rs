use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use thiserror::Error;

/// Why a handshake is refused. Its message is the body of the response: one line that tells the
/// client what to change.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::handshake::Refusal;
///
/// let response = Refusal::UnsupportedVersion.into_response();
/// assert_eq!(response.status(), 426);
/// assert_eq!(response.headers()["sec-websocket-version"], "13");
/// assert_eq!(response.body(), "send Sec-WebSocket-Version: 13\n");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// 400: the request head cannot be parsed (RFC 9112).
    #[error("the request head is not valid HTTP/1.1: {0}")]
    InvalidHead(&'static str),
    /// 400: a line ends with LF alone (RFC 9112 §2.2).
    #[error("lines of the request head must end with CR LF")]
    BareLf,
    /// 400: a header continues on a second line (RFC 9112 §5.2).
    #[error("a header must not continue on a second line")]
    FoldedHeader,
    /// 400: there is not exactly one `Host` header (RFC 9112 §3.2).
    #[error("send exactly one Host header")]
    Host,
    /// 400: the `Host` header, or the request target, names no host, or something besides a host
    /// and a port (RFC 9110 §7.2).
    #[error("Host must be a name or an address with an optional port, which \"{host}\" is not")]
    MalformedHost {
        /// What was sent, in printable ASCII and cut after 100 characters.
        host: String,
    },
    /// 400: a header is repeated that may be sent once.
    #[error("send one {header} header, not several")]
    Repeated {
        /// The name of the header.
        header: &'static str,
    },
    /// 400: the `Forwarded` header that a trusted proxy sent is not what RFC 7239 §4 says.
    #[error("Forwarded must be a list of elements with parameters, as RFC 7239 has it")]
    BadForwarded,
    /// 421: the server does not answer for the host that the request asks for (RFC 9110 §15.5.20).
    #[error("this server does not answer for the host \"{host}\"; allow_hosts adds it")]
    UnknownHost {
        /// What was sent, in printable ASCII and cut after 100 characters.
        host: String,
    },
    /// 414: the request line is longer than its limit.
    #[error("the request line is over {limit} bytes; shorten the path or query")]
    RequestLineTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// 431: the request head is longer than its limit.
    #[error("the request head is over {limit} bytes; send fewer or shorter headers")]
    HeadTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// 431: there are too many header lines.
    #[error("more than {limit} headers; send fewer")]
    TooManyHeaders {
        /// The limit.
        limit: usize,
    },
    /// 408: the request head did not arrive in time.
    #[error("the request head took too long; send it at once")]
    TimedOut,
    /// 404: no route has this path.
    #[error("no route here; check the path")]
    NotFound,
    /// 400: a parameter of the path is not UTF-8 after percent-decoding.
    #[error("the path must be UTF-8, percent-encoded")]
    PathNotText,
    /// 405: the method is not GET (RFC 6455 §4.1).
    #[error("a WebSocket handshake is a GET request")]
    MethodNotAllowed,
    /// 405: no route has this path, and the app's fallback answers GET and HEAD alone.
    #[error("this is no WebSocket route; send GET or HEAD for what else is here")]
    FallbackMethod,
    /// 426: the request is not an upgrade to WebSocket over HTTP/1.1 (RFC 6455 §4.2.1).
    #[error(
        "this is a WebSocket route; send HTTP/1.1 with Upgrade: websocket and Connection: Upgrade"
    )]
    UpgradeRequired,
    /// 426: the version of the protocol is not 13 (RFC 6455 §4.4).
    #[error("send Sec-WebSocket-Version: 13")]
    UnsupportedVersion,
    /// 400: the key is missing, repeated or not 16 bytes of base64 (RFC 6455 §4.1).
    #[error("send one Sec-WebSocket-Key of 16 bytes in base64")]
    BadKey,
    /// 400: the request announces a body.
    #[error("a WebSocket handshake has no body; leave out Content-Length and Transfer-Encoding")]
    Body,
    /// 403: the request comes from a page whose origin is not allowed (RFC 6455 §10.2).
    #[error("pages of the Origin \"{origin}\" may not connect; allow_origins lets them")]
    ForeignOrigin {
        /// What was sent, in printable ASCII and cut after 100 characters.
        origin: String,
    },
    /// 500: `before`, a derive or a guard failed.
    #[error("the server failed to answer this request")]
    Failed,
    /// 400: the route requires a subprotocol that was not offered.
    #[error("this route requires a Sec-WebSocket-Protocol that was not offered")]
    ProtocolRequired,
    /// 400: `Sec-WebSocket-Protocol` is not a list of tokens.
    #[error("Sec-WebSocket-Protocol must be a list of tokens")]
    BadProtocols,
    /// 400: `Sec-WebSocket-Extensions` has broken syntax (RFC 6455 §9.1).
    #[error("Sec-WebSocket-Extensions must be a list of extensions with parameters")]
    BadExtensions,
    /// 503: the server has as many connections as it may have.
    #[error("the server is at capacity; try again later")]
    AtCapacity,
    /// 503: `before`, derives and guards did not decide in time.
    #[error("the server took too long to decide; try again later")]
    Undecided,
    /// 503: the server is shutting down.
    #[error("the server is shutting down; try again later")]
    ShuttingDown,
}

/// The most characters of what a client sent that are sent back to it.
const MOST_SHOWN: usize = 100;

/// What a client sent, as a refusal may say it.
pub(super) fn shown(value: &[u8]) -> String {
    let mut text: String = value.escape_ascii().map(char::from).take(MOST_SHOWN).collect();
    if value.len() > MOST_SHOWN {
        text.push_str("...");
    }
    text
}

/// When a refused client may try again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

impl Refusal {
    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::RequestLineTooLong { .. } => StatusCode::URI_TOO_LONG,
            Refusal::HeadTooLarge { .. } | Refusal::TooManyHeaders { .. } => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Refusal::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Refusal::NotFound => StatusCode::NOT_FOUND,
            Refusal::MethodNotAllowed | Refusal::FallbackMethod => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::UpgradeRequired | Refusal::UnsupportedVersion => StatusCode::UPGRADE_REQUIRED,
            Refusal::UnknownHost { .. } => StatusCode::MISDIRECTED_REQUEST,
            Refusal::ForeignOrigin { .. } => StatusCode::FORBIDDEN,
            Refusal::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Refusal::AtCapacity | Refusal::Undecided | Refusal::ShuttingDown => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The whole response: the status, the headers, and the message as a one-line body.
    pub fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(format!("{self}\n")));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        match self {
            Refusal::MethodNotAllowed => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
            }
            Refusal::FallbackMethod => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            Refusal::UpgradeRequired => {
                headers.insert(header::UPGRADE, WEBSOCKET);
                headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade, close"));
            }
            Refusal::UnsupportedVersion => {
                headers.insert(header::UPGRADE, WEBSOCKET);
                headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade, close"));
                headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            Refusal::AtCapacity | Refusal::Undecided | Refusal::ShuttingDown => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            _ => {}
        }
        response
    }
}
