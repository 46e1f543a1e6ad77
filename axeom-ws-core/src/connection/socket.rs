use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    ops::Deref,
    pin::pin,
    sync::{Arc, PoisonError},
    task::{Poll, Waker},
};

use bytes::Bytes;

use super::{
    Ws,
    call::Call,
    driver::{Driver, Incoming},
    handle,
};
use crate::{
    CloseCode, CloseFrame, HandlerResult, Message,
    sync::{Mutex, MutexGuard},
    telemetry,
};

/// What [`Socket::recv`] yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketEvent {
    /// A whole message.
    Message(Message),
    /// A ping. It is answered already.
    Ping(Bytes),
    /// A pong.
    Pong(Bytes),
    /// Backpressure is over.
    Drain,
    /// The connection is over; the last event.
    Close(CloseFrame),
}

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
    events: VecDeque<SocketEvent>,
    closed: bool,
    /// Who waits for an event.
    reader: Option<Waker>,
    /// The connection's task, when it waits for the last event to be taken.
    driver: Option<Waker>,
}

impl<D> Socket<D> {
    /// Waits for the next event; `None` after [`SocketEvent::Close`], and when the
    /// connection was dropped. Cancel safe.
    pub async fn recv(&mut self) -> Option<SocketEvent> {
        poll_fn(|cx| {
            let mut inbox = lock(&self.inbox);
            match inbox.events.pop_front() {
                Some(event) => {
                    if let Some(driver) = inbox.driver.take() {
                        driver.wake();
                    }
                    Poll::Ready(Some(event))
                }
                None if inbox.closed => Poll::Ready(None),
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
pub(crate) async fn run_socket<D, Fut>(
    mut driver: Driver,
    ws: Ws<D>,
    handler: impl FnOnce(Socket<D>) -> Fut,
) where
    Fut: Future<Output = HandlerResult>,
{
    let feed = Feed(Arc::default());
    let link = Arc::clone(ws.link());
    let socket = Socket { ws, inbox: Arc::clone(&feed.0) };
    // Called in here, so that a panic of the closure itself is caught too.
    let mut handled = pin!(Call::new(|| handler(socket)));

    // One event at a time: the next is looked for when the handler has taken the last.
    let early = poll_fn(|cx| {
        loop {
            if let Poll::Ready(done) = handled.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            {
                let mut inbox = lock(&feed.0);
                inbox.driver = (!inbox.events.is_empty()).then(|| cx.waker().clone());
                if inbox.driver.is_some() {
                    drop(inbox);
                    driver.poll_background(cx);
                    return Poll::Pending;
                }
            }
            let event = match driver.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Incoming::End) => return Poll::Ready(None),
                Poll::Ready(Incoming::Message(message)) => SocketEvent::Message(message),
                Poll::Ready(Incoming::Ping(payload)) => SocketEvent::Ping(payload),
                Poll::Ready(Incoming::Pong(payload)) => SocketEvent::Pong(payload),
                Poll::Ready(Incoming::Drain) => SocketEvent::Drain,
            };
            feed.deliver(event, Some(cx.waker()));
        }
    })
    .await;

    let mut done = early;
    match &done {
        Some(Ok(())) => link.close(CloseFrame::new(CloseCode::NORMAL, "")),
        Some(Err(error)) => {
            tracing::debug!(%error, "a socket handler failed");
            link.close(handle::internal_error());
        }
        None => {}
    }
    driver.registration().leave_topics();
    // The handler goes on meanwhile: what it holds must not wait for the peer.
    let (frame, _) = {
        let mut finish = Box::pin(driver.finish());
        poll_fn(|cx| {
            if done.is_none() {
                if let Poll::Ready(early) = handled.as_mut().poll(cx) {
                    done = Some(early);
                }
            }
            finish.as_mut().poll(cx)
        })
        .await
    };
    driver.drop_stream();
    tracing::debug!(code = %frame.code, "connection closed");
    telemetry::closed(frame.code);
    feed.deliver(SocketEvent::Close(frame), None);
    handle::report(match done {
        Some(done) => done,
        None => handled.await,
    });
}

/// Where the events of a socket come from. The handler may receive in a task of its own,
/// which may go on when the handler has returned, and is told when the connection is dropped.
struct Feed(Arc<Mutex<Inbox>>);

impl Feed {
    /// Hands over an event and wakes who waits for it, unless that is `this` task, which
    /// goes on anyway.
    fn deliver(&self, event: SocketEvent, this: Option<&Waker>) {
        let mut inbox = lock(&self.0);
        inbox.closed |= matches!(event, SocketEvent::Close(_));
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
        inbox.closed = true;
        let reader = inbox.reader.take();
        drop(inbox);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

fn lock(inbox: &Mutex<Inbox>) -> MutexGuard<'_, Inbox> {
    inbox.lock().unwrap_or_else(PoisonError::into_inner)
}
