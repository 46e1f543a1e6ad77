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
    handler::HandlerResult,
    run::{Caught, failed, log_close, log_error, report},
    ws::Ws,
};
use crate::{
    close::{CloseCode, CloseFrame},
    connection::Driver,
    event::Event,
    sync::{Mutex, lock},
};

/// A connection whose handler receives the events in its own loop. See
/// [`Route::socket`](crate::Route::socket).
///
/// It derefs to [`Ws`] for everything other than receiving. When the handler returns, the
/// connection is closed with 1000, or with 1011 after an error or panic.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, Event, HandlerResult, Socket};
///
/// async fn echo(mut socket: Socket) -> HandlerResult {
///     while let Some(event) = socket.recv().await {
///         if let Event::Message(message) = event {
///             socket.send(message).await?;
///         }
///     }
///     Ok(())
/// }
///
/// let app = App::new().ws("/echo", |route| route.socket(echo));
/// # let _ = app;
/// ```
pub struct Socket<D = ()> {
    ws: Ws<D>,
    inbox: Arc<Mutex<Inbox>>,
}

#[derive(Default)]
struct Inbox {
    events: VecDeque<Event>,
    /// Whether the last event has been pushed.
    complete: bool,
    /// The waker of the task that waits for an event.
    reader: Option<Waker>,
    /// The waker of the connection's task, while it waits for the handler to take an event.
    driver: Option<Waker>,
}

impl<D> Socket<D> {
    /// Waits for the next event. `None` after [`Event::Close`], or once the connection was dropped.
    ///
    /// Cancel safe: a future that is dropped before it completes has taken no event.
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

    /// The handle to the connection, to clone and use elsewhere.
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

/// Runs a connection whose handler receives the events in its own loop.
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
    // `Caught::call` also catches a panic of the closure itself.
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
            // The next event is awaited only once the handler has taken the last one.
            if !has_returned && feed.holds_an_event(cx) {
                driver.poll_background(cx);
                return Poll::Pending;
            }
            let Poll::Ready(event) = driver.poll_next(cx) else { return Poll::Pending };
            let is_last = matches!(event, Event::Close(_));
            feed.deliver(event, cx.waker());
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

/// The sending side of a socket's inbox. The handler may receive in another task, which can outlive
/// the handler. Dropping this ends that task's wait.
struct Feed(Arc<Mutex<Inbox>>);

impl Feed {
    /// Whether the handler still has to take the last event. The task is woken once it does.
    fn holds_an_event(&self, cx: &mut Context<'_>) -> bool {
        let mut inbox = lock(&self.0);
        let waits = !inbox.events.is_empty();
        inbox.driver = waits.then(|| cx.waker().clone());
        waits
    }

    /// Hands over an event, and wakes the task that waits for one. `this` is the waker of the
    /// calling task, which polls the handler again without being woken.
    fn deliver(&self, event: Event, this: &Waker) {
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
        if let Some(reader) = reader.filter(|reader| !this.will_wake(reader)) {
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
