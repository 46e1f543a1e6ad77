//! Restricts who may connect: by a token or session cookie, by the page's origin, and with a
//! group for admins.
//!
//! ```text
//! cargo run --example auth
//!
//! ws() { curl -siN --http1.1 --max-time 1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
//!     -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' \
//!     "http://127.0.0.1:3000$@"; echo; }
//! ws /me                                             # 401, WWW-Authenticate: Bearer
//! ws /me -H 'Authorization: Bearer ada-secret'       # 101, Set-Cookie: session=..
//! ws /me -H 'Cookie: session=..'                     # 101, with the cookie that was set
//! ws /admin -H 'Authorization: Bearer grace-secret'  # 403, only ada is an admin
//! ws /me -H 'Authorization: Bearer ada-secret' -H 'Origin: https://evil.example'  # 403
//! ```

mod support;

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axeom_ws::{
    App, BoxError, Context, Options, Rejection, context,
    http::{HeaderValue, header},
};

fn main() -> Result<(), BoxError> {
    let app = App::new()
        // Pages from this server's own host may always connect. Others must be listed, because
        // a browser sends this server's cookies whichever page connects.
        .options(Options::new().allow_origins(["https://app.example.com"]))
        .decorate(Sessions::default())
        .derive(authenticate)
        .ws("/me", |route| {
            route.open(async |ws| {
                let user: &User = ws.get();
                let _ = ws.send(format!("Hello, {}", user.name)).await;
            })
        })
        .group("/admin", |group| {
            group.guard(admins_only).ws("/", |route| {
                route.open(async |ws| {
                    let sessions: &Sessions = ws.get();
                    let _ = ws.send(format!("{} sessions", sessions.lock().len())).await;
                })
            })
        });
    support::serve(app)
}

/// The authenticated user of a connection.
#[derive(Clone)]
struct User {
    name: &'static str,
    admin: bool,
}

/// Rejects clients without a valid token or session cookie, and starts a session for those with a
/// token.
async fn authenticate(ctx: Context<context![Sessions]>) -> Result<User, Rejection> {
    let sessions: &Sessions = ctx.get();
    let Some(token) = bearer_token(ctx.header("authorization")) else {
        let user = ctx.cookie("session").and_then(|id| sessions.lock().get(id).cloned());
        return user.ok_or_else(|| Rejection::unauthorized("Bearer"));
    };
    let user =
        user_of(token).ok_or_else(|| Rejection::unauthorized(r#"Bearer error="invalid_token""#))?;
    let id = sessions.start(user.clone());
    let cookie = format!("session={id}; Path=/; HttpOnly; Secure; SameSite=Strict");
    ctx.append_response_header(header::SET_COOKIE, HeaderValue::try_from(cookie)?);
    Ok(user)
}

/// Runs after `authenticate`, so the context has a [`User`].
async fn admins_only(ctx: Context<context![User, Sessions]>) -> Result<(), Rejection> {
    let user: &User = ctx.get();
    if user.admin { Ok(()) } else { Err(Rejection::forbidden("this is for admins")) }
}

/// The token of an `Authorization: Bearer` header (RFC 6750 §2.1).
fn bearer_token(authorization: Option<&str>) -> Option<&str> {
    let (scheme, token) = authorization?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some(token.trim())
}

/// Stands in for a database, which would store only hashes of the tokens.
fn user_of(token: &str) -> Option<User> {
    match token {
        "ada-secret" => Some(User { name: "Ada", admin: true }),
        "grace-secret" => Some(User { name: "Grace", admin: false }),
        _ => None,
    }
}

/// Sessions by id. A real app would let them expire.
#[derive(Default)]
struct Sessions(Mutex<HashMap<String, User>>);

impl Sessions {
    fn start(&self, user: User) -> String {
        // The id alone authenticates the user, so it must not be guessable.
        let id = format!("{:032x}", rand::random::<u128>());
        self.lock().insert(id.clone(), user);
        id
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, User>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
