use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket, WebSocketError, upgrade};
use http_body_util::Empty;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::{Job, cork::Cork, runtimes::serve_on_tokio};
use crate::Result;

pub(super) fn serve(_: Job) -> Result<()> {
    serve_on_tokio(|stream| async move {
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service_fn(answer))
            .with_upgrades()
            .await;
    })
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, upgraded) = upgrade::upgrade(&mut request)?;
    tokio::spawn(async move {
        let stream = upgraded.await?.into_inner();
        let mut socket = WebSocket::after_handshake(Cork::new(stream), Role::Server);
        socket.set_auto_close(true);
        socket.set_auto_pong(true);
        echo(FragmentCollector::new(socket)).await
    });
    Ok(response)
}

async fn echo<S>(mut socket: FragmentCollector<S>) -> Result<(), WebSocketError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
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
