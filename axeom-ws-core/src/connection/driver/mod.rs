//! Drives one connection. The same loop runs while the handlers wait for an event, while a
//! handler is busy, and while the connection closes.

mod close;
mod receive;

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;

pub(crate) use self::receive::Input;
use self::{
    close::Closing,
    receive::{Ahead, End},
};
use super::{
    deadlines::{Activity, Deadlines, Due},
    gone::Gone,
    pace::Progress,
    turn::Turn,
};
use crate::{
    close::{CloseCode, CloseFrame},
    compression::DeflateParams,
    contained::contain,
    error::ConnectionError,
    event::Event,
    hub::{Member, Registration},
    link::Flags,
    protocol::{FrameQueue, Inbound, Role},
    runtime::{BoxTransport, Timer, limit_unsent, on_its_way, uninterrupted},
};

/// Reads, parses, writes and keeps the deadlines of one connection.
pub(crate) struct Driver {
    transport: BoxTransport,
    link: Registration,
    inbound: Inbound,
    input: Input,
    /// What was parsed while a handler was busy.
    ahead: Option<Box<Ahead>>,
    /// How the receiving direction ended, once it has. It takes effect after the events that
    /// are still `ahead` of it.
    end: Option<Box<End>>,
    /// Frames that were taken from the link and that the transport has not accepted yet.
    writing: Option<Box<FrameQueue>>,
    deadlines: Deadlines,
    activity: Activity,
    /// Whether something was written since the last flush.
    unflushed: bool,
    /// A write failed, so the sending direction is broken.
    write_failed: bool,
    closing: Closing,
    turn: Turn,
    /// How many `Drain` events are still owed to the handlers.
    drains: u16,
    /// The first error, until the handlers have it.
    error: Option<Box<ConnectionError>>,
    timer: Timer<Member>,
}

/// The most slices handed to one vectored write.
const SLICES: usize = 64;

/// Why the connection is driven.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// The handlers wait for the next event.
    Event,
    /// A handler is busy and takes no event.
    Background,
}

impl Driver {
    pub(crate) fn new(
        transport: BoxTransport,
        input: Input,
        link: Registration,
        deflate: Option<DeflateParams>,
        timer: Timer<Member>,
    ) -> Self {
        if let Some(bytes) = link.settings().unsent_limit {
            limit_unsent(&*transport, bytes);
        }
        let inbound = Inbound::new(Role::Server, link.settings().limits);
        Self {
            transport,
            inbound: match deflate {
                Some(params) => inbound.with_deflate(params),
                None => inbound,
            },
            input,
            ahead: None,
            end: None,
            writing: None,
            deadlines: Deadlines::new(timer.now(), link.settings()),
            activity: Activity::default(),
            unflushed: false,
            write_failed: false,
            closing: Closing::NotYet,
            turn: Turn::new(),
            drains: 0,
            error: None,
            link,
            timer,
        }
    }

    /// The connection as its app knows it.
    pub(crate) fn member(&self) -> &Arc<Member> {
        self.link.member()
    }

    /// The next event. What the handlers have queued is written once all input at hand is
    /// handled. The last event is `Close`, after the closing handshake.
    pub(crate) fn next(&mut self) -> impl Future<Output = Event> + Send {
        poll_fn(|cx| self.poll_next(cx))
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        self.drive(cx, Purpose::Event)
    }

    /// Keeps the connection going while a handler is busy: writes, answers pings, reads ahead,
    /// and closes it when that is due.
    pub(crate) fn poll_background(&mut self, cx: &mut Context<'_>) {
        let _ = self.drive(cx, Purpose::Background);
    }

    /// Closes the connection with 1011, because a handler failed.
    pub(crate) fn fail(&mut self, error: ConnectionError) {
        self.note_error(error);
        self.link.close(CloseFrame::new(CloseCode::INTERNAL_ERROR, "internal error"));
    }

    #[inline(always)]
    fn drive(&mut self, cx: &mut Context<'_>, purpose: Purpose) -> Poll<Event> {
        loop {
            let seen = self.link.flags();
            match purpose {
                Purpose::Event => {
                    if let Some(event) = self.next_event(cx, seen) {
                        return Poll::Ready(event);
                    }
                }
                Purpose::Background => self.keep_up(cx, seen),
            }
            let blocked = self.has_output() && self.flush(cx).is_pending();
            if self.drains > 0 && purpose == Purpose::Event && self.closing == Closing::NotYet {
                continue;
            }
            if self.fill(cx, purpose).is_ready() || self.keep_time(cx).is_ready() {
                continue;
            }
            if self.park(cx, blocked, seen) {
                return Poll::Pending;
            }
        }
    }

    /// Checks the deadlines. Ready if one may have passed.
    fn keep_time(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // This deadline is not set for each message, but when the task waits for the rest of one.
        if self.is_unfinished() && !self.deadlines.watches_message() {
            self.watch_message();
        }
        if let Some(next) = self.deadlines.rearm() {
            self.timer.set(next);
        }
        // The link knows of the deadlines that a server's timers keep; other connections have a
        // timer that must be polled.
        if !self.link.take_due() && self.timer.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let now = self.timer.now();
        let progress = Progress {
            on_its_way: if self.deadlines.is_blocked() || self.activity.stopped {
                on_its_way(&*self.transport)
            } else {
                0
            },
            unfinished: self.is_unfinished().then(|| self.held()),
        };
        loop {
            let settings = self.link.settings();
            match self.deadlines.pass(now, &progress, &mut self.activity, settings) {
                Some(due) => self.deadline_passed(due),
                None => break,
            }
        }
        Poll::Ready(())
    }

    #[cold]
    fn watch_message(&mut self) {
        if self.closing == Closing::NotYet && self.end.is_none() {
            self.deadlines.watch_message(self.timer.now(), self.held(), self.link.settings());
        }
    }

    fn deadline_passed(&mut self, due: Due) {
        match due {
            Due::Ping => drop(self.link.ping(&Bytes::new())),
            Due::Idle => self.link.close(CloseFrame::new(CloseCode::GOING_AWAY, "idle")),
            Due::Lifetime => {
                self.link.close(CloseFrame::new(CloseCode::GOING_AWAY, "connection too old"));
            }
            Due::NotAnswered => self.begin_close(self.link.flags().phase()),
            Due::NoPong => self.lose(ConnectionError::PongTimeout),
            Due::Stuck => self.lose(ConnectionError::WriteTimeout),
            Due::TooSlow => self.lose(ConnectionError::TooSlow),
            Due::Unfinished => {
                self.link.close(CloseFrame::new(CloseCode::POLICY_VIOLATION, "message too slow"));
            }
            Due::NotClosed => self.give_up_closing(),
        }
    }

    /// Gives up what only a running task needs, and lets the link wake the task. `false` if there
    /// is more to do first.
    fn park(&mut self, cx: &mut Context<'_>, blocked: bool, seen: Flags) -> bool {
        self.input.park();
        let waits = self.link.park(cx.waker(), blocked, seen.phase(), true);
        if waits {
            self.turn.end();
        }
        waits
    }

    /// Pending, with a wake-up to follow, if other tasks should run first.
    #[inline]
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.turn.is_over(|| self.timer.now()) {
            self.timer.yield_now(cx);
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Does the same before a read or a write.
    fn poll_turn_for_io(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.poll_turn(cx));
        self.turn.count_io();
        Poll::Ready(())
    }

    /// Gives up a transport that is broken or whose peer is gone. Nothing more is received, and
    /// sending fails from now on.
    fn lose(&mut self, error: ConnectionError) {
        self.break_off(None, error);
        self.set_end(End::Lost);
        self.release();
    }

    /// Drops the transport and everything that was to be written.
    fn release(&mut self) {
        self.transport = Box::new(Gone);
        self.input = Input::default();
        self.writing = None;
        self.unflushed = false;
        self.deadlines.stop();
        self.link.drop_queued();
    }

    /// Ends sending because something went wrong, with `frame` for the peer if there is one. The
    /// handlers are told the error, unless the connection was ending already.
    fn break_off(&mut self, frame: Option<CloseFrame>, error: impl Into<ConnectionError>) {
        if self.link.fail(frame) {
            self.note_error(error.into());
        }
    }

    fn note_error(&mut self, error: ConnectionError) {
        match self.error {
            None => self.error = Some(Box::new(error)),
            Some(_) => contain(|| drop(error)),
        }
    }
}

/// From the link to the transport.
impl Driver {
    /// Whether there is anything to write or to flush.
    #[inline]
    pub(super) fn has_output(&self) -> bool {
        self.writing.is_some() || self.unflushed || self.link.flags().is_queued()
    }

    /// Writes and flushes everything that is queued. Pending while the transport accepts no
    /// more, or if other tasks should run first.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut again = false;
        while self.writing.is_some() || self.link.flags().is_queued() {
            let mut frames = match self.writing.take() {
                Some(frames) => *frames,
                None => self.link.take(),
            };
            // Other threads may queue frames as fast as this one writes them.
            if std::mem::replace(&mut again, true) && self.poll_turn_for_io(cx).is_pending() {
                self.writing = Some(Box::new(frames));
                return Poll::Pending;
            }
            while !frames.is_empty() {
                match poll_write_once(&mut self.transport, &frames, cx) {
                    Poll::Ready(Ok(n @ 1..)) => {
                        self.unflushed = true;
                        frames.advance(n);
                        // A peer that is behind is so until it has taken everything.
                        self.account(n, self.deadlines.is_blocked());
                    }
                    Poll::Ready(Ok(0)) => {
                        return self.fail_writing(io::ErrorKind::WriteZero.into());
                    }
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                    Poll::Ready(Err(error)) => return self.fail_writing(error),
                    Poll::Pending => {
                        frames.shrink();
                        self.writing = Some(Box::new(frames));
                        self.account(0, true);
                        return Poll::Pending;
                    }
                }
            }
        }
        while self.unflushed {
            match self.transport.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                Poll::Ready(Err(error)) => return self.fail_writing(error),
                Poll::Pending => {
                    self.account(0, true);
                    return Poll::Pending;
                }
            }
            if self.deadlines.is_blocked() {
                self.account(0, false);
            }
        }
        Poll::Ready(())
    }

    /// Writes what is queued and ends the sending direction.
    pub(super) fn poll_hang_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.flush(cx));
        if self.write_failed {
            return Poll::Ready(());
        }
        match ready!(uninterrupted(|| self.transport.poll_close(cx))) {
            // Some runtimes report this error when the peer is gone altogether, others do not.
            Err(error) if error.kind() != io::ErrorKind::NotConnected => {
                let _ = self.fail_writing(error);
            }
            _ => {}
        }
        Poll::Ready(())
    }

    /// Drops what is queued after a write error. What the peer sent before is still received, so the
    /// receiving direction decides when the connection is over, within the close timeout.
    fn fail_writing(&mut self, error: io::Error) -> Poll<()> {
        self.unflushed = false;
        self.write_failed = true;
        self.break_off(None, error);
        self.link.drop_queued();
        self.account(0, false);
        // The peer may wait for what was to be written, and never end. Nor is its end seen while a
        // busy handler keeps this from reading.
        if self.closing == Closing::NotYet && !self.deadlines.awaits_answer() {
            self.deadlines.await_answer(self.timer.now(), self.link.settings());
        }
        Poll::Ready(())
    }

    #[cold]
    fn note_pace(&mut self, written: usize, blocked: bool) {
        let (on_its_way, activity) = (on_its_way(&*self.transport), &mut self.activity);
        if blocked {
            let (now, settings) = (self.timer.now(), self.link.settings());
            self.deadlines.block(now, written, on_its_way, activity, settings);
        } else {
            self.deadlines.unblock(written, on_its_way, activity);
        }
    }

    /// Notes that the transport accepted `written` bytes, and whether it accepts more.
    fn account(&mut self, written: usize, blocked: bool) {
        if blocked || self.deadlines.is_blocked() {
            self.note_pace(written, blocked);
        }
        let relieved = self.link.written(written, blocked);
        self.drains = self.drains.saturating_add(u16::from(relieved));
    }
}

/// Writes once: one slice if the frames are in one buffer, and otherwise many at a time.
fn poll_write_once(
    transport: &mut BoxTransport,
    frames: &FrameQueue,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    if let Some(all) = frames.as_slice() {
        return transport.poll_write(cx, all);
    }
    let mut slices = [IoSlice::new(&[]); SLICES];
    let count = frames.slices(&mut slices);
    transport.poll_write_vectored(cx, &slices[..count])
}
