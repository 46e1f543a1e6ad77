use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    ops::Deref,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::{
    catch::Caught,
    handler::HandlerResult,
    run::{failed, log_close, log_error, report},
    ws::Ws,
};
use crate::{
    close::{CloseCode, CloseFrame},
    connection::Driver,
    event::Event,
    sync::{Mutex, lock},
};

/// A connection whose handler owns the loop; see [`Route::socket`](crate::Route::socket).
///
/// It derefs to the [`Ws`], for everything but receiving. When the handler returns, the
/// connection is closed with 1000, or, after an error or panic, with 1011.
pub struct Socket<D = ()> {
    ws: Ws<D>,
    inbox: Arc<Mutex<Inbox>>,
}

#[derive(Default)]
struct Inbox {
    events: VecDeque<Event>,
    /// No further event will come.
    complete: bool,
    /// Who waits for an event.
    reader: Option<Waker>,
    /// The connection's task, when it waits for the last event to be taken.
    driver: Option<Waker>,
}

impl<D> Socket<D> {
    /// Waits for the next event; `None` after [`Event::Close`], and when the connection was
    /// dropped. Cancel safe: an event is taken by the call that returns it.
    pub async fn recv(&mut self) -> Option<Event> {
        poll_fn(|cx| {
            let mut inbox = lock(&self.inbox);
            match inbox.events.pop_front() {
                Some(event) => {
                    let driver = inbox.driver.take();
                    drop(inbox);
                    if let Some(driver) = driver {
                        driver.wake();
                    }
                    Poll::Ready(Some(event))
                }
                None if inbox.complete => Poll::Ready(None),
                None => {
                    inbox.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The handle, to keep or hand on.
    pub fn ws(&self) -> &Ws<D> {
        &self.ws
    }
}

impl<D> Deref for Socket<D> {
    type Target = Ws<D>;

    fn deref(&self) -> &Ws<D> {
        &self.ws
    }
}

impl<D> fmt::Debug for Socket<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.ws).finish()
    }
}

/// Runs a connection whose handler owns the loop.
pub(super) async fn run_socket<D, Fut>(
    mut driver: Driver,
    ws: Ws<D>,
    handler: impl FnOnce(Socket<D>) -> Fut,
) where
    Fut: Future<Output = HandlerResult>,
{
    let feed = Feed(Arc::default());
    let member = Arc::clone(ws.member());
    let link = member.link();
    let socket = Socket { ws, inbox: Arc::clone(&feed.0) };
    // Called in here, so that a panic of the closure itself is caught too.
    let mut handled = pin!(Caught::call(|| handler(socket)));
    let mut has_returned = false;

    poll_fn(|cx| {
        loop {
            if !has_returned {
                if let Poll::Ready(done) = handled.as_mut().poll(cx) {
                    has_returned = true;
                    match done {
                        Ok(()) => link.close(CloseFrame::new(CloseCode::NORMAL, "")),
                        Err(error) => failed(&mut driver, link, error),
                    }
                }
            }
            // One event at a time: the next is looked for when the handler has taken the last.
            if !has_returned && !driver.is_closing(link.flags()) && feed.is_waited_on(cx) {
                driver.poll_background(cx);
                return Poll::Pending;
            }
            let Poll::Ready(event) = driver.poll_next(cx) else { return Poll::Pending };
            let is_last = matches!(event, Event::Close(_));
            feed.deliver(event, Some(cx.waker()));
            if is_last {
                return Poll::Ready(());
            }
        }
    })
    .await;
    if !has_returned {
        report(handled.await);
    }
}

/// Where the events of a socket come from. The handler may receive in a task of its own,
/// which may go on when the handler has returned, and is told when the connection is dropped.
struct Feed(Arc<Mutex<Inbox>>);

impl Feed {
    /// Whether the handler has not taken the last event. The task is woken once it does.
    fn is_waited_on(&self, cx: &mut Context<'_>) -> bool {
        let mut inbox = lock(&self.0);
        let waits = !inbox.events.is_empty();
        inbox.driver = waits.then(|| cx.waker().clone());
        waits
    }

    /// Hands over an event and wakes who waits for it, unless that is `this` task, which
    /// goes on anyway.
    fn deliver(&self, event: Event, this: Option<&Waker>) {
        match &event {
            Event::Error(error) => log_error(error),
            Event::Close(frame) => log_close(frame),
            _ => {}
        }
        let mut inbox = lock(&self.0);
        inbox.complete |= matches!(event, Event::Close(_));
        inbox.events.push_back(event);
        let reader = inbox.reader.take();
        drop(inbox);
        let other = reader.filter(|reader| !this.is_some_and(|this| this.will_wake(reader)));
        if let Some(reader) = other {
            reader.wake();
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut inbox = lock(&self.0);
        inbox.complete = true;
        let reader = inbox.reader.take();
        drop(inbox);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}
