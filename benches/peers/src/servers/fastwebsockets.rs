use std::sync::Arc;

use fastwebsockets::{
    FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload, Role, WebSocket,
    WebSocketError, WebSocketWrite, after_handshake_split, upgrade,
};
use http_body_util::Empty;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncWriteExt, BufWriter, WriteHalf},
    sync::broadcast,
};

use super::{Job, cork::Cork, room, runtimes::serve_on_tokio};
use crate::Result;

type Stream = TokioIo<Upgraded>;

/// A message in the room.
#[derive(Debug, Clone)]
struct Said {
    opcode: OpCode,
    payload: Arc<[u8]>,
}

pub(super) fn serve(job: Job) -> Result<()> {
    let room = room::new();
    serve_on_tokio(move |stream| {
        let room = room.clone();
        let service = service_fn(move |request| answer(request, job, room.clone()));
        async move {
            let http = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = http.with_upgrades().await;
        }
    })
}

async fn answer(
    mut request: Request<Incoming>,
    job: Job,
    room: broadcast::Sender<Said>,
) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, upgraded) = upgrade::upgrade(&mut request)?;
    let name = request.uri().path()[1..].to_owned();
    tokio::spawn(async move {
        let stream = upgraded.await?.into_inner();
        match job {
            Job::Echo => echo(stream).await,
            _ => join(stream, room, (job == Job::Chat).then_some(name)).await,
        }
    });
    Ok(response)
}

async fn echo(stream: Stream) -> Result<(), WebSocketError> {
    let socket = WebSocket::after_handshake(Cork::new(stream), Role::Server);
    let mut socket = FragmentCollector::new(socket);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => break,
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
    Ok(socket.into_inner().shutdown().await?)
}

/// Reading cannot be cancelled, so it is a task of its own.
async fn join(
    stream: Stream,
    room: broadcast::Sender<Said>,
    name: Option<String>,
) -> Result<(), WebSocketError> {
    let (read, write) = tokio::io::split(stream);
    let (read, write) = after_handshake_split(read, BufWriter::new(write), Role::Server);
    let mut read = FragmentCollectorRead::new(read);
    let writing = tokio::spawn(write_all(write, room.subscribe()));
    loop {
        let frame = read.read_frame(&mut async |_| Ok::<_, WebSocketError>(())).await?;
        let payload = match (frame.opcode, &name) {
            (OpCode::Close, _) => break,
            (OpCode::Text, Some(name)) => [name.as_bytes(), b": ", &frame.payload].concat().into(),
            _ => Arc::from(&*frame.payload),
        };
        let _ = room.send(Said { opcode: frame.opcode, payload });
    }
    writing.abort();
    Ok(())
}

/// Writes all that was said before it flushes.
async fn write_all(
    mut socket: WebSocketWrite<BufWriter<WriteHalf<Stream>>>,
    mut heard: broadcast::Receiver<Said>,
) -> Result<(), WebSocketError> {
    while let Ok(said) = heard.recv().await {
        let mut next = Some(said);
        while let Some(Said { opcode, payload }) = next {
            let payload = Payload::Borrowed(&payload);
            socket.write_frame(Frame::new(true, opcode, None, payload)).await?;
            next = heard.try_recv().ok();
        }
        socket.flush().await?;
    }
    Ok(())
}
