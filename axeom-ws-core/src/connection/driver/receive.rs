//! From the transport to events.

use std::{
    cell::Cell,
    collections::VecDeque,
    io,
    task::{Context, Poll, ready},
};

use super::{Closing, Driver, Purpose};
use crate::{
    close::CloseFrame, event::Event, link::Flags, protocol::Parsed, runtime::BoxTransport,
    telemetry, violation::Violation,
};

/// Events that were parsed while a handler was busy.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    events: VecDeque<Parsed>,
    /// What they count for: their payloads, and [`EVENT_COST`] each.
    bytes: usize,
}

/// How the receiving direction ended.
#[derive(Debug)]
pub(super) enum End {
    /// The peer sent its close frame.
    Closed(CloseFrame),
    /// The peer broke the protocol.
    Violation(Violation),
    /// The peer ended its direction without a close frame.
    Eof,
    /// The transport was given up.
    Lost,
}

/// While a handler is busy, reading goes on until this many bytes wait for it.
const READ_AHEAD: usize = 64 * 1024;
/// What a waiting event counts for besides its payload, in bytes, so that many empty events
/// are bounded too.
const EVENT_COST: usize = 64;

impl Driver {
    /// The next event for the handlers, if what was read so far completes one.
    #[inline(always)]
    pub(super) fn next_event(&mut self, cx: &mut Context<'_>, seen: Flags) -> Option<Event> {
        if !seen.is_open() && self.drops_events(seen) {
            return self.closing_event(cx, seen);
        }
        if seen.is_congested() {
            let _ = self.flush(cx);
        }
        if self.drains > 0 {
            self.drains -= 1;
            return Some(Event::Drain);
        }
        if self.poll_turn(cx).is_pending() {
            return None;
        }
        if self.ahead.is_none() {
            if let Some((size, message)) = self.inbound.plain(self.input.bytes()) {
                self.input.consume(size);
                self.activity.note_message();
                telemetry::received(message.len());
                self.turn.count_event(message.len());
                return Some(Event::Message(message));
            }
        }
        if self.ahead.is_some() || !self.input.is_empty() {
            if let Some(event) = self.next_parsed() {
                self.turn.count_event(event.payload_len());
                return Some(event);
            }
        }
        if self.end.is_some() {
            return self.closing_event(cx, seen);
        }
        None
    }

    /// Does what need not wait for a handler that is busy: parses what was read, and keeps the
    /// events for later; and closes the connection, if its end does not depend on the handler.
    pub(super) fn keep_up(&mut self, cx: &mut Context<'_>, seen: Flags) {
        let is_lost = matches!(self.end.as_deref(), Some(End::Lost));
        if self.closing != Closing::NotYet || seen.phase().drops_input() || is_lost {
            if self.poll_close(cx, seen).is_ready() {
                // The handler may take for ever, and others wait for the place.
                self.link.end_registration();
            }
            return;
        }
        while self.end.is_none() && self.bytes_ahead() < READ_AHEAD {
            let Some(parsed) = self.parse() else { break };
            self.keep(parsed);
        }
        // The handlers have a while to answer what the peer sent before its end.
        if self.end.is_some() && !self.deadlines.awaits_answer() {
            self.deadlines.await_answer(self.timer.now(), self.link.settings());
            self.link.half_close();
        }
    }

    /// Reads once. Ready if bytes or the end arrived.
    pub(super) fn fill(&mut self, cx: &mut Context<'_>, purpose: Purpose) -> Poll<()> {
        if self.end.is_some() || self.closing.is_past_reading() {
            return Poll::Pending;
        }
        if purpose == Purpose::Background
            && self.closing == Closing::NotYet
            && self.bytes_ahead() + self.inbound.held() >= READ_AHEAD
        {
            self.activity.note_stop();
            return Poll::Pending;
        }
        ready!(self.poll_turn_for_io(cx));
        let is_empty = self.input.is_empty();
        let read = match is_empty.then(|| self.inbound.split_room()).flatten() {
            None => ready!(self.input.poll_fill(cx, &mut self.transport)),
            Some(mut room) => {
                let read = self.transport.poll_read_into(cx, &mut room);
                match self.inbound.parse_room(room) {
                    Ok(Some(parsed)) => {
                        self.note_arrival(&parsed);
                        self.keep(parsed);
                    }
                    Ok(None) => {}
                    Err(violation) => self.set_end(End::Violation(violation)),
                }
                ready!(read)
            }
        };
        match read {
            Ok(0) => self.set_end(End::Eof),
            Ok(_) => self.activity.received = true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.lose(error.into()),
        }
        Poll::Ready(())
    }

    /// The next event in order from what was read so far.
    fn next_parsed(&mut self) -> Option<Event> {
        let parsed = match &mut self.ahead {
            None => self.parse()?,
            Some(ahead) => {
                let parsed = ahead.events.pop_front()?;
                ahead.bytes -= EVENT_COST + parsed.len();
                if ahead.events.is_empty() {
                    self.ahead = None;
                }
                parsed
            }
        };
        match self.inbound.decompress(parsed) {
            Ok(event) => {
                if let Event::Message(message) = &event {
                    telemetry::received(message.len());
                }
                Some(event)
            }
            Err(violation) => {
                // It came before whatever was parsed after it, be it a close frame.
                self.ahead = None;
                self.end = None;
                self.set_end(End::Violation(violation));
                None
            }
        }
    }

    /// Parses and drops what was read so far. Pings are answered.
    pub(super) fn drop_input(&mut self) {
        self.ahead = None;
        while self.parse().is_some() {}
    }

    /// Parses the next event, and answers it at once if it is a ping. A close frame or a
    /// violation ends the receiving direction instead of being returned.
    fn parse(&mut self) -> Option<Parsed> {
        if self.input.is_empty() || self.end.is_some() {
            return None;
        }
        match self.inbound.parse(self.input.bytes()) {
            Ok((consumed, parsed)) => {
                self.input.consume(consumed);
                match parsed? {
                    Parsed::Event(Event::Close(frame)) => {
                        self.set_end(End::Closed(frame));
                        None
                    }
                    parsed => {
                        self.note_arrival(&parsed);
                        Some(parsed)
                    }
                }
            }
            Err(violation) => {
                self.set_end(End::Violation(violation));
                None
            }
        }
    }

    /// Whether there is a part of a message or frame.
    #[inline]
    pub(super) fn is_unfinished(&self) -> bool {
        !self.input.is_empty() || self.inbound.is_unfinished()
    }

    /// How much of it there is.
    pub(super) fn held(&self) -> usize {
        self.inbound.held() + self.input.len()
    }

    /// Ends the receiving direction. From here on, input is read only to be discarded.
    pub(super) fn set_end(&mut self, end: End) {
        self.input = Input::default();
        self.deadlines.stop_listening();
        self.end.get_or_insert_with(|| Box::new(end));
    }

    /// Keeps an event until the handlers are ready for it.
    fn keep(&mut self, parsed: Parsed) {
        let ahead = self.ahead.get_or_insert_default();
        ahead.bytes += EVENT_COST + parsed.len();
        ahead.events.push_back(parsed);
    }

    /// What the events kept for the handlers count for, in bytes.
    fn bytes_ahead(&self) -> usize {
        self.ahead.as_ref().map_or(0, |ahead| ahead.bytes)
    }

    /// Does what need not wait for the handlers: answers a ping, and notes that the peer is alive.
    fn note_arrival(&mut self, parsed: &Parsed) {
        match parsed {
            Parsed::Event(Event::Ping(payload)) => self.link.pong(payload.clone()),
            Parsed::Event(Event::Message(_)) | Parsed::Compressed { .. } => {
                self.activity.note_message();
            }
            Parsed::Event(_) => {}
        }
    }
}

const _: () = assert!(READ_AHEAD <= READ_SIZE);

/// The most bytes that one read into a fresh buffer may bring, and so the size of a thread's
/// scratch buffer.
const READ_SIZE: usize = 64 * 1024;

/// From this many bytes on, what is left over stays in its buffer and more is read behind it.
/// Otherwise a request head that arrives byte by byte would be copied twice for each byte.
const TOO_MUCH_TO_MOVE: usize = 1024;

thread_local! {
    /// The buffer that connections on this thread read into, one at a time. While a
    /// connection waits, it keeps only the bytes that it could not parse yet.
    static SCRATCH: Cell<Option<Box<Buffer>>> = const { Cell::new(None) };
}

/// Received bytes that are not parsed yet.
#[derive(Debug, Default)]
pub(crate) struct Input(Option<Box<Buffer>>);

/// Only `bytes[start..end]` is in use.
#[derive(Debug)]
struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Input {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(Buffer::of(bytes))
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        self.0.as_mut().map_or(&mut [], |buffer| &mut buffer.bytes[buffer.start..buffer.end])
    }

    fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |buffer| buffer.end - buffer.start)
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn consume(&mut self, n: usize) {
        if let Some(buffer) = &mut self.0 {
            buffer.start += n.min(buffer.end - buffer.start);
        }
    }

    /// The room for a read, behind what is left over. It is never empty.
    fn room(&mut self) -> &mut [u8] {
        let buffer = match self.0.take() {
            Some(buffer)
                if buffer.bytes.len() >= READ_SIZE
                    || buffer.end - buffer.start >= TOO_MUCH_TO_MOVE =>
            {
                buffer
            }
            left => {
                let mut scratch = scratch();
                scratch
                    .restart(left.as_ref().map_or(&[], |left| &left.bytes[left.start..left.end]));
                scratch
            }
        };
        let buffer = self.0.insert(buffer);
        if buffer.start > 0 {
            buffer.bytes.copy_within(buffer.start..buffer.end, 0);
            buffer.end -= buffer.start;
            buffer.start = 0;
        }
        if buffer.end == buffer.bytes.len() {
            let mut larger = vec![0; 2 * buffer.bytes.len()];
            larger[..buffer.end].copy_from_slice(&buffer.bytes);
            buffer.bytes = larger.into();
        }
        &mut buffer.bytes[buffer.end..]
    }

    /// Notes that a read filled the first `n` bytes of the room.
    fn filled(&mut self, n: usize) {
        if let Some(buffer) = &mut self.0 {
            buffer.end = (buffer.end + n).min(buffer.bytes.len());
        }
    }

    /// Reads once, to behind what is left over. If the read is pending, the thread's buffer is
    /// given back.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        transport: &mut BoxTransport,
    ) -> Poll<io::Result<usize>> {
        let read = transport.poll_read(cx, self.room());
        match read {
            Poll::Ready(Ok(n)) => self.filled(n),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.park(),
        }
        read
    }

    /// Gives the thread's buffer back, and moves what is left over into a buffer of that size.
    pub(crate) fn park(&mut self) {
        let Some(buffer) = self.0.take() else { return };
        if buffer.bytes.len() >= READ_SIZE {
            self.0 = Buffer::of(&buffer.bytes[buffer.start..buffer.end]);
            give_back(buffer);
        } else if buffer.start < buffer.end {
            self.0 = Some(buffer);
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(buffer) = self.0.take().filter(|buffer| buffer.bytes.len() >= READ_SIZE) {
            give_back(buffer);
        }
    }
}

impl Buffer {
    /// A buffer of exactly these bytes, or `None` if there are none.
    fn of(bytes: &[u8]) -> Option<Box<Self>> {
        let whole = || Self { bytes: bytes.into(), start: 0, end: bytes.len() };
        (!bytes.is_empty()).then(|| Box::new(whole()))
    }

    fn restart(&mut self, with: &[u8]) {
        self.bytes[..with.len()].copy_from_slice(with);
        (self.start, self.end) = (0, with.len());
    }
}

/// The thread's buffer, or a new one if it is in use.
fn scratch() -> Box<Buffer> {
    let scratch = SCRATCH.try_with(Cell::take).ok().flatten();
    scratch
        .unwrap_or_else(|| Box::new(Buffer { bytes: vec![0; READ_SIZE].into(), start: 0, end: 0 }))
}

fn give_back(buffer: Box<Buffer>) {
    // If the thread is ending, nothing will read on it again.
    let _ = SCRATCH.try_with(|slot| slot.set(Some(buffer)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_input_of_a_thread_has_the_buffer_of_the_last() {
        // A new buffer would hold zeros, even at the same address.
        let mut last = Input::default();
        last.room()[10] = 42;
        last.filled(1);
        drop(last);
        let mut next = Input::new(b"left");
        assert_eq!(next.room()[10 - 4], 42);
        assert_eq!(next.bytes(), b"left");
        next.park();
        assert_eq!(next.bytes(), b"left");
        assert_eq!(Input::default().room()[10], 42);
    }

    #[test]
    fn what_comes_byte_by_byte_is_moved_seldom() {
        let mut input = Input::default();
        let mut sizes = std::collections::BTreeSet::new();
        for n in 0..16 * 1024 {
            input.room()[0] = n as u8;
            input.filled(1);
            input.park();
            sizes.insert(input.0.as_ref().unwrap().bytes.len());
        }
        assert_eq!(input.bytes().len(), 16 * 1024);
        assert!(input.bytes().iter().enumerate().all(|(n, byte)| *byte == n as u8));
        assert!(sizes.len() < 1024 + 10, "{} buffers", sizes.len());
        assert!(sizes.into_iter().all(|size| size <= 2 * 16 * 1024));
    }
}
