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
            // A member who does not keep up comes back and gets the roster anew, rather
            // than miss that someone left.
            route
                .options(Options::new().max_message_size(16 * 1024).close_on_full(true))
                .open(join)
                .message(act)
                .close(leave)
        })
        .fallback(page);
    support::serve(app)
}

/// What a member may ask for, as JSON.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Command {
    Say { text: String },
}

/// What a member is told, as JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Event<'a> {
    /// The first event: everyone in the room, the newcomer included.
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
    /// A command that was not understood.
    Refused {
        why: &'a str,
    },
}

impl From<Event<'_>> for Message {
    fn from(event: Event<'_>) -> Self {
        Message::from(serde_json::to_string(&event).expect("strings are always valid JSON"))
    }
}

/// The close code for a name that someone in the room has already. It is not a
/// [`Rejection`], because browsers do not tell a page why a handshake was refused.
const NAME_TAKEN: u16 = 4409;

/// The longest name of a member or room, in characters.
const MAX_LABEL: usize = 32;

/// Who takes part in what; derived from the URL.
struct Seat {
    room: String,
    name: String,
}

impl Seat {
    /// Topics are one namespace for the whole app, so a room's has a prefix.
    fn topic(&self) -> String {
        format!("room/{}", self.room)
    }
}

/// The context of a member's connection.
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

/// Events are published under the lock, so that everyone sees people come and go in
/// the same order as the roster does. Publishing never waits.
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
    // Who was turned away for the name of another must not take it along.
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
