//! The examples, from outside: each is started as a process on each runtime, and talked
//! to. `cargo test` builds them; a single test target does not.
#![cfg(any(feature = "tokio", feature = "async-std", feature = "smol"))]

mod support;

use std::{path::PathBuf, process::Stdio};

use ::smol::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
};
use async_tungstenite::tungstenite::{
    self,
    client::IntoClientRequest,
    handshake::client::Response,
    http::{StatusCode, header::SET_COOKIE},
};
use serde_json::{Value, json};

use self::support::{Client, TestRuntime, raw::Raw};

/// The name of a runtime on the command line.
trait Named: TestRuntime {
    const NAME: &'static str;
}

#[cfg(feature = "tokio")]
impl Named for support::runtimes::Tokio {
    const NAME: &'static str = "tokio";
}

#[cfg(feature = "async-std")]
impl Named for support::runtimes::AsyncStd {
    const NAME: &'static str = "async-std";
}

#[cfg(feature = "smol")]
impl Named for support::runtimes::Smol {
    const NAME: &'static str = "smol";
}

on_every_runtime!(
    echo_echoes,
    a_custom_runtime_echoes,
    chat_serves_its_page,
    chat_refuses_bad_names,
    chat_members_see_each_other,
    chat_gives_a_name_once,
    auth_asks_who_it_is,
    auth_knows_a_session_by_its_cookie,
    auth_keeps_others_out,
    rate_limit_turns_away_who_comes_too_often,
);

#[cfg(unix)]
mod ctrl_c {
    use super::*;

    on_every_runtime!(echo, custom_runtime, chat, auth, rate_limit);

    async fn echo<R: Named>() {
        ends::<R>("echo", "/", &[]).await;
    }

    async fn custom_runtime<R: Named>() {
        ends::<R>("custom_runtime", "/", &[]).await;
    }

    async fn chat<R: Named>() {
        ends::<R>("chat", "/chat/lobby?name=Ada", &[]).await;
    }

    async fn auth<R: Named>() {
        ends::<R>("auth", "/me?", &[ADA]).await;
    }

    async fn rate_limit<R: Named>() {
        ends::<R>("rate_limit", "/?", &[]).await;
    }

    async fn ends<R: Named>(name: &str, path: &str, headers: &[(&'static str, &str)]) {
        let mut example = Example::start::<R>(name).await;
        let mut clients = Vec::new();
        for n in 0..2 {
            clients.push(example.request::<R>(&format!("{path}{n}"), headers).await.unwrap().0);
        }
        super::ends::<R>(&mut example, &mut clients).await;
    }
}

/// An interrupted example closes its connections with 1001 and ends well.
#[cfg(unix)]
async fn ends<R: Named>(example: &mut Example, clients: &mut [Client<R>]) {
    let pid = example.process.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    for client in clients {
        let (code, _) = client.closed().await.expect("a close frame");
        assert_eq!(code, 1001);
    }
    assert_eq!(example.line().await, "closed all connections\n");
    assert_eq!(example.line().await, "");
    assert!(example.process.status().await.unwrap().success());
}

#[cfg(all(unix, feature = "axum"))]
#[test]
fn axum_serves_a_page_sessions_and_a_chat_on_one_port_and_ends_all_with_one_signal() {
    use support::runtimes::Tokio;

    support::run::<Tokio>(async {
        let mut example = Example::start::<Tokio>("axum").await;
        let get = "GET / HTTP/1.1";
        assert!(example.http::<Tokio>(get, &[], "").await.body.contains("/login"));
        let refused = example.refused::<Tokio>("/chat", &[]).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        assert_eq!(example.http::<Tokio>("POST /login HTTP/1.1", &[], "name=").await.status, 400);

        let mut clients = Vec::new();
        for name in ["Ada", "Grace"] {
            let body = format!("name={name}");
            let response = example.http::<Tokio>("POST /login HTTP/1.1", &[], &body).await;
            assert_eq!((response.status, response.header("location")), (303, Some("/")));
            let cookie = response.header("set-cookie").unwrap().split(';').next().unwrap();
            let header = format!("Cookie: {cookie}");
            assert!(example.http::<Tokio>(get, &[&header], "").await.body.contains("WebSocket"));
            let client = example.request::<Tokio>("/chat", &[("cookie", cookie)]).await;
            clients.push(client.unwrap().0);
        }
        assert_eq!(example.http::<Tokio>("GET /online HTTP/1.1", &[], "").await.body, "2");
        clients[0].send("hello").await;
        for client in &mut clients {
            assert_eq!(client.recv_text().await, "Ada: hello");
        }
        ends::<Tokio>(&mut example, &mut clients).await;
    });
}

#[cfg(all(unix, feature = "hyper", feature = "smol"))]
#[test]
fn smol_hyper_echoes_and_ends_with_one_signal() {
    use support::runtimes::Smol;

    support::run::<Smol>(async {
        echoes::<Smol>("smol_hyper").await;
        let mut example = Example::start::<Smol>("smol_hyper").await;
        assert_eq!(example.get::<Smol>("/").await.body, "connect with a WebSocket\n");
        let mut clients = [example.connect::<Smol>("/").await];
        ends::<Smol>(&mut example, &mut clients).await;
    });
}

async fn echo_echoes<R: Named>() {
    echoes::<R>("echo").await;
}

async fn a_custom_runtime_echoes<R: Named>() {
    echoes::<R>("custom_runtime").await;
}

async fn echoes<R: Named>(name: &str) {
    let example = Example::start::<R>(name).await;
    let mut client = example.connect::<R>("/any/path").await;
    for size in [0, 5, 100_000] {
        let text = tungstenite::Message::from("é".repeat(size));
        client.send(text.clone()).await;
        assert_eq!(client.recv().await, text);
        let bytes = tungstenite::Message::from(vec![0xff; size]);
        client.send(bytes.clone()).await;
        assert_eq!(client.recv().await, bytes);
    }
    assert_eq!(client.close(4001, "bye").await, Some((4001, "bye".to_owned())));
}

async fn chat_serves_its_page<R: Named>() {
    let example = Example::start::<R>("chat").await;
    let page = example.get::<R>("/?room=lobby").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.body.starts_with("<!doctype html>"), "{}", page.body);
    assert_eq!(page.body, include_str!("../examples/chat/page.html"));
    assert_eq!(example.get::<R>("/other").await.status, 404);
}

async fn chat_refuses_bad_names<R: Named>() {
    let example = Example::start::<R>("chat").await;
    let (just_right, too_long) = ("n".repeat(32), "n".repeat(33));
    for path in [
        "/chat/lobby",
        "/chat/lobby?name=",
        "/chat/lobby?name=+%20",
        "/chat/lobby?name=A%0Ada",
        &format!("/chat/lobby?name={too_long}"),
        "/chat/%20?name=Ada",
        &format!("/chat/{too_long}?name=Ada"),
    ] {
        let refused = example.refused::<R>(path, &[]).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{path}");
        let body = String::from_utf8(refused.into_body().unwrap()).unwrap();
        assert!(body.contains("?name=NAME") && body.contains("1 to 32"), "{path}: {body}");
    }
    let mut client = example.connect::<R>(&format!("/chat/lobby?name={just_right}")).await;
    assert_eq!(event(&mut client).await, json!({"type": "welcome", "here": [just_right]}));
}

async fn chat_members_see_each_other<R: Named>() {
    let example = Example::start::<R>("chat").await;
    let mut ada = example.connect::<R>("/chat/caf%C3%A9%2F1?name=Ada").await;
    assert_eq!(event(&mut ada).await, json!({"type": "welcome", "here": ["Ada"]}));
    let mut grace = example.connect::<R>("/chat/caf%C3%A9%2F1?name=Grace+H.").await;
    assert_eq!(event(&mut grace).await, json!({"type": "welcome", "here": ["Ada", "Grace H."]}));
    assert_eq!(event(&mut ada).await, json!({"type": "joined", "name": "Grace H."}));
    // Neither hears of another room.
    let mut elsewhere = example.connect::<R>("/chat/lobby?name=Ada").await;
    assert_eq!(event(&mut elsewhere).await, json!({"type": "welcome", "here": ["Ada"]}));
    say(&mut elsewhere, "to myself").await;
    assert_eq!(
        event(&mut elsewhere).await,
        json!({"type": "said", "name": "Ada", "text": "to myself"})
    );

    say(&mut ada, "<b>hello</b> \"Grace\"").await;
    let said = json!({"type": "said", "name": "Ada", "text": "<b>hello</b> \"Grace\""});
    assert_eq!(event(&mut ada).await, said);
    assert_eq!(event(&mut grace).await, said);
    say(&mut grace, "hello").await;
    let said = json!({"type": "said", "name": "Grace H.", "text": "hello"});
    assert_eq!(event(&mut ada).await, said);
    assert_eq!(event(&mut grace).await, said);

    // What is not a command is answered, to the one who sent it.
    for wrong in ["", "{", "[]", r#"{"type":"shout"}"#, r#"{"type":"say","text":1}"#] {
        grace.send(wrong).await;
        let refused = event(&mut grace).await;
        assert_eq!(refused["type"], "refused", "{wrong:?}: {refused}");
    }

    grace.close(1000, "").await;
    assert_eq!(event(&mut ada).await, json!({"type": "left", "name": "Grace H."}));
    let mut edsger = example.connect::<R>("/chat/caf%C3%A9%2F1?name=Edsger").await;
    assert_eq!(event(&mut edsger).await, json!({"type": "welcome", "here": ["Ada", "Edsger"]}));
}

async fn chat_gives_a_name_once<R: Named>() {
    let example = Example::start::<R>("chat").await;
    let mut ada = example.connect::<R>("/chat/lobby?name=Ada").await;
    assert_eq!(event(&mut ada).await, json!({"type": "welcome", "here": ["Ada"]}));
    for same in ["Ada", "+Ada%20"] {
        let mut other = example.connect::<R>(&format!("/chat/lobby?name={same}")).await;
        let (code, reason) = other.closed().await.unwrap();
        assert_eq!(code, 4409);
        assert!(reason.contains("this name"), "{reason}");
    }
    // Who was turned away has not taken the name along, nor was here at all.
    let mut grace = example.connect::<R>("/chat/lobby?name=Grace").await;
    assert_eq!(event(&mut grace).await, json!({"type": "welcome", "here": ["Ada", "Grace"]}));
    assert_eq!(event(&mut ada).await, json!({"type": "joined", "name": "Grace"}));
    // A name is free once its owner is gone, with or without a goodbye.
    drop(ada);
    assert_eq!(event(&mut grace).await, json!({"type": "left", "name": "Ada"}));
    let mut ada = example.connect::<R>("/chat/lobby?name=Ada").await;
    assert_eq!(event(&mut ada).await, json!({"type": "welcome", "here": ["Ada", "Grace"]}));
}

const ADA: (&str, &str) = ("authorization", "Bearer ada-secret");
const GRACE: (&str, &str) = ("authorization", "Bearer grace-secret");

async fn auth_asks_who_it_is<R: Named>() {
    let example = Example::start::<R>("auth").await;
    for (headers, challenge) in [
        (&[][..], "Bearer"),
        (&[("authorization", "Basic YWRhOnNlY3JldA==")], "Bearer"),
        (&[("cookie", "session=; other=ada-secret")], "Bearer"),
        (&[("authorization", "Bearer nobody")], r#"Bearer error="invalid_token""#),
    ] {
        for path in ["/me", "/admin"] {
            let refused = example.refused::<R>(path, headers).await;
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{path} {headers:?}");
            assert_eq!(refused.headers()["www-authenticate"], challenge, "{path} {headers:?}");
            assert!(!refused.headers().contains_key(SET_COOKIE));
        }
    }
    let lower_case = ("authorization", "bearer  grace-secret");
    let (mut client, _) = example.request::<R>("/me", &[lower_case]).await.unwrap();
    assert_eq!(client.recv_text().await, "Hello, Grace");
}

async fn auth_knows_a_session_by_its_cookie<R: Named>() {
    let example = Example::start::<R>("auth").await;
    let (mut client, response) = example.request::<R>("/me", &[ADA]).await.unwrap();
    assert_eq!(client.recv_text().await, "Hello, Ada");
    let cookie = response.headers()[SET_COOKIE].to_str().unwrap();
    let (session, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(session.len(), "session=".len() + 32, "{cookie}");
    assert_eq!(attributes, "Path=/; HttpOnly; Secure; SameSite=Strict");

    let with_cookie = ("cookie", &*format!("theme=dark; {session}"));
    let (mut client, response) = example.request::<R>("/me", &[with_cookie]).await.unwrap();
    assert_eq!(client.recv_text().await, "Hello, Ada");
    assert!(!response.headers().contains_key(SET_COOKIE));
    let (mut client, _) = example.request::<R>("/admin", &[with_cookie]).await.unwrap();
    assert_eq!(client.recv_text().await, "1 sessions");
}

async fn auth_keeps_others_out<R: Named>() {
    let example = Example::start::<R>("auth").await;
    let refused = example.refused::<R>("/admin", &[GRACE]).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(refused.body().as_deref(), Some(&b"this is for admins\n"[..]));

    for foreign in ["https://evil.example", "http://app.example.com", "null"] {
        let refused = example.refused::<R>("/me", &[ADA, ("origin", foreign)]).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{foreign}");
    }
    for known in ["https://app.example.com", &format!("http://{}", example.addr)] {
        let (mut client, _) = example.request::<R>("/me", &[ADA, ("origin", known)]).await.unwrap();
        assert_eq!(client.recv_text().await, "Hello, Ada");
    }
}

async fn rate_limit_turns_away_who_comes_too_often<R: Named>() {
    let example = Example::start::<R>("rate_limit").await;
    let mut admitted = 0;
    let refused = loop {
        match example.request::<R>("/", &[]).await {
            Ok(_) => admitted += 1,
            Err(tungstenite::Error::Http(refused)) => break refused,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(admitted >= 5, "{admitted}");
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let seconds: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=10).contains(&seconds), "{seconds}");
    assert_eq!(example.get::<R>("/nowhere").await.status, 429, "paths make no difference");
}

async fn event<R: TestRuntime>(client: &mut Client<R>) -> Value {
    serde_json::from_str(&client.recv_text().await).unwrap()
}

async fn say<R: TestRuntime>(client: &mut Client<R>, text: &str) {
    client.send(json!({"type": "say", "text": text}).to_string()).await;
}

/// An example that runs, until dropped.
struct Example {
    process: Child,
    stdout: BufReader<ChildStdout>,
    addr: String,
}

impl Example {
    async fn start<R: Named>(name: &str) -> Self {
        let path = binary(name);
        let mut process = Command::new(&path)
            .args(["--runtime", R::NAME, "--addr", "127.0.0.1:0", "--threads", "2"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; build the examples", path.display()));
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let mut example = Self { process, stdout, addr: String::new() };
        let line = example.line().await;
        let runtime = match name {
            "custom_runtime" => "custom",
            "axum" | "smol_hyper" => name,
            _ => R::NAME,
        };
        let addr = line
            .strip_prefix("listening on http://")
            .and_then(|line| line.trim_end().strip_suffix(&format!(" ({runtime})")));
        example.addr = addr.unwrap_or_else(|| panic!("{name} says {line:?}")).to_owned();
        example
    }

    /// The next line it prints; empty at the end.
    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).await.unwrap();
        line
    }

    async fn connect<R: TestRuntime>(&self, path: &str) -> Client<R> {
        self.request::<R>(path, &[]).await.unwrap().0
    }

    async fn request<R: TestRuntime>(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Client<R>, Response), tungstenite::Error> {
        let mut request = format!("ws://{}{path}", self.addr).into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let (stream, response) = R::connect(request).await?;
        Ok((Client(stream), response))
    }

    /// The response to a handshake that is turned down.
    async fn refused<R: TestRuntime>(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Response {
        match self.request::<R>(path, headers).await {
            Err(tungstenite::Error::Http(response)) => *response,
            Err(error) => panic!("{path}: {error}"),
            Ok((_, response)) => panic!("{path}: {response:?}"),
        }
    }

    async fn get<R: TestRuntime>(&self, path: &str) -> support::raw::Response {
        self.http::<R>(&format!("GET {path} HTTP/1.1"), &[], "").await
    }

    /// The response to a request that is no handshake, with a form for its body.
    async fn http<R: TestRuntime>(
        &self,
        line: &str,
        headers: &[&str],
        form: &str,
    ) -> support::raw::Response {
        let mut raw = Raw::new(R::connect_tcp(self.addr.parse().unwrap()).await);
        let host = format!("Host: {}", self.addr);
        let length = format!("Content-Length: {}", form.len());
        let kind = "Content-Type: application/x-www-form-urlencoded";
        let mut lines = vec![line, &host, "Connection: close"];
        lines.extend_from_slice(headers);
        if !form.is_empty() {
            lines.extend([&*length, kind]);
        }
        raw.send(format!("{}\r\n\r\n{form}", lines.join("\r\n"))).await;
        // Boxed, for its buffer is large and the stack of a test is not.
        Box::pin(raw.response()).await
    }
}

/// Where cargo puts an example: beside the directory of the test.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}
