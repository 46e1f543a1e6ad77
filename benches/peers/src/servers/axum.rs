use axum::{
    Router,
    extract::{
        Path, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
    routing::get,
    serve::ListenerExt,
};
use tokio::sync::broadcast;

use super::{
    Job, batch, room,
    runtimes::{tokio_listener, tokio_thread},
};
use crate::Result;

#[derive(Clone)]
struct Shared {
    job: Job,
    room: broadcast::Sender<Message>,
}

pub(super) fn serve(job: Job) -> Result<()> {
    tokio_thread()?.block_on(async {
        let router = Router::new()
            .route("/", get(upgrade_unnamed))
            .route("/{name}", get(upgrade))
            .with_state(Shared { job, room: room::new() });
        let listener = tokio_listener().await?.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        Ok(axum::serve(listener, router).await?)
    })
}

async fn upgrade_unnamed(state: State<Shared>, upgrade: WebSocketUpgrade) -> Response {
    self::upgrade(state, Path(String::new()), upgrade).await
}

async fn upgrade(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.on_upgrade(move |socket| run(socket, shared, name))
}

async fn run(socket: WebSocket, Shared { job, room }: Shared, name: String) {
    if job == Job::Echo {
        return batch::echo(socket, is_data).await;
    }
    let said = |message| match message {
        Message::Text(text) if job == Job::Chat => {
            Some(Message::Text(format!("{name}: {text}").into()))
        }
        message => is_data(&message).then_some(message),
    };
    room::join(socket, room, said).await;
}

fn is_data(message: &Message) -> bool {
    matches!(message, Message::Text(_) | Message::Binary(_))
}
