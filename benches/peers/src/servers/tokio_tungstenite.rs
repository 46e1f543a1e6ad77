use tokio_tungstenite::{
    accept_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

use super::{batch, runtimes::serve_on_tokio};
use crate::Result;

/// Tuned is a read buffer of 8 KiB, not 128 KiB.
pub(super) fn serve(tuned: bool) -> Result<()> {
    serve_on_tokio(move |stream| async move {
        let config = tuned.then(|| WebSocketConfig::default().read_buffer_size(8 * 1024));
        if let Ok(socket) = accept_async_with_config(stream, config).await {
            batch::echo(socket, |message: &Message| message.is_text() || message.is_binary()).await;
        }
    })
}
