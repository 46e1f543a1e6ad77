//! Who waits on a link: senders for room, one after another, and others for the end of
//! backpressure, or of the connection.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    num::NonZeroU64,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use super::{Link, NotQueued, Phase, State, Wakers, flags::WAITED_FOR, traffic::Fill};
use crate::{
    error::Closed,
    message::SendMessage,
    protocol::Outgoing,
    sync::{MutexGuard, atomic::Ordering, lock},
};

/// Those who wait, in the order in which they began. It exists while somebody waits.
#[derive(Default)]
pub(super) struct Waiting {
    senders: VecDeque<Waiter>,
    /// They wait until the connection is not congested, and keep no sender from its turn.
    others: VecDeque<Waiter>,
    /// They wait until the connection begins to end.
    ends: VecDeque<Waiter>,
    tickets: u64,
}

struct Waiter {
    ticket: Ticket,
    /// Taken when the waiter is woken, until it waits again.
    waker: Option<Waker>,
}

/// Names a waiter for as long as it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(NonZeroU64);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Senders,
    Others,
    Ends,
}

impl Waiting {
    /// Whether it is this sender's turn.
    pub(super) fn is_first(&self, ticket: Ticket) -> bool {
        self.senders.front().is_some_and(|first| first.ticket == ticket)
    }

    fn line(&mut self, line: Line) -> &mut VecDeque<Waiter> {
        match line {
            Line::Senders => &mut self.senders,
            Line::Others => &mut self.others,
            Line::Ends => &mut self.ends,
        }
    }

    /// Adds a waiter to the end of a line, or gives the one with this ticket a new waker. Returns
    /// the waker that it had.
    fn enter(&mut self, line: Line, ticket: &mut Option<Ticket>, waker: &Waker) -> Option<Waker> {
        if let Some(ticket) = *ticket {
            let waiter = find(self.line(line), ticket).map(|at| &mut self.line(line)[at])?;
            if waiter.waker.as_ref().is_some_and(|last| last.will_wake(waker)) {
                return None;
            }
            return waiter.waker.replace(waker.clone());
        }
        self.tickets += 1;
        let new = Ticket(NonZeroU64::MIN.saturating_add(self.tickets));
        *ticket = Some(new);
        self.line(line).push_back(Waiter { ticket: new, waker: Some(waker.clone()) });
        None
    }

    fn is_empty(&self) -> bool {
        self.senders.is_empty() && self.others.is_empty() && self.ends.is_empty()
    }
}

/// Tickets of a line are in ascending order.
fn find(line: &VecDeque<Waiter>, ticket: Ticket) -> Option<usize> {
    line.binary_search_by_key(&ticket, |waiter| waiter.ticket).ok()
}

impl Link {
    /// Lets a sender wait for its turn and for room. `false` if it shall offer its message again
    /// instead, because there is room by now, or the connection is closed.
    fn wait_for_room(&self, ticket: &mut Option<Ticket>, len: usize, waker: &Waker) -> bool {
        let mut state = lock(&self.state);
        if self.admit(&state, self.flags(), len, fill(*ticket)) != Err(NotQueued::Full) {
            return false;
        }
        let waiting = state.waiting.get_or_insert_default();
        let last = waiting.enter(Line::Senders, ticket, waker);
        self.flags.set(WAITED_FOR, Ordering::Relaxed);
        drop(state);
        drop(last);
        true
    }

    /// Waits until the connection is not congested.
    pub(crate) async fn ready(&self) -> Result<(), NotQueued> {
        let mut place = InLine::new(self);
        poll_fn(|cx| self.poll_ready(&mut place.ticket, cx.waker())).await
    }

    /// Waits until the connection begins to end.
    pub(crate) async fn ending(&self) {
        let mut place = InLine::new(self);
        poll_fn(|cx| self.poll_ending(&mut place.ticket, cx.waker())).await;
    }

    fn poll_ending(&self, ticket: &mut Option<Ticket>, waker: &Waker) -> Poll<()> {
        let mut state = lock(&self.state);
        if self.flags().phase() != Phase::Open {
            return Poll::Ready(());
        }
        let last = state.waiting.get_or_insert_default().enter(Line::Ends, ticket, waker);
        drop(state);
        drop(last);
        Poll::Pending
    }

    fn poll_ready(
        &self,
        ticket: &mut Option<Ticket>,
        waker: &Waker,
    ) -> Poll<Result<(), NotQueued>> {
        // The flags change under the lock, so they are read under it.
        let mut state = lock(&self.state);
        let flags = self.flags();
        if !flags.is_open() {
            return Poll::Ready(Err(NotQueued::Closed));
        }
        if !flags.is_congested() {
            return Poll::Ready(Ok(()));
        }
        let last = state.waiting.get_or_insert_default().enter(Line::Others, ticket, waker);
        drop(state);
        drop(last);
        Poll::Pending
    }

    /// Ends a wait. If it was a sender's, and its turn, the turn passes on.
    #[cold]
    fn leave(&self, ticket: Ticket) {
        let mut state = lock(&self.state);
        let Some(waiting) = &mut state.waiting else { return };
        let was_first = waiting.is_first(ticket);
        let mut left = None;
        for line in [Line::Senders, Line::Others, Line::Ends] {
            let line = waiting.line(line);
            if let Some(at) = find(line, ticket) {
                left = line.remove(at);
            }
        }
        let mut next = None;
        // While the connection is congested, the end of that wakes the next one.
        if was_first && !self.flags().is_congested() {
            next = waiting.senders.front_mut().and_then(|next| next.waker.take());
        }
        if waiting.senders.is_empty() {
            self.flags.clear(WAITED_FOR, Ordering::Relaxed);
        }
        let empty = waiting.is_empty().then(|| state.waiting.take());
        drop(state);
        drop((left, empty));
        if let Some(next) = next {
            next.wake();
        }
    }

    /// Unlocks the state, and wakes those who wait. It must be called after anything that may have
    /// freed room or ended a wait.
    pub(super) fn wake_waiting(&self, state: MutexGuard<'_, State>) {
        if state.waiting.is_some() {
            self.wake_them(state);
        }
    }

    #[cold]
    fn wake_them(&self, mut state: MutexGuard<'_, State>) {
        let mut wakers = Wakers::default();
        let flags = self.flags();
        if let Some(waiting) = &mut state.waiting {
            // Of the senders of an open connection, the first goes on, and wakes the second once
            // it has queued its message.
            let senders = if flags.is_open() { 1 } else { usize::MAX };
            let others = if flags.is_open() && flags.is_congested() { 0 } else { usize::MAX };
            let ends = if flags.phase() == Phase::Open { 0 } else { usize::MAX };
            let senders = waiting.senders.iter_mut().take(senders);
            let others = waiting.others.iter_mut().take(others);
            let ends = waiting.ends.iter_mut().take(ends);
            for waiter in senders.chain(others).chain(ends) {
                if let Some(waker) = waiter.waker.take() {
                    wakers.push(waker);
                }
            }
        }
        // The wakers are called when they are dropped, after this.
        drop(state);
    }
}

fn fill(ticket: Option<Ticket>) -> Fill {
    ticket.map_or(Fill::ToMark, Fill::InTurn)
}

/// A place in a line, once there is a ticket. Dropping it ends the wait.
struct InLine<'a> {
    link: &'a Link,
    ticket: Option<Ticket>,
}

impl<'a> InLine<'a> {
    fn new(link: &'a Link) -> Self {
        Self { link, ticket: None }
    }

    #[inline]
    fn leave(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.link.leave(ticket);
        }
    }
}

impl Drop for InLine<'_> {
    #[inline]
    fn drop(&mut self) {
        self.leave();
    }
}

/// Queues a message. It waits for room if the connection is congested, behind those that waited
/// before. If this is dropped before it is ready, it has queued nothing.
///
/// It is written out instead of being an `async fn` because almost every handler contains one,
/// so its size counts for every connection.
pub(crate) struct Sending<'a> {
    place: InLine<'a>,
    message: SendMessage,
}

impl<'a> Sending<'a> {
    pub(crate) fn new(link: &'a Link, message: SendMessage) -> Self {
        Self { place: InLine::new(link), message }
    }
}

impl Future for Sending<'_> {
    type Output = Result<(), Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { place, message } = &mut *self;
        let link = place.link;
        loop {
            let mut message = Outgoing::new(message);
            match link.offer(&mut message, fill(place.ticket)) {
                Err(NotQueued::Full) => {}
                done => {
                    // The turn passes on once the message is queued, and not before.
                    place.leave();
                    return Poll::Ready(done.map(drop).map_err(|_| Closed));
                }
            }
            if link.wait_for_room(&mut place.ticket, message.len(), cx.waker()) {
                return Poll::Pending;
            }
        }
    }
}
