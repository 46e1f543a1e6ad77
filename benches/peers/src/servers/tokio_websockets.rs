use futures::{SinkExt, StreamExt};
use tokio_websockets::ServerBuilder;

use super::{cork::Cork, runtimes::serve_on_tokio};
use crate::Result;

pub(super) fn serve() -> Result<()> {
    serve_on_tokio(|stream| async move {
        let Ok((_, mut socket)) = ServerBuilder::new().accept(Cork::new(stream)).await else {
            return;
        };
        while let Some(Ok(message)) = socket.next().await {
            let is_data = message.is_text() || message.is_binary();
            if is_data && socket.feed(message).await.is_err() {
                return;
            }
        }
        let _ = socket.close().await;
    })
}
