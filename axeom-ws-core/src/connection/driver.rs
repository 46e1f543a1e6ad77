mod finish;
mod gone;

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::io::{AsyncRead, AsyncWrite};

use self::gone::{Gone, gone};
use super::{
    alarm::Alarm,
    deadlines::{Activity, At, Deadlines, Due},
    input::{Input, READ_SIZE},
    link::Flags,
};
use crate::{
    CloseCode, CloseFrame, ConnectionError, DeflateParams, Message,
    protocol::{Event, FrameQueue, Inbound, Role, Violation},
    registry::Registration,
    runtime::BoxStream,
    telemetry,
};

/// What a connection's handlers are told next.
#[derive(Debug)]
pub(crate) enum Incoming {
    Message(Message),
    Ping(Bytes),
    Pong(Bytes),
    Drain,
    /// Nothing more will come; [`Driver::finish`] tells why.
    End,
}

/// Reads, parses, writes and keeps time for one connection.
pub(crate) struct Driver {
    stream: BoxStream,
    link: Registration,
    inbound: Inbound,
    input: Input,
    /// Parsed while a handler was busy.
    ahead: Option<Box<Ahead>>,
    /// Taken from the link and not yet accepted by the kernel.
    writing: Option<Box<FrameQueue>>,
    deadlines: Deadlines,
    /// What the alarm is set to.
    armed: At,
    activity: Activity,
    /// The stream may hold back what was written until it is flushed.
    unflushed: bool,
    /// What was done since the task last waited; see [`TURN`].
    work: u32,
    /// Times congestion ended without a `drain` event so far.
    drains: u32,
    end: Option<Box<End>>,
    /// What made writing impossible, if anything.
    write_error: Option<io::Error>,
    /// Last, for with it goes the task's place in its server.
    alarm: Alarm,
}

#[derive(Debug, Default)]
struct Ahead {
    events: VecDeque<Event>,
    /// What they hold, in bytes.
    bytes: usize,
}

/// How the receiving direction came to its end.
#[derive(Debug)]
enum End {
    Closed(CloseFrame),
    Violation(Violation),
    Eof,
    Lost(ConnectionError),
}

/// While a handler is busy, reading goes on until this much is waiting for it, in
/// bytes; each event counts for at least its own size.
const READ_AHEAD: usize = 64 * 1024;
const EVENT_COST: usize = 64;

/// After this much work in a row the other tasks of the thread have a turn: an event is
/// one unit, a read or write as many as would take its time.
const TURN: u32 = 512;
const READ_OR_WRITE: u32 = 32;

/// The most slices handed to one vectored write.
const SLICES: usize = 64;

impl Driver {
    pub(crate) fn new(
        stream: BoxStream,
        input: Input,
        link: Registration,
        deflate: Option<DeflateParams>,
        alarm: Alarm,
    ) -> Self {
        let inbound = Inbound::new(Role::Server, link.settings().limits);
        Self {
            stream,
            deadlines: Deadlines::new(alarm.now(), link.settings()),
            armed: At::NEVER,
            activity: Activity::default(),
            alarm,
            inbound: match deflate {
                Some(params) => inbound.with_deflate(params),
                None => inbound,
            },
            link,
            input,
            ahead: None,
            writing: None,
            unflushed: false,
            work: 0,
            drains: 0,
            end: None,
            write_error: None,
        }
    }

    pub(crate) fn registration(&self) -> &Registration {
        &self.link
    }

    /// The next event. What handlers queued before is written once there is no more
    /// input at hand.
    pub(crate) fn next(&mut self) -> impl Future<Output = Incoming> + Send {
        poll_fn(|cx| self.poll_next(cx))
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        loop {
            let flags = self.link.flags();
            if flags.ending() {
                return Poll::Ready(Incoming::End);
            }
            if flags.congested() {
                let _ = self.poll_write(cx);
            }
            if self.drains > 0 {
                self.drains -= 1;
                return Poll::Ready(Incoming::Drain);
            }
            if self.poll_turn(cx, 1).is_pending() {
                let blocked = self.poll_write(cx).is_pending();
                if self.wait(cx, blocked, flags) {
                    return Poll::Pending;
                }
                continue;
            }
            if self.ahead.is_none() {
                if let Some((size, message)) = self.inbound.plain(self.input.bytes()) {
                    self.input.consume(size);
                    self.heard(&message);
                    return Poll::Ready(Incoming::Message(message));
                }
            }
            if self.ahead.is_some() || !self.input.is_empty() {
                match self.next_parsed() {
                    Some(Event::Message(message)) => {
                        return Poll::Ready(Incoming::Message(message));
                    }
                    Some(Event::Ping(payload)) => return Poll::Ready(Incoming::Ping(payload)),
                    Some(Event::Pong(payload)) => return Poll::Ready(Incoming::Pong(payload)),
                    Some(Event::Close(frame)) => self.end = Some(Box::new(End::Closed(frame))),
                    None => {}
                }
            }
            if self.end.is_some() {
                return Poll::Ready(Incoming::End);
            }
            let blocked = self.has_output() && self.poll_write(cx).is_pending();
            if self.drains > 0 {
                continue;
            }
            if self.poll_read(cx).is_pending() && self.wait(cx, blocked, flags) {
                return Poll::Pending;
            }
        }
    }

    /// Goes on while a handler is busy: writes, answers pings, and reads ahead.
    pub(crate) fn poll_background(&mut self, cx: &mut Context<'_>) {
        loop {
            let flags = self.link.flags();
            if flags.cut() && !self.is_lost() {
                self.cut(gone().into());
            }
            while self.kept() < READ_AHEAD {
                let Some(event) = self.parse() else { break };
                self.keep(event);
            }
            let blocked = self.poll_write(cx).is_pending();
            let has_more = self.end.is_none() && !self.inbound.is_ended();
            let wants_more = self.kept() + self.inbound.held() < READ_AHEAD;
            if has_more && !wants_more {
                // Now the peer waits for the handler, and cannot be heard.
                self.activity = Activity { received: true, heard: true };
            }
            let read = has_more && wants_more && self.poll_read(cx).is_ready();
            if !read && self.wait(cx, blocked, flags) {
                return;
            }
        }
    }

    /// Drops the stream at once; whoever still reads or writes finds it gone.
    fn cut(&mut self, error: ConnectionError) {
        self.stream = Box::new(Gone);
        self.lost(error);
    }

    /// Nothing comes, and nothing can be sent any more: a handler that goes on sending is
    /// told.
    fn lost(&mut self, error: ConnectionError) {
        self.writing = None;
        self.link.shut();
        self.end = Some(Box::new(End::Lost(error)));
    }

    fn is_lost(&self) -> bool {
        matches!(self.end.as_deref(), Some(End::Lost(_)))
    }

    /// Gives the stream up: the handlers that come last do not keep it.
    pub(crate) fn drop_stream(&mut self) {
        self.input = Input::default();
        self.stream = Box::new(Gone);
    }

    /// The next event in order, from what was read already.
    fn next_parsed(&mut self) -> Option<Event> {
        let Some(ahead) = &mut self.ahead else { return self.parse() };
        let event = ahead.events.pop_front();
        ahead.bytes -= event.as_ref().map_or(0, cost);
        if ahead.events.is_empty() {
            self.ahead = None;
        }
        event
    }

    /// Parses the next event; a ping is answered at once.
    fn parse(&mut self) -> Option<Event> {
        if self.input.is_empty() {
            return None;
        }
        match self.inbound.receive(self.input.bytes()) {
            Ok(received) => {
                self.input.consume(received.consumed);
                let event = received.event?;
                self.answer(&event);
                Some(event)
            }
            Err(violation) => {
                self.violated(violation);
                None
            }
        }
    }

    /// Keeps an event until the handlers are ready for it.
    fn keep(&mut self, event: Event) {
        if let Event::Close(_) = event {
            self.deadlines.await_answer(self.alarm.now(), self.link.settings());
        }
        let ahead = self.ahead.get_or_insert_default();
        ahead.bytes += cost(&event);
        ahead.events.push_back(event);
    }

    /// What is kept for the handlers, in bytes.
    fn kept(&self) -> usize {
        self.ahead.as_ref().map_or(0, |ahead| ahead.bytes)
    }

    fn answer(&mut self, event: &Event) {
        match event {
            Event::Ping(payload) => self.link.pong(payload.clone()),
            Event::Message(message) => self.heard(message),
            Event::Pong(_) | Event::Close(_) => {}
        }
    }

    fn heard(&mut self, message: &Message) {
        self.activity.heard = true;
        telemetry::received(message.len());
    }

    fn violated(&mut self, violation: Violation) {
        self.input = Input::default();
        self.end.get_or_insert_with(|| Box::new(End::Violation(violation)));
    }

    /// Reads once. Ready if something changed: bytes, or the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.end.is_some() {
            return Poll::Pending;
        }
        ready!(self.poll_turn(cx, READ_OR_WRITE));
        let direct = self.input.is_empty();
        let result = match self.inbound.room().filter(|_| direct) {
            Some(room) => {
                let result = ready!(Pin::new(&mut self.stream).poll_read(cx, room));
                match result.map(|n| (n, self.inbound.filled(n))) {
                    Ok((n, Ok(event))) => {
                        if let Some(event) = event {
                            self.answer(&event);
                            self.keep(event);
                        }
                        Ok(n)
                    }
                    Ok((n, Err(violation))) => {
                        self.violated(violation);
                        Ok(n)
                    }
                    Err(error) => Err(error),
                }
            }
            None => ready!(self.input.poll_fill(cx, &mut self.stream)),
        };
        match result {
            Ok(0) => self.end = Some(Box::new(End::Eof)),
            Ok(_) => self.activity.received = true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.lost(error.into()),
        }
        Poll::Ready(())
    }

    /// Pending when it is another task's turn.
    fn poll_turn(&mut self, cx: &mut Context<'_>, work: u32) -> Poll<()> {
        self.work = self.work.saturating_add(work);
        if self.work <= TURN {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads and forgets until the peer has no more to say.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.poll_turn(cx, READ_OR_WRITE));
            self.input.consume(usize::MAX);
            if !matches!(ready!(self.input.poll_fill(cx, &mut self.stream)), Ok(1..)) {
                return Poll::Ready(());
            }
        }
    }

    /// Whether there is anything to write, or to flush.
    fn has_output(&self) -> bool {
        self.writing.is_some() || self.unflushed || self.link.flags().queued()
    }

    /// Writes all there is. Pending while the stream takes no more, or when it is another
    /// task's turn.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut again = false;
        while self.writing.is_some() || self.link.flags().queued() {
            let mut frames = match self.writing.take() {
                Some(frames) => *frames,
                None => self.link.take(),
            };
            // Other threads may queue as fast as this one writes.
            if std::mem::replace(&mut again, true) && self.poll_turn(cx, READ_OR_WRITE).is_pending()
            {
                self.writing = Some(Box::new(frames));
                return Poll::Pending;
            }
            while !frames.is_empty() && self.write_error.is_none() {
                match poll_write_once(&mut self.stream, &frames, cx) {
                    Poll::Ready(Ok(0)) => self.write_error = Some(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(n)) => {
                        self.unflushed = true;
                        frames.advance(n);
                        self.account(n, false);
                    }
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                    Poll::Ready(Err(error)) => self.write_error = Some(error),
                    Poll::Pending => {
                        frames.shrink();
                        self.writing = Some(Box::new(frames));
                        self.account(0, true);
                        return Poll::Pending;
                    }
                }
            }
            if self.write_error.is_some() {
                return self.give_up_writing();
            }
        }
        if self.unflushed {
            let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx) else {
                self.account(0, true);
                return Poll::Pending;
            };
            self.unflushed = false;
            if let Err(error) = flushed {
                self.write_error = Some(error);
                return self.give_up_writing();
            }
            if self.deadlines.is_blocked() {
                self.account(0, false);
            }
        }
        Poll::Ready(())
    }

    /// After an error nobody will read the rest, and nothing more can be sent; the
    /// receiving direction says when the connection is over.
    fn give_up_writing(&mut self) -> Poll<()> {
        self.unflushed = false;
        self.link.shut();
        self.account(0, false);
        Poll::Ready(())
    }

    /// Ready if a deadline passed and something follows from it.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_lost() {
            return Poll::Pending;
        }
        if self.end.is_some() || self.inbound.is_ended() {
            self.deadlines.stop_listening();
        }
        loop {
            let next = self.deadlines.next();
            if std::mem::replace(&mut self.armed, next) != next {
                self.alarm.set(self.deadlines.moment(next));
            }
            ready!(self.alarm.poll(cx, &self.link));
            self.armed = At::NEVER;
            let (now, settings) = (self.alarm.now(), self.link.settings());
            let Some(due) = self.deadlines.pass(now, &mut self.activity, settings) else {
                continue;
            };
            match due {
                Due::Ping => drop(self.link.ping(&Bytes::new())),
                Due::Idle => self.link.close(CloseFrame::new(CloseCode::GOING_AWAY, "idle")),
                Due::Lifetime => {
                    let frame = CloseFrame::new(CloseCode::GOING_AWAY, "connection too old");
                    self.link.close(frame);
                }
                Due::NoPong => self.cut(ConnectionError::PongTimeout),
                Due::NotAnswered => {
                    let last = self.ahead.as_ref().and_then(|ahead| ahead.events.back());
                    if let Some(Event::Close(frame)) = last {
                        self.link.answer_close(frame.clone());
                    }
                }
                Due::NotClosed => self.cut(ConnectionError::CloseTimeout),
                Due::Stuck => self.cut(ConnectionError::WriteTimeout),
            }
            return Poll::Ready(());
        }
    }

    fn account(&mut self, written: usize, blocked: bool) {
        // Room after there was none: the peer has taken something.
        self.activity.received |= written > 0 && self.deadlines.is_blocked();
        if blocked != self.deadlines.is_blocked() || (blocked && written > 0) {
            let now = blocked.then(|| self.alarm.now());
            self.deadlines.set_blocked(now, self.link.settings());
        }
        self.drains += u32::from(self.link.written(written, blocked));
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.poll_write(cx));
        if self.write_error.is_none() {
            match ready!(Pin::new(&mut self.stream).poll_close(cx)) {
                // The peer is gone altogether, which not every runtime calls an error.
                Err(error) if error.kind() != io::ErrorKind::NotConnected => {
                    self.write_error = Some(error);
                }
                _ => {}
            }
        }
        Poll::Ready(())
    }

    /// Gives up what only a running task needs. `false` if it must go on instead.
    fn wait(&mut self, cx: &mut Context<'_>, blocked: bool, seen: Flags) -> bool {
        if self.poll_deadlines(cx).is_ready() {
            return false;
        }
        self.input.park();
        if !self.link.park(cx.waker(), blocked, seen) {
            return false;
        }
        self.work = 0;
        true
    }
}

fn poll_write_once(
    stream: &mut BoxStream,
    frames: &FrameQueue,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let stream = Pin::new(stream);
    if let Some(all) = frames.as_slice() {
        return stream.poll_write(cx, all);
    }
    let mut slices = [IoSlice::new(&[]); SLICES];
    let count = frames.slices(&mut slices);
    stream.poll_write_vectored(cx, &slices[..count])
}

/// What a waiting event counts for.
fn cost(event: &Event) -> usize {
    EVENT_COST
        + match event {
            Event::Message(message) => message.len(),
            Event::Ping(payload) | Event::Pong(payload) => payload.len(),
            Event::Close(frame) => frame.reason.len(),
        }
}

const _: () = assert!(READ_AHEAD <= READ_SIZE);
