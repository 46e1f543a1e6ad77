use futures::StreamExt;
use http_body_util::Empty;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use yawc::{Frame, OpCode, Options, WebSocket, WebSocketError};

use super::{Job, batch, runtimes::serve_on_tokio};
use crate::Result;

/// Above the default limits of 1 MiB, which the echo of 1 MiB reaches. Text is checked, as
/// all the others do.
fn options(job: Job) -> Options {
    let options = Options::default().with_limits(2 << 20, 4 << 20).with_utf8();
    match job {
        Job::Deflate => options
            .with_balanced_compression()
            .server_no_context_takeover()
            .client_no_context_takeover(),
        _ => options,
    }
}

pub(super) fn serve(job: Job) -> Result<()> {
    serve_on_tokio(move |stream| async move {
        let service = service_fn(move |request| answer(request, job));
        let http = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let _ = http.with_upgrades().await;
    })
}

async fn answer(
    request: Request<Incoming>,
    job: Job,
) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, upgraded) = WebSocket::upgrade_with_options(request, options(job))?;
    tokio::spawn(async move {
        if let Ok(socket) = upgraded.await {
            let is_data = |frame: &Frame| matches!(frame.opcode(), OpCode::Text | OpCode::Binary);
            batch::echo(socket.map(Ok::<_, WebSocketError>), is_data).await;
        }
    });
    Ok(response)
}
