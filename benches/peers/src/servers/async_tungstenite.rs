use async_tungstenite::{
    accept_async_with_config, tokio as on, tungstenite::Message,
    tungstenite::protocol::WebSocketConfig,
};

use super::{
    batch,
    runtimes::{serve_on_async_std, serve_on_smol, serve_on_tokio},
};
use crate::Result;

/// Tuned is a read buffer of 8 KiB, not 128 KiB.
fn config(tuned: bool) -> Option<WebSocketConfig> {
    tuned.then(|| WebSocketConfig::default().read_buffer_size(8 * 1024))
}

fn is_data(message: &Message) -> bool {
    message.is_text() || message.is_binary()
}

pub(super) fn on_tokio(tuned: bool) -> Result<()> {
    serve_on_tokio(move |stream| async move {
        if let Ok(socket) = on::accept_async_with_config(stream, config(tuned)).await {
            batch::echo(socket, is_data).await;
        }
    })
}

pub(super) fn on_smol(tuned: bool) -> Result<()> {
    serve_on_smol(move |stream| async move {
        if let Ok(socket) = accept_async_with_config(stream, config(tuned)).await {
            batch::echo(socket, is_data).await;
        }
    })
}

pub(super) fn on_async_std(tuned: bool) -> Result<()> {
    serve_on_async_std(move |stream| async move {
        if let Ok(socket) = accept_async_with_config(stream, config(tuned)).await {
            batch::echo(socket, is_data).await;
        }
    })
}
