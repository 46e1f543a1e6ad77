use std::{
    future::poll_fn,
    io,
    net::Ipv4Addr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures::{
    FutureExt,
    io::{AsyncRead, AsyncWrite},
};
use tracing::Span;

use crate::{
    Options,
    connection::{
        alarm::Alarm,
        driver::{Driver, Incoming},
        input::Input,
        link::Link,
        run::Run,
    },
    model::{Standstill, link},
    registry::{Capacity, Hub},
    sync::Mutex,
};

/// A connection's task: the real one, over a stream of which a model says what it takes.
pub(super) struct Task {
    driver: Box<Driver>,
    pub(super) link: Arc<Link>,
    pub(super) wire: Wire,
    /// Times it was told that backpressure is over.
    pub(super) drains: usize,
}

impl Task {
    pub(super) fn new(options: &Options) -> Self {
        let hub = Arc::new(Hub::default());
        let registration =
            hub.register(link(options), Ipv4Addr::LOCALHOST.into(), Capacity::default()).unwrap();
        let wire = Wire::default();
        let alarm = Alarm::own(Arc::new(Standstill::new()));
        let link = Arc::clone(&registration);
        let driver =
            Driver::new(Box::new(wire.clone()), Input::default(), registration, None, alarm);
        Self { driver: Box::new(driver), link, wire, drains: 0 }
    }

    /// Goes on until `done`, or until the connection is to end.
    pub(super) async fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let link = Arc::clone(&self.link);
        let going = poll_fn(|cx| {
            loop {
                if done(self) {
                    return Poll::Ready(());
                }
                match self.driver.poll_next(cx) {
                    Poll::Pending if done(self) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Incoming::Drain) => self.drains += 1,
                    Poll::Ready(Incoming::End) => return Poll::Ready(()),
                    Poll::Ready(other) => panic!("the peer sends nothing: {other:?}"),
                }
            }
        });
        Run::new(link, Span::none(), going).await;
    }

    /// Ends the connection.
    pub(super) async fn finish(&mut self) {
        let link = Arc::clone(&self.link);
        let ending = self.driver.finish().map(drop);
        Run::new(link, Span::none(), ending).await;
    }

    pub(super) fn has_nothing_left(&self) {
        assert_eq!(self.link.buffered_amount(), 0);
        assert!(!self.link.flags().congested());
    }
}

/// A stream. Its peer ends its direction once it has the close frame, which it takes for
/// granted is the last that it is sent.
#[derive(Clone)]
pub(super) struct Wire(Arc<Mutex<Peer>>);

struct Peer {
    sent: Vec<u8>,
    received: Vec<u8>,
    /// How much more it takes.
    room: usize,
    ended: bool,
    never_ends: bool,
    writer: Option<Waker>,
}

impl Default for Wire {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Peer {
            sent: Vec::new(),
            received: Vec::new(),
            room: usize::MAX,
            ended: false,
            never_ends: false,
            writer: None,
        })))
    }
}

impl Wire {
    /// What the peer received.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().received.clone()
    }

    pub(super) fn written(&self) -> usize {
        self.0.lock().unwrap().received.len()
    }

    /// Lets the peer take so many bytes more.
    pub(super) fn accept(&self, room: usize) {
        let mut peer = self.0.lock().unwrap();
        peer.room = room;
        let writer = peer.writer.take();
        drop(peer);
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// What the peer has sent before the connection runs, and that it then ends.
    pub(super) fn send_and_end(&self, bytes: &[u8]) {
        let mut peer = self.0.lock().unwrap();
        peer.sent.extend_from_slice(bytes);
        peer.ended = true;
    }

    /// The peer does not answer the close frame.
    pub(super) fn never_ends(&self) {
        self.0.lock().unwrap().never_ends = true;
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut peer = self.0.lock().unwrap();
        if !peer.sent.is_empty() {
            let n = into.len().min(peer.sent.len());
            into[..n].copy_from_slice(&peer.sent[..n]);
            peer.sent.drain(..n);
            return Poll::Ready(Ok(n));
        }
        // The task asks again after each write, so nobody needs to be woken.
        let closed = peer.received.ends_with(&[0x88, 2, 3, 0xe8]) && !peer.never_ends;
        if peer.ended || closed { Poll::Ready(Ok(0)) } else { Poll::Pending }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut peer = self.0.lock().unwrap();
        if peer.room == 0 {
            peer.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let n = bytes.len().min(peer.room);
        peer.room -= n;
        peer.received.extend_from_slice(&bytes[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
