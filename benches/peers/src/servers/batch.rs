//! Batching by hand, as a user who cares would write it: every message that is there is
//! answered before anything is flushed.

use std::{future::poll_fn, pin::Pin, task::Poll};

use futures::{Sink, SinkExt, Stream, StreamExt};

/// The next message. Flushes when there is none yet.
pub(super) async fn next<S, M, E>(socket: &mut S) -> Option<M>
where
    S: Stream<Item = Result<M, E>> + Sink<M> + Unpin,
{
    let next = poll_fn(|cx| {
        let next = socket.poll_next_unpin(cx);
        if next.is_pending()
            && let Poll::Ready(Err(_)) = Pin::new(&mut *socket).poll_flush(cx)
        {
            return Poll::Ready(None);
        }
        next
    });
    next.await?.ok()
}

/// Echoes the messages that are data.
pub(super) async fn echo<S, M, E>(mut socket: S, is_data: impl Fn(&M) -> bool)
where
    S: Stream<Item = Result<M, E>> + Sink<M> + Unpin,
{
    while let Some(message) = next(&mut socket).await {
        if is_data(&message) && socket.feed(message).await.is_err() {
            break;
        }
    }
}
