use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tracing::Span;

use crate::{
    connection::{Driver, Input, Task as Running},
    event::Event,
    hub::Member,
    link::Link,
    loom_support::{Standstill, registered},
    options::Options,
    runtime::{Clock, Timer, Transport},
    sync::Mutex,
};

/// The real task of a connection, over a transport that the model controls.
pub(super) struct Task {
    driver: Box<Driver>,
    member: Arc<Member>,
    pub(super) wire: Wire,
    /// How many `Drain` events it received.
    pub(super) drains: usize,
    closed: bool,
}

impl Task {
    pub(super) fn new(options: &Options) -> Self {
        let registration = registered(&Arc::default(), options);
        let wire = Wire::default();
        let timer = Timer::own(Clock::new(Standstill::new()));
        let member = Arc::clone(registration.member());
        let transport = Box::new(wire.clone());
        let driver = Driver::new(transport, Input::default(), registration, None, timer);
        Self { driver: Box::new(driver), member, wire, drains: 0, closed: false }
    }

    pub(super) fn link(&self) -> &Link {
        self.member.link()
    }

    pub(super) fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Runs until `done` holds or the connection is over.
    pub(super) fn until(
        &mut self,
        done: impl Fn(&Self) -> bool + Send,
    ) -> impl Future<Output = ()> + Send {
        let member = Arc::clone(&self.member);
        let going = poll_fn(move |cx| {
            loop {
                if self.closed || done(self) {
                    return Poll::Ready(());
                }
                match self.driver.poll_next(cx) {
                    Poll::Pending if done(self) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Event::Drain) => self.drains += 1,
                    Poll::Ready(Event::Error(_)) => {}
                    Poll::Ready(Event::Close(_)) => self.closed = true,
                    Poll::Ready(other) => panic!("the peer sends nothing: {other:?}"),
                }
            }
        });
        Running::new(member, Span::none(), going)
    }

    /// Runs until the connection is over.
    pub(super) fn to_the_end(&mut self) -> impl Future<Output = ()> + Send {
        self.until(|_| false)
    }

    pub(super) fn has_nothing_left(&self) {
        assert_eq!(self.link().buffered_amount(), 0);
        assert!(!self.link().flags().is_congested());
    }
}

/// A transport in memory. Its peer ends its direction once the bytes it received end with a
/// close frame.
#[derive(Clone)]
pub(crate) struct Wire(Arc<Mutex<Peer>>);

struct Peer {
    sent: Vec<u8>,
    received: Vec<u8>,
    /// How many more bytes it accepts.
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

    /// Lets the peer accept `room` more bytes.
    pub(super) fn accept(&self, room: usize) {
        let mut peer = self.0.lock().unwrap();
        peer.room = room;
        let writer = peer.writer.take();
        drop(peer);
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// Lets the peer send these bytes, and then end its direction, before the connection runs.
    pub(crate) fn send_and_end(&self, bytes: &[u8]) {
        let mut peer = self.0.lock().unwrap();
        peer.sent.extend_from_slice(bytes);
        peer.ended = true;
    }

    /// Keeps the peer from answering the close frame.
    pub(super) fn never_ends(&self) {
        self.0.lock().unwrap().never_ends = true;
    }
}

impl Transport for Wire {
    fn poll_read(&mut self, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut peer = self.0.lock().unwrap();
        if !peer.sent.is_empty() {
            let n = into.len().min(peer.sent.len());
            into[..n].copy_from_slice(&peer.sent[..n]);
            peer.sent.drain(..n);
            return Poll::Ready(Ok(n));
        }
        // The task reads again after each write, so there is no waker to keep.
        let closed = peer.received.ends_with(&[0x88, 2, 3, 0xe8]) && !peer.never_ends;
        if peer.ended || closed { Poll::Ready(Ok(0)) } else { Poll::Pending }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
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

    fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match slices.iter().find(|slice| !slice.is_empty()) {
            Some(slice) => self.poll_write(cx, slice),
            None => Poll::Ready(Ok(0)),
        }
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
