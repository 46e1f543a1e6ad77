//! A page, a REST route, sessions and a chat on one port of axum.
//!
//! ```text
//! cargo run --example axum --features axum      # then open http://127.0.0.1:3000 in two browsers
//! curl http://127.0.0.1:3000/online             # how many are in the chat
//! ```

#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axeom_ws::{App, BoxError, Options, Rejection, tokio::HttpService};
use axum::{
    Extension, Form, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use rand::distr::{Alphanumeric, SampleString};
use serde::Deserialize;

const ROOM: &str = "room";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let chat = App::new()
        .options(Options::new().max_message_size(16 * 1024))
        // The session middleware below has found the user by the time this runs.
        .derive(async |ctx| ctx.extension().cloned().ok_or(Rejection::forbidden("log in first")))
        .ws("/chat", |route| {
            route
                .open(async |ws| {
                    ws.subscribe(ROOM);
                })
                .message(async |ws, message| {
                    let User(name) = ws.get();
                    ws.publish_to_all(ROOM, format!("{name}: {message}"));
                })
        });
    let chat_handle = chat.handle();
    let chat = HttpService::new(chat)?;

    let sessions = Sessions::default();
    let app = Router::new()
        .route("/", get(page))
        .route("/login", post(log_in))
        .route("/online", get(async move || chat_handle.connections().to_string()))
        .fallback_service(chat.clone())
        .layer(middleware::from_fn_with_state(sessions.clone(), find_session))
        .with_state(sessions);

    let listener = tokio::net::TcpListener::bind(support::Args::parse()?.addr).await?;
    println!("listening on http://{} (axum)", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(chat.connections().closing_on(support::ctrl_c()?))
        .await?;
    chat.connections().shutdown(Duration::from_secs(10)).await;
    println!("closed all connections");
    Ok(())
}

/// Who is logged in.
#[derive(Clone)]
struct User(String);

/// The users who are logged in, by the value of their cookie.
#[derive(Clone, Default)]
struct Sessions(Arc<Mutex<HashMap<String, User>>>);

/// Puts the user of a request into its extensions, for axum's handlers and for the chat alike.
async fn find_session(
    State(Sessions(sessions)): State<Sessions>,
    mut request: Request,
    next: Next,
) -> Response {
    let cookies = request.headers().get_all(header::COOKIE).iter();
    let id = cookies
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split("; "))
        .find_map(|cookie| cookie.strip_prefix("session="));
    let user =
        id.and_then(|id| sessions.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned());
    if let Some(user) = user {
        request.extensions_mut().insert(user);
    }
    next.run(request).await
}

async fn page(user: Option<Extension<User>>) -> Html<&'static str> {
    Html(match user {
        Some(_) => include_str!("chat.html"),
        None => include_str!("login.html"),
    })
}

#[derive(Deserialize)]
struct Login {
    name: String,
}

async fn log_in(
    State(Sessions(sessions)): State<Sessions>,
    Form(Login { name }): Form<Login>,
) -> Response {
    let name = name.trim();
    if !(1..=32).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return (StatusCode::BAD_REQUEST, "a name has 1 to 32 letters\n").into_response();
    }
    let id = Alphanumeric.sample_string(&mut rand::rng(), 32);
    let cookie = format!("session={id}; Path=/; HttpOnly; SameSite=Strict");
    sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(id, User(name.to_owned()));
    ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()
}
