//! Opens a connection: reads its request head and answers it.

use std::{
    future::{Future, pending, poll_fn},
    io, mem,
    net::IpAddr,
    panic::{self, AssertUnwindSafe},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{Abortable, BoxFuture, Either, select},
};
use http::{Method, Request, header};

use super::{
    entrance::Acceptors,
    respond::{Held, respond},
    tasks::{OpeningTask, Tasks},
};
use crate::{
    app::{Accepted, Answer, Service},
    connection::Input,
    contained::{caught, contain},
    handshake::{Head, HeadReader, Refusal, encode_head},
    hub::{LastWord, Place},
    runtime::{
        BoxTransport, Clock, Incoming, Peer, Runtime, Timer, Transport, uninterrupted, within,
    },
    telemetry,
};

/// The most bytes that are read for the time after the handshake while it is being decided.
const EARLY_BYTES: usize = 16 * 1024;

/// Serves a connection from its first byte to its last. No panic leaves it, for what one would do
/// depends on the runtime.
pub(super) struct ServeTransport(Stage);

/// The two stages are separate boxes, so that a running connection does not hold the memory of its
/// handshake.
enum Stage {
    Opening(BoxFuture<'static, Option<BoxFuture<'static, ()>>>),
    /// The future catches its own panics.
    Running(BoxFuture<'static, ()>),
    Over,
}

impl Future for ServeTransport {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Stage::Opening(opening) = &mut self.0 {
            let polled = panic::catch_unwind(AssertUnwindSafe(|| opening.as_mut().poll(cx)));
            match polled {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(opened)) => self.enter(opened.map_or(Stage::Over, Stage::Running)),
                Err(panic) => {
                    let panic = caught(panic);
                    tracing::error!(panic, "the opening of a connection panicked");
                    self.enter(Stage::Over);
                }
            }
        }
        match &mut self.0 {
            Stage::Running(running) => running.as_mut().poll(cx),
            Stage::Opening(_) | Stage::Over => Poll::Ready(()),
        }
    }
}

impl Drop for ServeTransport {
    fn drop(&mut self) {
        self.enter(Stage::Over);
    }
}

impl ServeTransport {
    /// Serves a connection without a server.
    fn alone(service: Service, clock: Clock, incoming: Incoming) -> Self {
        let peer = incoming.peer();
        let ip = peer.ip().filter(|_| !service.trusts(peer));
        let Some(admission) = admit(&service, peer, ip) else {
            contain(|| drop(incoming));
            return Self(Stage::Over);
        };
        let acceptors = Acceptors::default();
        Self(Stage::Opening(Box::pin(open(service, clock, incoming, admission, acceptors, None))))
    }

    /// Serves a connection of a server. It ends when the server does. `None` if it was closed at
    /// once.
    pub(super) fn in_server(
        service: &Service,
        incoming: Incoming,
        acceptors: &Acceptors,
        tasks: &Arc<Tasks>,
    ) -> Option<Self> {
        let peer = incoming.peer();
        let ip = peer.ip().filter(|_| !acceptors.is_proxy(peer) && !service.trusts(peer));
        let admission = admit(service, peer, ip)?;
        let (task, abort) = tasks.enter();
        let clock = task.timers().clock().clone();
        let (service, acceptors) = (service.clone(), acceptors.clone());
        let opening = open(service, clock, incoming, admission, acceptors, Some(task));
        let opening = Abortable::new(opening, abort).map(|opened| opened.ok().flatten());
        Some(Self(Stage::Opening(Box::pin(opening))))
    }

    /// Runs a connection that another HTTP server has accepted, once it has the transport. It ends
    /// when `tasks` do.
    pub(super) fn upgraded<T>(
        accepted: Accepted,
        transport: T,
        limit: Duration,
        tasks: &Arc<Tasks>,
    ) -> Self
    where
        T: Future<Output = Option<(BoxTransport, Bytes)>> + Send + 'static,
    {
        let (task, abort) = tasks.enter();
        let opening = async move {
            let transport = within(task.timers().clock(), limit, transport).await;
            let (transport, read_ahead) = transport.flatten()?;
            let timer = task.opened(accepted.member());
            Some(accepted.start(timer, transport, Input::new(&read_ahead)))
        };
        let opening = Abortable::new(opening, abort).map(|opened| opened.ok().flatten());
        Self(Stage::Opening(Box::pin(opening)))
    }

    fn enter(&mut self, stage: Stage) {
        let before = mem::replace(&mut self.0, stage);
        contain(|| drop(before));
    }
}

impl Service {
    /// Serves one connection until it ends, starting with its handshake request. Nothing must have
    /// been read from `transport` before.
    ///
    /// Dropping the future cuts the connection, and its `close` handler does not run.
    pub fn serve_transport<R: Runtime>(
        &self,
        runtime: R,
        transport: impl Transport,
        peer: impl Into<Peer>,
    ) -> impl Future<Output = ()> + Send + 'static {
        self.serve_incoming(runtime, Incoming::new(transport, peer))
    }

    /// Does what [`serve_transport`](Self::serve_transport) does, for a connection that an
    /// [`Acceptor`](crate::Acceptor) has prepared.
    ///
    /// ```no_run
    /// # use axeom_ws_core as axeom_ws;
    /// use std::io;
    ///
    /// use axeom_ws::{Acceptor, Incoming, Runtime, Service, Transport};
    ///
    /// # async fn example<R: Runtime + Default>(
    /// #     service: Service,
    /// #     acceptor: impl Acceptor,
    /// #     transport: impl Transport,
    /// #     peer: std::net::SocketAddr,
    /// # ) -> io::Result<()> {
    /// let incoming = acceptor.accept(Incoming::new(transport, peer)).await?;
    /// service.serve_incoming(R::default(), incoming).await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn serve_incoming<R: Runtime>(
        &self,
        runtime: R,
        incoming: Incoming,
    ) -> impl Future<Output = ()> + Send + use<R> {
        ServeTransport::alone(self.clone(), Clock::new(runtime), incoming)
    }
}

/// What a connection has once it is accepted: a place, or the right to be told that there is none.
type Admission = Result<Place, (Refusal, LastWord)>;

/// `None` for a connection to close at once, because too many others are being told. It has no task
/// that would have to run first, or a crowd would hold a descriptor each until then.
fn admit(service: &Service, peer: Peer, ip: Option<IpAddr>) -> Option<Admission> {
    match service.enter(ip) {
        Ok(place) => Some(Ok(place)),
        Err(refusal) => turn_away(service, peer, refusal),
    }
}

/// Counts a connection under the address of the client that its acceptors have found.
fn admit_client(service: &Service, admission: Admission, client: Peer) -> Option<Admission> {
    let Ok(mut place) = admission else { return Some(admission) };
    let ip = client.ip().filter(|_| !service.trusts(client));
    match place.belongs_to(ip, service.capacity()) {
        Ok(()) => Some(Ok(place)),
        Err(refusal) => turn_away(service, client, refusal),
    }
}

fn turn_away(service: &Service, peer: Peer, refusal: Refusal) -> Option<Admission> {
    note_refusal(&refusal, peer);
    LastWord::take(service.connections()).map(|last_word| Err((refusal, last_word)))
}

/// Reads the request and answers it. Returns the connection to run if it was accepted.
async fn open(
    service: Service,
    clock: Clock,
    mut incoming: Incoming,
    mut admission: Admission,
    acceptors: Acceptors,
    task: Option<OpeningTask>,
) -> Option<BoxFuture<'static, ()>> {
    let limit = service.handshake_timeout();
    let mut left = limit;
    if !acceptors.is_empty() {
        let start = clock.now();
        incoming = Box::pin(acceptors.accept(&service, &clock, limit, incoming)).await?;
        left = limit.saturating_sub(clock.now().saturating_duration_since(start));
        admission = admit_client(&service, admission, incoming.peer())?;
    }
    let peer = incoming.peer;
    let transport = &mut incoming.stream.0;
    let mut place = match admission {
        Ok(place) => Some(place),
        Err((refusal, last_word)) => {
            let (response, held) = (service.refuse(refusal), Held::LastWord(last_word));
            Box::pin(respond(&service, transport, &clock, held, response, false)).await;
            return None;
        }
    };
    let mut input = Input::default();
    // This block drops the head reader before the answer is awaited.
    let asked = {
        let reading = read_head(&service, transport, &mut input);
        let reading = pin!(within(&clock, left, reading));
        let stopping = pin!(service.connections().stopping());
        match select(reading, stopping).await {
            Either::Left((Some(head), _)) => head?,
            Either::Left((None, _)) => Err(Refusal::TimedOut),
            Either::Right(_) => Err(Refusal::ShuttingDown),
        }
    };
    let (answer, without_body) = match asked {
        Ok(Head { mut request, size, .. }) => {
            *request.extensions_mut() = mem::take(&mut incoming.extensions);
            let without_body = *request.method() == Method::HEAD;
            let is_upgrade = request.headers().contains_key(header::UPGRADE);
            let answering =
                pin!(service.respond_in(request, peer, incoming.scheme.as_ref(), &mut place));
            input.consume(size);
            input.park();
            let answering = pin!(within(&clock, limit, answering));
            let leaving = pin!(has_left(transport, &mut input, is_upgrade));
            match select(answering, leaving).await {
                Either::Left((Some(answer), _)) => (answer, without_body),
                Either::Left((None, _)) => {
                    (refused(&service, Refusal::Undecided, peer), without_body)
                }
                Either::Right(_) => return None,
            }
        }
        Err(refusal) => (refused(&service, refusal, peer), false),
    };
    match answer {
        Answer::Upgrade(accepted) => {
            let response = encode_head(accepted.response(), 0);
            within(&clock, limit, send(transport, &response)).await?.ok()?;
            let member = accepted.member();
            let timer = match task {
                Some(task) => task.opened(member),
                None => Timer::own(clock),
            };
            Some(accepted.start(timer, incoming.stream.0, input))
        }
        Answer::Response(response) => {
            // The rest is not parsed, and `input` may still hold the thread's shared buffer.
            drop(input);
            let held = Held::Place(place);
            let sending = respond(&service, transport, &clock, held, response, without_body);
            Box::pin(sending).await;
            None
        }
    }
}

/// Answers a request that another HTTP server has parsed, within the handshake timeout.
pub(super) async fn respond_in_time(
    service: &Service,
    clock: &Clock,
    request: Request<()>,
    peer: Peer,
) -> Answer {
    let answering = service.respond(request, peer);
    match within(clock, service.handshake_timeout(), answering).await {
        Some(answer) => answer,
        None => refused(service, Refusal::Undecided, peer),
    }
}

fn refused(service: &Service, refusal: Refusal, peer: Peer) -> Answer {
    note_refusal(&refusal, peer);
    Answer::Response(service.refuse(refusal))
}

fn note_refusal(refusal: &Refusal, peer: Peer) {
    telemetry::handshake(refusal.status());
    tracing::debug!(%peer, %refusal, "handshake refused");
}

/// Waits until the client leaves while its request is being answered. What it sends meanwhile is
/// kept for the connection. A client that asks for a response, and not for an upgrade, may have
/// ended its sending direction.
async fn has_left(transport: &mut BoxTransport, input: &mut Input, is_upgrade: bool) {
    while input.bytes().len() < EARLY_BYTES {
        match poll_fn(|cx| uninterrupted(|| input.poll_fill(cx, transport))).await {
            Ok(0) if !is_upgrade => break,
            Ok(1..) => input.park(),
            Ok(0) | Err(_) => return,
        }
    }
    pending().await
}

/// Reads the request head. `None` if the connection ended before the head was complete.
async fn read_head(
    service: &Service,
    transport: &mut BoxTransport,
    input: &mut Input,
) -> Option<Result<Head, Refusal>> {
    let mut reader = HeadReader::new(service.head_limits());
    loop {
        if poll_fn(|cx| uninterrupted(|| input.poll_fill(cx, transport))).await.ok()? == 0 {
            return None;
        }
        match reader.read(input.bytes()) {
            Ok(None) => {}
            Ok(Some(head)) => return Some(Ok(head)),
            Err(refusal) => return Some(Err(refusal)),
        }
    }
}

/// Sends a head, which the kernel has room for unless the client reads nothing.
async fn send(transport: &mut BoxTransport, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match poll_fn(|cx| uninterrupted(|| transport.poll_write(cx, bytes))).await {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(error) => return Err(error),
        }
    }
    poll_fn(|cx| uninterrupted(|| transport.poll_flush(cx))).await
}
