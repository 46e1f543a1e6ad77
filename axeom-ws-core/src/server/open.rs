//! Opens a connection: reads its request head and answers it.

use std::{
    future::{Future, poll_fn},
    io, mem,
    panic::{self, AssertUnwindSafe},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{Abortable, BoxFuture, Either, select},
};
use http::{HeaderMap, HeaderValue, Method, Response, header};

use super::tasks::{OpeningTask, Tasks};
use crate::{
    app::{Answer, Service},
    connection::Input,
    contained::{caught, contain},
    handshake::{Head, HeadReader, Refusal, encode, encode_head},
    runtime::{BoxTransport, Clock, Peer, Runtime, Timer, Transport, uninterrupted, within},
    telemetry,
};

/// How long a refused client may keep sending, and how many bytes, before its connection is
/// closed.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;

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
    fn alone(service: Service, clock: Clock, transport: BoxTransport, peer: Peer) -> Self {
        Self(Stage::Opening(Box::pin(open(service, clock, transport, peer, None))))
    }

    /// Serves a connection of a server. It ends when the server does.
    pub(super) fn in_server(
        service: Service,
        transport: BoxTransport,
        peer: Peer,
        tasks: &Arc<Tasks>,
    ) -> Self {
        let (task, abort) = tasks.enter();
        let clock = task.timers().clock().clone();
        let opening = open(service, clock, transport, peer, Some(task));
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
        let clock = Clock::new(runtime);
        ServeTransport::alone(self.clone(), clock, Box::new(transport), peer.into())
    }
}

/// Reads the request and answers it. Returns the connection to run if it was accepted.
async fn open(
    service: Service,
    clock: Clock,
    mut transport: BoxTransport,
    peer: Peer,
    task: Option<OpeningTask>,
) -> Option<BoxFuture<'static, ()>> {
    let limit = service.handshake_timeout();
    let mut input = Input::default();
    // This block drops the head reader before the answer is awaited.
    let asked = {
        let reading = read_head(&service, &mut transport, &mut input);
        let reading = pin!(within(&clock, limit, reading));
        let stopping = pin!(service.connections().stopping());
        let head = match select(reading, stopping).await {
            Either::Left((Some(head), _)) => head?,
            Either::Left((None, _)) => Err(Refusal::TimedOut),
            Either::Right(_) => Err(Refusal::ShuttingDown),
        };
        head.map(|Head { request, size, .. }| {
            let without_body = *request.method() == Method::HEAD;
            (service.respond(request, peer), size, without_body)
        })
    };
    let (answer, without_body) = match asked {
        Ok((answering, size, without_body)) => {
            input.consume(size);
            input.park();
            (answering.await, without_body)
        }
        Err(refusal) => {
            telemetry::handshake(refusal.status());
            tracing::debug!(%peer, %refusal, "handshake refused");
            (Answer::Response(refusal.into_response()), false)
        }
    };
    match answer {
        Answer::Upgrade(accepted) => {
            let response = encode_head(accepted.response(), 0);
            within(&clock, limit, send(&mut transport, &response)).await?.ok()?;
            let member = accepted.member();
            let timer = match task {
                Some(task) => task.opened(member),
                None => Timer::own(clock),
            };
            Some(accepted.start(timer, transport, input))
        }
        Answer::Response(mut response) => {
            set_date(response.headers_mut());
            // The rest is not parsed, and `input` may still hold the thread's shared buffer.
            drop(input);
            Box::pin(refuse(&mut transport, &clock, limit, response, without_body)).await;
            None
        }
    }
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

/// Says when a response was made, if it does not say so itself (RFC 9110 §6.6.1).
fn set_date(headers: &mut HeaderMap) {
    let date = || httpdate::fmt_http_date(SystemTime::now());
    if !headers.contains_key(header::DATE) {
        headers.extend(HeaderValue::try_from(date()).ok().map(|date| (header::DATE, date)));
    }
}

async fn refuse(
    transport: &mut BoxTransport,
    clock: &Clock,
    limit: Duration,
    response: Response<Bytes>,
    without_body: bool,
) {
    let bytes = match without_body {
        true => encode_head(&response, response.body().len()),
        false => encode(&response),
    };
    let sending = async {
        send(transport, &bytes).await?;
        poll_fn(|cx| uninterrupted(|| transport.poll_close(cx))).await
    };
    if let Some(Ok(())) = within(clock, limit, sending).await {
        // Closing a socket with unread input resets the connection, and the client might never
        // see the answer.
        within(clock, LINGER, discard(transport)).await;
    }
}

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

async fn discard(transport: &mut BoxTransport) {
    let mut input = Input::default();
    let mut left = LINGER_BYTES;
    while let Ok(n @ 1..) = poll_fn(|cx| uninterrupted(|| input.poll_fill(cx, transport))).await {
        input.consume(n);
        left = left.saturating_sub(n);
        if left == 0 {
            return;
        }
    }
}
