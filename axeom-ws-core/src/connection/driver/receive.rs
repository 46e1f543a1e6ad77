//! The receiving direction: from the transport to events.

use std::{
    collections::VecDeque,
    io,
    task::{Context, Poll, ready},
};

use super::{Closing, Driver, For, READ_OR_WRITE};
use crate::{
    close::CloseFrame,
    connection::{
        deadlines::Activity,
        input::{Input, READ_SIZE},
    },
    event::Event,
    link::Flags,
    message::Message,
    telemetry,
    violation::Violation,
};

/// Events that were parsed while a handler was busy.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    events: VecDeque<Event>,
    /// The sum of their [costs](cost).
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
        if !seen.is_open() && self.is_closing(seen) {
            return self.closing_event(cx, seen);
        }
        if seen.is_congested() {
            let _ = self.flush(cx);
        }
        if self.drains > 0 {
            self.drains -= 1;
            return Some(Event::Drain);
        }
        if self.poll_turn(cx, 1).is_pending() {
            return None;
        }
        if self.ahead.is_none() {
            if let Some((size, message)) = self.inbound.plain(self.input.bytes()) {
                self.input.consume(size);
                self.note_message(&message);
                return Some(Event::Message(message));
            }
        }
        if self.ahead.is_some() || !self.input.is_empty() {
            if let event @ Some(_) = self.next_parsed() {
                return event;
            }
        }
        if self.end.is_some() {
            return self.closing_event(cx, seen);
        }
        None
    }

    /// Parses what was read and keeps the events for later, because a handler is busy.
    pub(super) fn read_ahead(&mut self, seen: Flags) {
        if seen.phase().is_gone() && self.closing != Closing::Over {
            self.finish();
        }
        if self.end.is_some() {
            return;
        }
        while self.bytes_ahead() < READ_AHEAD {
            let Some(event) = self.parse() else { break };
            self.keep(event);
        }
        if let Some(End::Closed(_)) = self.end.as_deref() {
            self.deadlines.await_answer(self.timer.now(), self.link.settings());
        }
    }

    /// Reads once. Ready if bytes or the end arrived.
    pub(super) fn fill(&mut self, cx: &mut Context<'_>, what_for: For) -> Poll<()> {
        if self.end.is_some() || self.closing.is_past_reading() {
            return Poll::Pending;
        }
        if what_for == For::Background && self.bytes_ahead() + self.inbound.held() >= READ_AHEAD {
            // The connection stops reading until the handler is done, so the peer's silence
            // must not count against it.
            self.activity = Activity { received: true, heard: true };
            return Poll::Pending;
        }
        ready!(self.poll_turn(cx, READ_OR_WRITE));
        let is_empty = self.input.is_empty();
        let read = match is_empty.then(|| self.inbound.split_room()).flatten() {
            None => ready!(self.input.poll_fill(cx, &mut self.transport)),
            Some(mut room) => {
                let read = self.transport.poll_read_into(cx, &mut room);
                match self.inbound.join_room(room) {
                    Ok(Some(event)) => {
                        self.answer(&event);
                        self.keep(event);
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
    pub(super) fn next_parsed(&mut self) -> Option<Event> {
        let Some(ahead) = &mut self.ahead else { return self.parse() };
        let event = ahead.events.pop_front();
        ahead.bytes -= event.as_ref().map_or(0, cost);
        if ahead.events.is_empty() {
            self.ahead = None;
        }
        event
    }

    /// Parses the next event, and answers it at once if it is a ping. A close frame or a
    /// violation ends the receiving direction instead of being returned.
    fn parse(&mut self) -> Option<Event> {
        if self.input.is_empty() || self.end.is_some() {
            return None;
        }
        match self.inbound.receive(self.input.bytes()) {
            Ok(received) => {
                self.input.consume(received.consumed);
                match received.event? {
                    Event::Close(frame) => {
                        self.set_end(End::Closed(frame));
                        None
                    }
                    event => {
                        self.answer(&event);
                        Some(event)
                    }
                }
            }
            Err(violation) => {
                self.set_end(End::Violation(violation));
                None
            }
        }
    }

    /// Ends the receiving direction. From here on, input is read only to be discarded.
    pub(super) fn set_end(&mut self, end: End) {
        self.input = Input::default();
        self.deadlines.stop_listening();
        self.end.get_or_insert_with(|| Box::new(end));
    }

    /// Keeps an event until the handlers are ready for it.
    fn keep(&mut self, event: Event) {
        let ahead = self.ahead.get_or_insert_default();
        ahead.bytes += cost(&event);
        ahead.events.push_back(event);
    }

    /// What the events kept for the handlers count for, in bytes.
    fn bytes_ahead(&self) -> usize {
        self.ahead.as_ref().map_or(0, |ahead| ahead.bytes)
    }

    fn answer(&mut self, event: &Event) {
        match event {
            Event::Ping(payload) => self.link.pong(payload.clone()),
            Event::Message(message) => self.note_message(message),
            _ => {}
        }
    }

    fn note_message(&mut self, message: &Message) {
        self.activity.heard = true;
        telemetry::received(message.len());
    }
}

/// What a waiting event counts for, in bytes.
fn cost(event: &Event) -> usize {
    EVENT_COST
        + match event {
            Event::Message(message) => message.len(),
            Event::Ping(payload) | Event::Pong(payload) => payload.len(),
            Event::Drain | Event::Error(_) | Event::Close(_) => 0,
        }
}

const _: () = assert!(READ_AHEAD <= READ_SIZE);
