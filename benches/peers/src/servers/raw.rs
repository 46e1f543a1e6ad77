//! Byte echoes: what a runtime itself costs.

use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::runtimes::{serve_on_async_std, serve_on_smol, serve_on_tokio};
use crate::Result;

const BUFFER: usize = 64 * 1024;

pub(super) fn on_tokio() -> Result<()> {
    serve_on_tokio(|mut stream| async move {
        let mut buffer = vec![0; BUFFER];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            if stream.write_all(&buffer[..n]).await.is_err() {
                break;
            }
        }
    })
}

pub(super) fn on_smol() -> Result<()> {
    serve_on_smol(echo)
}

pub(super) fn on_async_std() -> Result<()> {
    serve_on_async_std(echo)
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..n]).await.is_err() {
            break;
        }
    }
}
