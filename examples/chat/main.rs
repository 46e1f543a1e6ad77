//! Chat rooms, with a page for the browser.
//!
//! ```text
//! cargo run --example chat       # then open http://127.0.0.1:3000 in two tabs
//! ```

#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use axeom_ws::{
    App, BoxError, CloseCode, ConnectionId, Context, Message, Options, Rejection, Utf8Bytes, Ws,
    context,
    http::{HeaderValue, Request, Response, StatusCode, header},
};
use serde::{Deserialize, Serialize};

fn main() -> Result<(), BoxError> {
    let app = App::new()
        .decorate(Rooms::default())
        .derive(seat)
        .ws("/chat/:room", |route| {
            // A slow member is disconnected instead of missing an event: its page connects
            // again, and gets the current list of members.
            route
                .options(Options::new().max_message_size(16 * 1024).close_on_full(true))
                .open(join)
                .message(act)
                .close(leave)
        })
        .fallback(page);
    support::serve(app)
}

/// What members send, as JSON.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Command {
    Say { text: String },
}

/// What members receive, as JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Event<'a> {
    /// The first event, with the names of everyone in the room, including the newcomer.
    Welcome {
        here: Vec<&'a str>,
    },
    Joined {
        name: &'a str,
    },
    Left {
        name: &'a str,
    },
    Said {
        name: &'a str,
        text: &'a str,
    },
    /// Answers a command that could not be parsed.
    Refused {
        why: &'a str,
    },
}

impl From<Event<'_>> for Message {
    fn from(event: Event<'_>) -> Self {
        Message::from(serde_json::to_string(&event).expect("strings are always valid JSON"))
    }
}

/// The close code for a name that another member of the room has. This is not a [`Rejection`],
/// because browsers do not tell a page why a handshake was refused.
const NAME_TAKEN: u16 = 4409;

/// The longest name of a member or room, in characters.
const MAX_LABEL: usize = 32;

/// A member's name and room, derived from the URL.
struct Seat {
    room: String,
    name: String,
}

impl Seat {
    /// The prefix keeps rooms apart from other topics, which share one namespace in an app.
    fn topic(&self) -> String {
        format!("room/{}", self.room)
    }
}

type Chat = context![Seat, Rooms];

async fn seat(ctx: Context<context![Rooms]>) -> Result<Seat, Rejection> {
    let name = ctx.query("name").unwrap_or_default();
    Ok(Seat { room: label("room", ctx.param("room"))?, name: label("name", &name)? })
}

fn label(what: &str, value: &str) -> Result<String, Rejection> {
    let value = value.trim();
    let length = value.chars().count();
    if length == 0 || length > MAX_LABEL || value.chars().any(char::is_control) {
        let rule =
            format!("connect to /chat/ROOM?name=NAME; a {what} has 1 to {MAX_LABEL} letters");
        return Err(Rejection::bad_request(rule));
    }
    Ok(value.to_owned())
}

/// The members of each room, by name.
#[derive(Default)]
struct Rooms(Mutex<HashMap<String, BTreeMap<String, ConnectionId>>>);

impl Rooms {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, BTreeMap<String, ConnectionId>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Publishes under the lock, so that events and the list of members agree on the order in which
/// members come and go. Publishing never waits.
async fn join(ws: Ws<Chat>) {
    let (seat, rooms): (&Seat, &Rooms) = (ws.get(), ws.get());
    let Seat { room, name } = seat;
    let mut rooms = rooms.lock();
    let members = rooms.entry(room.clone()).or_default();
    let Entry::Vacant(place) = members.entry(name.clone()) else {
        return ws.close(NAME_TAKEN, "Someone here has this name. Choose another.");
    };
    place.insert(ws.id());
    ws.publish(seat.topic(), Event::Joined { name });
    ws.subscribe(seat.topic());
    let _ = ws.try_send(Event::Welcome { here: members.keys().map(String::as_str).collect() });
}

async fn act(ws: Ws<Chat>, message: Message) {
    let seat: &Seat = ws.get();
    match serde_json::from_slice(message.as_bytes()) {
        Ok(Command::Say { text }) => {
            ws.publish_to_all(seat.topic(), Event::Said { name: &seat.name, text: &text });
        }
        Err(error) => {
            let _ = ws.send(Event::Refused { why: &error.to_string() }).await;
        }
    }
}

async fn leave(ws: Ws<Chat>, _: CloseCode, _: Utf8Bytes) {
    let (seat, rooms): (&Seat, &Rooms) = (ws.get(), ws.get());
    let Seat { room, name } = seat;
    let mut rooms = rooms.lock();
    let Some(members) = rooms.get_mut(room) else { return };
    // A connection that was refused because the name is taken must not remove that name.
    if members.get(name) != Some(&ws.id()) {
        return;
    }
    members.remove(name);
    if members.is_empty() {
        rooms.remove(room);
    }
    ws.publish(seat.topic(), Event::Left { name });
}

async fn page(request: Request<()>) -> Response<&'static str> {
    let (status, kind, body) = match request.uri().path() {
        "/" => (StatusCode::OK, "text/html; charset=utf-8", include_str!("page.html")),
        _ => (StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "the chat is at /\n"),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
