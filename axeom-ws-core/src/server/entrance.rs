//! Where a server accepts connections: a listener, and the acceptors behind it.

use std::{future::poll_fn, io, pin::pin, sync::Arc, task::Poll, time::Duration};

use futures::future::{BoxFuture, Either, join_all, select};

use super::{open::ServeTransport, tasks::Tasks};
use crate::{
    app::Service,
    contained::Contained,
    runtime::{AnyAcceptor, Clock, Incoming, Listener, LocalAddr, Peer, Runtime, within},
};

/// The acceptors of a listener, in the order in which they run.
#[derive(Clone, Default)]
pub(super) struct Acceptors(Option<Arc<[Arc<dyn AnyAcceptor>]>>);

impl Acceptors {
    fn new(acceptors: Vec<Arc<dyn AnyAcceptor>>) -> Self {
        Self((!acceptors.is_empty()).then(|| acceptors.into()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<dyn AnyAcceptor>> {
        self.0.iter().flat_map(|acceptors| acceptors.iter())
    }

    /// Whether a connection of this peer is one for a client that is not known yet.
    pub(super) fn is_proxy(&self, peer: Peer) -> bool {
        self.iter().any(|acceptor| acceptor.is_for_proxy(peer))
    }

    /// Has all acceptors prepare a connection within `limit`. `None` if it is to be cut.
    pub(super) async fn accept(
        &self,
        service: &Service,
        clock: &Clock,
        limit: Duration,
        mut incoming: Incoming,
    ) -> Option<Incoming> {
        let mut peer = incoming.peer();
        let accepted = {
            let accepting = pin!(within(clock, limit, async {
                for acceptor in self.iter() {
                    incoming = acceptor.accept_boxed(incoming).await?;
                    peer = incoming.peer();
                }
                Ok::<_, io::Error>(incoming)
            }));
            let stopping = pin!(service.connections().stopping());
            match select(accepting, stopping).await {
                Either::Left((accepted, _)) => accepted,
                Either::Right(_) => return None,
            }
        };
        match accepted {
            Some(Ok(incoming)) => return Some(incoming),
            Some(Err(error)) => {
                tracing::debug!(%peer, error = &error as &dyn std::error::Error, "not accepted");
            }
            None => tracing::debug!(%peer, "not accepted within the handshake timeout"),
        }
        None
    }
}

/// A listener with its acceptors.
pub(super) struct Entrance<R> {
    listener: Box<dyn AnyListener<R>>,
    local_addr: LocalAddr,
    acceptors: Vec<Arc<dyn AnyAcceptor>>,
}

impl<R: Runtime> Entrance<R> {
    pub(super) fn new(listener: impl Listener) -> io::Result<Self> {
        let local_addr = listener.local_addr()?;
        let listener = Box::new(Contained::new(listener));
        Ok(Self { listener, local_addr, acceptors: Vec::new() })
    }

    pub(super) fn local_addr(&self) -> &LocalAddr {
        &self.local_addr
    }

    pub(super) fn push(&mut self, acceptor: Arc<dyn AnyAcceptor>) {
        self.acceptors.push(acceptor);
    }
}

/// Accepts connections at all entrances, for as long as it is polled. Then their listeners are
/// closed.
pub(super) async fn accept_at<R: Runtime>(
    entrances: impl Iterator<Item = Entrance<R>>,
    runtime: &R,
    service: &Service,
    tasks: &Arc<Tasks>,
) {
    let accepting = entrances.map(|Entrance { listener, acceptors, .. }| {
        let acceptors = Acceptors::new(acceptors);
        listener.accept_all(runtime.clone(), service.clone(), acceptors, Arc::clone(tasks))
    });
    join_all(accepting).await;
}

/// A [`Listener`] with its type erased, which costs nothing for each connection: behind the
/// indirect call is the whole accept loop.
trait AnyListener<R>: Send {
    fn accept_all(
        self: Box<Self>,
        runtime: R,
        service: Service,
        acceptors: Acceptors,
        tasks: Arc<Tasks>,
    ) -> BoxFuture<'static, ()>;
}

impl<R: Runtime, L: Listener> AnyListener<R> for Contained<L> {
    fn accept_all(
        self: Box<Self>,
        runtime: R,
        service: Service,
        acceptors: Acceptors,
        tasks: Arc<Tasks>,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move { accept(&**self, &runtime, &service, &acceptors, &tasks).await })
    }
}

async fn accept<R: Runtime>(
    listener: &impl Listener,
    runtime: &R,
    service: &Service,
    acceptors: &Acceptors,
    tasks: &Arc<Tasks>,
) {
    let mut accepted = 0u32;
    loop {
        accepted = accepted.wrapping_add(1);
        // A flood of new connections must not starve those that were accepted.
        if accepted % ACCEPTS_IN_A_ROW == 0 {
            yield_now(runtime).await;
        }
        match listener.accept().await {
            Ok(incoming) => {
                let serving = ServeTransport::in_server(service, incoming, acceptors, tasks);
                if let Some(serving) = serving {
                    runtime.spawn(serving);
                }
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept a connection");
                runtime.sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// How many connections to accept before yielding to the other tasks of the thread.
const ACCEPTS_IN_A_ROW: u32 = 32;

/// How long to wait after a failed accept: file descriptors may be available again by then.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Lets the other tasks of the thread run.
async fn yield_now(runtime: &impl Runtime) {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        runtime.yield_now(cx);
        Poll::Pending
    })
    .await;
}

/// Whether an accept error concerns only that connection, and not the listener.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
