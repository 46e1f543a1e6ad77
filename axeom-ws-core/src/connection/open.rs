use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    panic::{self, AssertUnwindSafe},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{Abortable, BoxFuture, Either, select},
    io::AsyncWriteExt,
};
use http::{Method, Response};

use super::{alarm::Alarm, input::Input, timer::Timer};
use crate::{
    Service,
    handshake::{Head, HeadReader, Refusal, encode, encode_with},
    runtime::{BoxStream, Clock},
    tasks::{Member, Tasks},
    telemetry,
};

/// How long, and how many bytes, a refused client may go on sending while it reads the
/// answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;

/// Serves one connection from its first byte to its last.
///
/// Its two parts are boxes one after the other, so that the connection does not carry
/// the room of the handshake around.
pub(crate) enum ServeStream {
    Opening(BoxFuture<'static, Option<BoxFuture<'static, ()>>>),
    Running(BoxFuture<'static, ()>),
}

impl Future for ServeStream {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Handlers' own panics are caught closer to them. Where another would end up differs
        // from runtime to runtime.
        let polled = panic::catch_unwind(AssertUnwindSafe(|| self.poll_stage(cx)));
        polled.unwrap_or_else(|_| {
            tracing::error!("a connection's task panicked");
            Poll::Ready(())
        })
    }
}

impl ServeStream {
    pub(crate) fn new(
        service: Service,
        clock: Arc<dyn Clock>,
        stream: BoxStream,
        remote_addr: SocketAddr,
    ) -> Self {
        Self::Opening(Box::pin(open(service, clock, stream, remote_addr, None)))
    }

    /// The same, as a member of a server, with which it ends.
    pub(crate) fn in_server(
        service: Service,
        stream: BoxStream,
        remote_addr: SocketAddr,
        tasks: &Arc<Tasks>,
    ) -> Self {
        let (member, abort) = tasks.enter();
        let clock = Arc::clone(tasks.clock());
        let opening = open(service, clock, stream, remote_addr, Some(member));
        Self::Opening(Box::pin(Abortable::new(opening, abort).map(|opened| opened.ok().flatten())))
    }

    fn poll_stage(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Opening(opening) = self {
            match ready!(opening.as_mut().poll(cx)) {
                Some(running) => *self = Self::Running(running),
                None => return Poll::Ready(()),
            }
        }
        match self {
            Self::Running(running) => running.as_mut().poll(cx),
            Self::Opening(_) => Poll::Pending,
        }
    }
}

/// Reads the request, and answers it; the connection to run, if it was accepted.
async fn open(
    service: Service,
    clock: Arc<dyn Clock>,
    mut stream: BoxStream,
    remote_addr: SocketAddr,
    member: Option<Member>,
) -> Option<BoxFuture<'static, ()>> {
    let mut timer = Timer::new(Arc::clone(&clock));
    timer.set(service.handshake_timeout());
    let mut input = Input::default();
    let head = {
        let read = pin!(timer.limit(read_head(&service, &mut stream, &mut input)));
        let stopping = pin!(service.hub().stopping());
        match select(read, stopping).await {
            Either::Left((Some(head), _)) => head?,
            Either::Left((None, _)) => Err(Refusal::TimedOut),
            Either::Right(_) => Err(Refusal::ShuttingDown),
        }
    };
    let (accepted, without_body) = match head {
        Ok(Head { request, size }) => {
            input.consume(size);
            input.park();
            let without_body = *request.method() == Method::HEAD;
            (service.handshake(request, remote_addr).await, without_body)
        }
        Err(refusal) => {
            telemetry::handshake(refusal.status());
            tracing::debug!(%remote_addr, %refusal, "handshake refused");
            (Err(refusal.into_response()), false)
        }
    };
    timer.set(service.handshake_timeout());
    match accepted {
        Ok(accepted) => {
            let response = encode_with(accepted.response(), &[]);
            timer.limit(send(&mut stream, &response)).await?.ok()?;
            let alarm = member.map_or_else(|| Alarm::own(clock), Alarm::Server);
            Some(accepted.start(alarm, stream, input))
        }
        Err(response) => {
            // Nobody will parse the rest, and the thread's buffer may still be in there.
            drop(input);
            refuse(&mut stream, &mut timer, response, without_body).await;
            None
        }
    }
}

/// The request head; `None` if the client left before it was complete.
async fn read_head(
    service: &Service,
    stream: &mut BoxStream,
    input: &mut Input,
) -> Option<Result<Head, Refusal>> {
    let mut reader = HeadReader::new(service.head_limits());
    loop {
        if poll_fn(|cx| input.poll_fill(cx, stream)).await.ok()? == 0 {
            return None;
        }
        match reader.read(input.bytes()) {
            Ok(None) => {}
            Ok(Some(head)) => return Some(Ok(head)),
            Err(refusal) => return Some(Err(refusal)),
        }
    }
}

async fn refuse(
    stream: &mut BoxStream,
    timer: &mut Timer,
    response: Response<Bytes>,
    without_body: bool,
) {
    let mut bytes = encode(&response);
    if without_body {
        bytes.truncate(bytes.len() - response.body().len());
    }
    let sent = timer
        .limit(async {
            send(stream, &bytes).await?;
            stream.close().await
        })
        .await;
    if let Some(Ok(())) = sent {
        // Closing with unread input would reset the connection, and the client might
        // never see the answer.
        timer.set(LINGER);
        timer.limit(discard(stream)).await;
    }
}

async fn send(stream: &mut BoxStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

async fn discard(stream: &mut BoxStream) {
    let mut input = Input::default();
    let mut left = LINGER_BYTES;
    while let Ok(n @ 1..) = poll_fn(|cx| input.poll_fill(cx, stream)).await {
        input.consume(n);
        left = left.saturating_sub(n);
        if left == 0 {
            return;
        }
    }
}
