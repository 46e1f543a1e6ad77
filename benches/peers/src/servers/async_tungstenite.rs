use async_tungstenite::{
    accept_async_with_config, tokio as on,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        protocol::WebSocketConfig,
    },
};

use super::{
    Job, batch, room,
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

pub(super) fn on_tokio(job: Job, tuned: bool) -> Result<()> {
    if job != Job::Echo {
        return room(job);
    }
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

fn room(job: Job) -> Result<()> {
    let room = room::new();
    serve_on_tokio(move |stream| {
        let room = room.clone();
        async move {
            let mut name = String::new();
            #[allow(clippy::result_large_err, reason = "the library's own type")]
            let callback = |request: &Request, response: Response| {
                name = request.uri().path()[1..].to_owned();
                Ok(response)
            };
            if let Ok(socket) = on::accept_hdr_async(stream, callback).await {
                room::join(socket, room, |message| said(job, &name, message)).await;
            }
        }
    })
}

fn said(job: Job, name: &str, message: Message) -> Option<Message> {
    match message {
        Message::Text(text) if job == Job::Chat => Some(format!("{name}: {text}").into()),
        message => is_data(&message).then_some(message),
    }
}
