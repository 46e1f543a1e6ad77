//! A room on a broadcast channel, as users of libraries without topics write one.

use futures::{Sink, SinkExt, Stream, StreamExt};
use tokio::sync::broadcast;

/// No subscriber of ours is so slow that it would lag behind by more.
const BACKLOG: usize = 1 << 16;

pub(super) fn new<M: Clone>() -> broadcast::Sender<M> {
    broadcast::Sender::new(BACKLOG)
}

/// Sends to the room what `said` makes of the socket's messages, and to the socket what was
/// said in the room.
pub(super) async fn join<S, M, E>(
    mut socket: S,
    room: broadcast::Sender<M>,
    said: impl Fn(M) -> Option<M>,
) where
    S: Stream<Item = Result<M, E>> + Sink<M> + Unpin,
    M: Clone,
{
    let mut heard = room.subscribe();
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(message)) => {
                    said(message).map(|message| room.send(message));
                }
                _ => return,
            },
            message = heard.recv() => {
                let mut next = message.ok();
                while let Some(message) = next {
                    if socket.feed(message).await.is_err() {
                        return;
                    }
                    next = heard.try_recv().ok();
                }
                if socket.flush().await.is_err() {
                    return;
                }
            }
        }
    }
}
