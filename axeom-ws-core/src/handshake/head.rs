use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};
use memchr::memchr;

use super::{Refusal, lists::is_token_byte};

/// How large a request head may be.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, handshake::HeadLimits};
///
/// let app = App::new().head_limits(HeadLimits::new().size(4096).headers(32));
/// # let _ = app;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeadLimits {
    /// The most bytes of the whole head, including its empty line.
    pub size: usize,
    /// The most header lines, up to [`HeadLimits::MOST_HEADERS`].
    pub headers: usize,
    /// The most bytes of the request line.
    pub request_line: usize,
}

impl HeadLimits {
    /// A head with more header lines than this is refused, even if its limit is higher.
    pub const MOST_HEADERS: usize = 256;

    /// The defaults: 16 KiB for the whole head, 100 header lines, and 8 KiB for the request line.
    pub const fn new() -> Self {
        Self { size: 16 * 1024, headers: 100, request_line: 8 * 1024 }
    }

    /// Sets the most bytes of the whole head, including its empty line. Default 16 KiB.
    pub const fn size(mut self, bytes: usize) -> Self {
        self.size = bytes;
        self
    }

    /// Sets the most header lines, up to [`HeadLimits::MOST_HEADERS`]. Default 100.
    pub const fn headers(mut self, count: usize) -> Self {
        self.headers = count;
        self
    }

    /// Sets the most bytes of the request line. Default 8 KiB.
    pub const fn request_line(mut self, bytes: usize) -> Self {
        self.request_line = bytes;
        self
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self::new()
    }
}

/// A complete request head.
#[derive(Debug)]
#[non_exhaustive]
pub struct Head {
    /// The request, without a body.
    pub request: Request<()>,
    /// The length of the head in bytes. What follows it in the input belongs to the
    /// connection.
    pub size: usize,
}

/// Finds and parses a request head that arrives in pieces (RFC 9112). It looks at each byte once
/// until the head is complete. The [module](crate::handshake) has an example.
#[derive(Debug)]
pub struct HeadReader {
    limits: HeadLimits,
    scanned: usize,
    line_start: usize,
    /// Non-empty lines so far, the request line included.
    lines: usize,
}

impl HeadReader {
    /// A reader for a new head.
    pub fn new(limits: HeadLimits) -> Self {
        Self { limits, scanned: 0, line_start: 0, lines: 0 }
    }

    /// Reads the new part of `input`, which must be everything that was received so far. `None`
    /// if the head is not complete yet.
    ///
    /// # Errors
    /// The head is malformed or exceeds a limit.
    pub fn read(&mut self, input: &[u8]) -> Result<Option<Head>, Refusal> {
        while let Some(new @ [first, ..]) = input.get(self.scanned..) {
            // What speaks another protocol, such as TLS, might never end its line.
            let is_first = self.lines == 0 && self.scanned == self.line_start;
            if is_first && !is_token_byte(*first) && !matches!(first, b'\r' | b'\n') {
                return Err(Refusal::InvalidHead("it does not begin with a method"));
            }
            let newline = memchr(b'\n', new);
            let end = self.scanned.saturating_add(newline.unwrap_or(new.len()));
            let seen = end.saturating_add(usize::from(newline.is_some()));
            // If both limits are exceeded, the lower one is reported.
            let HeadLimits { size, request_line, .. } = self.limits;
            let line_limit = self.line_start.saturating_add(request_line);
            if self.lines == 0 && seen > line_limit && line_limit <= size {
                return Err(Refusal::RequestLineTooLong { limit: request_line });
            }
            if seen > size {
                return Err(Refusal::HeadTooLarge { limit: size });
            }
            self.scanned = seen;
            if newline.is_none() {
                break;
            }
            let line = input.get(self.line_start..end);
            let Some(line) = line.and_then(|line| line.strip_suffix(b"\r")) else {
                return Err(Refusal::BareLf);
            };
            self.line_start = seen;
            match line.first() {
                // An empty line before the request is skipped (RFC 9112 §2.2).
                None if self.lines == 0 => {}
                None => return parse(input.get(..seen).unwrap_or(input)).map(Some),
                Some(b' ' | b'\t') if self.lines > 0 => return Err(Refusal::FoldedHeader),
                Some(_) if self.lines > self.limits.headers => {
                    return Err(Refusal::TooManyHeaders { limit: self.limits.headers });
                }
                Some(_) => self.lines = self.lines.saturating_add(1),
            }
        }
        Ok(None)
    }
}

fn parse(input: &[u8]) -> Result<Head, Refusal> {
    // The URI and the header values of the request share this copy.
    let input = &Bytes::copy_from_slice(input);
    let mut headers = [const { MaybeUninit::uninit() }; HeadLimits::MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    let size = match parsed.parse_with_uninit_headers(input, &mut headers) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return Err(Refusal::InvalidHead("it ends early")),
        Err(error) => return Err(Refusal::InvalidHead(describe(error))),
    };
    let (Some(method), Some(path), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(Refusal::InvalidHead("it has no request line"));
    };

    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method.as_bytes())
        .map_err(|_| Refusal::InvalidHead("the method is not a token"))?;
    // `Uri` would leave it out.
    if memchr(b'#', path.as_bytes()).is_some() {
        return Err(Refusal::InvalidHead("the request target has a fragment"));
    }
    *request.uri_mut() = Uri::from_maybe_shared(input.slice_ref(path.as_bytes()))
        .map_err(|_| Refusal::InvalidHead("the path is not a valid URI"))?;
    *request.version_mut() = if version == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    request.headers_mut().reserve(parsed.headers.len());
    for header in parsed.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_| Refusal::InvalidHead("a header name is not a token"))?;
        let value = HeaderValue::from_maybe_shared(input.slice_ref(header.value))
            .map_err(|_| Refusal::InvalidHead("a header value has a control character"))?;
        request.headers_mut().append(name, value);
    }
    Ok(Head { request, size })
}

fn describe(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a header name is not a token",
        httparse::Error::HeaderValue => "a header value has a control character",
        httparse::Error::NewLine => "a line does not end with CR LF",
        httparse::Error::Token => "the request line has a character that does not belong there",
        httparse::Error::TooManyHeaders => "there are too many headers",
        httparse::Error::Version => "the version is not HTTP/1.0 or HTTP/1.1",
        _ => "it cannot be parsed",
    }
}
