use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use event_listener::EventListener;

use super::{Link, NotQueued};
use crate::{error::Closed, message::SendMessage, protocol::Outgoing};

/// Queues a message, after waiting for room if the connection is congested. If this is dropped
/// before it is ready, it has queued nothing.
///
/// It is written out instead of being an `async fn` because almost every handler contains one,
/// so its size counts for every connection.
pub(crate) struct Sending<'a> {
    link: &'a Link,
    message: SendMessage,
    listener: Option<EventListener>,
}

impl<'a> Sending<'a> {
    pub(crate) fn new(link: &'a Link, message: SendMessage) -> Self {
        Self { link, message, listener: None }
    }
}

impl Future for Sending<'_> {
    type Output = Result<(), Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if let Some(listener) = &mut this.listener {
                ready!(Pin::new(listener).poll(cx));
                this.listener = None;
            }
            let mut message = Outgoing::new(&this.message);
            match this.link.offer_below_mark(&mut message) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(NotQueued::Closed) => return Poll::Ready(Err(Closed)),
                Err(NotQueued::Full) => {}
            }
            // The listener reports only what happens from now on, so a second try is needed for
            // what happened just before.
            this.listener = Some(this.link.listen());
            match this.link.offer_below_mark(&mut message) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(NotQueued::Closed) => return Poll::Ready(Err(Closed)),
                Err(NotQueued::Full) => {}
            }
        }
    }
}
