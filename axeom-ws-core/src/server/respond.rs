//! Sends a response that is not an upgrade, and ends its connection.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    task::Context,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};

use crate::{
    app::Service,
    connection::Input,
    handshake::encode_parts,
    hub::{LastWord, Place},
    runtime::{BoxTransport, Clock, limit_unsent, on_its_way, uninterrupted, within},
};

/// How long the client may keep sending, and how many bytes, before its connection is closed.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;

/// The least rate at which a client must take a response, in bytes a second.
const MIN_RATE: u64 = 1024;

/// The most bytes of a response that the kernel holds without having sent them.
const UNSENT: u32 = 64 * 1024;

/// What a connection holds while it is sent a response.
pub(super) enum Held {
    Place(Option<Place>),
    LastWord(LastWord),
}

impl Held {
    fn give_up_place(&mut self) {
        if let Self::Place(place) = self {
            *place = None;
        }
    }

    fn into_last_word(mut self, service: &Service) -> Option<LastWord> {
        self.give_up_place();
        match self {
            Self::Place(_) => LastWord::take(service.connections()),
            Self::LastWord(last_word) => Some(last_word),
        }
    }
}

/// Sends a response, and waits a moment for the client to read it. It gives up a client that takes
/// less than the least rate over a handshake timeout.
///
/// A connection with a large response keeps its place until that is sent. Otherwise the place is
/// free before the client can have read the response, and come again.
pub(super) async fn respond(
    service: &Service,
    transport: &mut BoxTransport,
    clock: &Clock,
    mut held: Held,
    mut response: Response<Bytes>,
    without_body: bool,
) {
    set_date(response.headers_mut());
    let (head, body) = encode_parts(&response, without_body);
    limit_unsent(&**transport, UNSENT);
    if body.len() <= UNSENT as usize {
        held.give_up_place();
    }
    let sent = send(transport, clock, service.handshake_timeout(), [&head, body]).await;
    let Some(_last_word) = held.into_last_word(service) else { return };
    if sent.is_ok() {
        // Closing a socket with unread input resets the connection, and the client might never
        // see the answer.
        within(clock, LINGER, discard(transport)).await;
    }
}

/// Says when a response was made, if it does not say so itself (RFC 9110 §6.6.1).
fn set_date(headers: &mut HeaderMap) {
    let date = || httpdate::fmt_http_date(SystemTime::now());
    if !headers.contains_key(header::DATE) {
        headers.extend(HeaderValue::try_from(date()).ok().map(|date| (header::DATE, date)));
    }
}

/// Sends both parts and ends the sending direction. The parts are not copied, because a body may be
/// large and shared by many responses.
async fn send(
    transport: &mut BoxTransport,
    clock: &Clock,
    window: Duration,
    [head, body]: [&[u8]; 2],
) -> io::Result<()> {
    let all = head.len() + body.len();
    let mut sent = 0;
    let least = MIN_RATE.saturating_mul(window.as_secs()).max(1);
    loop {
        let before = taken(transport, sent);
        let sending = async {
            while sent < all {
                let head = head.get(sent..).unwrap_or_default();
                let body = &body[sent.saturating_sub(all - body.len()).min(body.len())..];
                let parts = [IoSlice::new(head), IoSlice::new(body)];
                let parts = if head.is_empty() { &parts[1..] } else { &parts[..] };
                let mut writing = |cx: &mut Context<'_>| transport.poll_write_vectored(cx, parts);
                match poll_fn(|cx| uninterrupted(|| writing(cx))).await? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    n => sent += n,
                }
            }
            poll_fn(|cx| uninterrupted(|| transport.poll_flush(cx))).await?;
            poll_fn(|cx| uninterrupted(|| transport.poll_close(cx))).await
        };
        match within(clock, window, sending).await {
            Some(done) => return done,
            None if taken(transport, sent).saturating_sub(before) < least => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            None => {}
        }
    }
}

/// How many of the bytes that were sent the client has taken.
fn taken(transport: &BoxTransport, sent: usize) -> u64 {
    (sent as u64).saturating_sub(on_its_way(&**transport))
}

async fn discard(transport: &mut BoxTransport) {
    let mut input = Input::default();
    let mut left = LINGER_BYTES;
    while let Ok(n @ 1..) = poll_fn(|cx| uninterrupted(|| input.poll_fill(cx, transport))).await {
        input.consume(n);
        left = left.saturating_sub(n);
        if left == 0 {
            return;
        }
    }
}
