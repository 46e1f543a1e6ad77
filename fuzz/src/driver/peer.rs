use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use axeom_ws_core::{
    CloseFrame, ConnectionError, DeflateParams, Event,
    handshake::{Head, HeadLimits, HeadReader, agreed_deflate, offered_extensions},
    http::{Request, header::SEC_WEBSOCKET_EXTENSIONS},
    protocol::{Inbound, Limits, Role, Violation},
};
use futures::io::{AsyncRead, AsyncWrite};

use super::stage::Seen;
use crate::{
    receive::receive,
    support::{HANDSHAKE, Peer, Stream},
};

/// How many bytes a peer sends at most. More takes too long to run.
pub(super) const MOST_SENT: usize = 128 * 1024;

/// A client, and what it has sent.
pub(super) struct Client {
    pub(super) peer: Peer,
    pub(super) sent: Vec<u8>,
    path: String,
}

impl Client {
    pub(super) fn new(peer: Peer, nth: usize) -> Self {
        Self { peer, sent: Vec::new(), path: format!("the-client-with-the-number-{nth}") }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        if self.sent.len() <= MOST_SENT {
            self.sent.extend(bytes);
            self.peer.send(bytes);
        }
    }

    pub(super) fn send_handshake(&mut self, deflate: bool) {
        let head = std::str::from_utf8(HANDSHAKE).unwrap();
        let head = head.replacen("GET /", &format!("GET /{}", self.path), 1);
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
        let end = if deflate { offer } else { "\r\n" };
        self.send(format!("{}{end}", &head[..head.len() - 2]).as_bytes());
    }

    /// Whether a connection with this path is the one to this client.
    pub(super) fn has_path(&self, path: &str) -> bool {
        self.path == path
    }

    /// Checks what handlers were told against what was sent: all that they saw was sent, in this
    /// order; and nothing is missing before what says that it came after all else, which is a
    /// violation and the peer's own close frame.
    pub(super) fn check_seen(&self, seen: &Seen, limits: Limits, deflate: Option<DeflateParams>) {
        let head = HeadReader::new(HeadLimits::new()).read(&self.sent).unwrap();
        let Head { size, .. } = head.expect("whoever is let in has sent a head");
        let mut inbound = Inbound::new(Role::Server, limits);
        if let Some(params) = deflate {
            inbound = inbound.with_deflate(params);
        }
        let (mut sent, violation) = receive(inbound, limits, &self.sent[size..], &[], false);
        let theirs = sent.pop_if(|last| matches!(last, Event::Close(_)));
        assert!(sent.starts_with(&seen.events), "the handlers saw what was not sent");
        let close = seen.close.as_ref().expect("there was a close");
        // A message is decompressed when its handler is called. If it is broken, the close timeout
        // may have ended the connection before, for a later violation or the peer's close frame.
        let may_be_found_late = matches!(
            violation,
            Some(Violation::BadDeflate | Violation::InvalidUtf8 | Violation::MessageTooBig { .. })
        );
        if deflate.is_some() && may_be_found_late {
            return;
        }
        if let Some(ConnectionError::Violation(told)) = &seen.error {
            assert_eq!(violation.as_ref(), Some(told));
            // Whoever cuts the connection meanwhile drops what the handlers have not seen yet.
            let is_whole = seen.events.len() == sent.len() || close.code == 1006;
            assert!(is_whole, "a violation hides what came before it");
        }
        if seen.error.is_none() && is_the_peers(close) {
            assert_eq!(theirs, Some(Event::Close(close.clone())));
            assert_eq!(seen.events.len(), sent.len(), "a close frame hides what came before it");
        }
    }
}

/// Whether this is none of the close frames that the server, handlers or holders of handles send.
fn is_the_peers(frame: &CloseFrame) -> bool {
    const OURS: [&str; 7] = [
        super::BY_A_HANDLE,
        super::BY_A_HANDLER,
        "idle",
        "connection too old",
        "server shutting down",
        "too slow to read",
        "message too slow",
    ];
    frame.code != 1006 && !OURS.contains(&frame.reason.as_str())
}

/// What a server wrote: an answer, and after a 101 frames, of which a close frame is the last. Of
/// each kind of numbered messages, none overtook another. Returns what was negotiated.
pub(super) fn check_output(written: &[u8]) -> Option<DeflateParams> {
    let end = written.windows(4).position(|end| end == b"\r\n\r\n")?;
    let (head, frames) = written.split_at(end + 4);
    let head = std::str::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 "), "{head:?}");
    if !head.starts_with("HTTP/1.1 101 ") {
        return None;
    }
    let deflate = head.lines().find_map(negotiated);
    let mut inbound = Inbound::new(Role::Client, Limits::default());
    if let Some(params) = deflate {
        inbound = inbound.with_deflate(params);
    }
    let (mut frames, mut at) = (frames.to_vec(), 0);
    let mut last = [0; 256];
    loop {
        let received =
            inbound.receive(&mut frames[at..]).expect("the server keeps to the protocol");
        at += received.consumed;
        match received.event {
            Some(Event::Message(message)) => {
                if let Some(([kind @ b'P'..=b'T', number @ ..], _)) =
                    message.as_bytes().split_first_chunk::<5>()
                {
                    let number = u32::from_be_bytes(*number);
                    let last = &mut last[usize::from(*kind)];
                    assert!(number > *last, "{number} after {last}");
                    *last = number;
                }
            }
            Some(Event::Close(_)) => {
                assert_eq!(at, frames.len(), "there is something behind the close frame");
                return deflate;
            }
            Some(_) => {}
            None => return deflate,
        }
    }
}

fn negotiated(line: &str) -> Option<DeflateParams> {
    let (name, value) = line.split_once(": ")?;
    if !name.eq_ignore_ascii_case(SEC_WEBSOCKET_EXTENSIONS.as_str()) {
        return None;
    }
    let answer = Request::get("/").header(name, value).body(()).unwrap();
    agreed_deflate(&offered_extensions(&answer).unwrap()[0], &super::DEFLATE)
}

/// A stream of which one read brings only so much.
pub(super) struct Choppy {
    pub(super) stream: Stream,
    pub(super) most: usize,
}

impl AsyncRead for Choppy {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let most = self.most.min(buf.len());
        Pin::new(&mut self.stream).poll_read(cx, &mut buf[..most])
    }
}

impl AsyncWrite for Choppy {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
