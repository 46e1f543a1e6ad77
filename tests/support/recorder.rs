//! An app that tells a test all that its handlers see.

use axeom_ws::{App, CloseCode, ConnectionError, Message, Options};

use super::Events;

/// What a handler saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Open,
    Message(Message),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// What kind of error, by the name of its variant.
    Error(&'static str),
    Close(CloseCode, String),
}

impl Seen {
    pub fn text(text: &str) -> Self {
        Seen::Message(Message::from(text))
    }

    pub fn close(code: u16) -> Self {
        Seen::Close(code.into(), String::new())
    }
}

/// An echo on every path that tells what it sees.
pub fn recorder() -> (App, Events<Seen>) {
    recorder_with(Options::new())
}

pub fn recorder_with(options: Options) -> (App, Events<Seen>) {
    let events = Events::new();
    let tell = || events.teller();
    let (open, message, ping, pong, error, close) =
        (tell(), tell(), tell(), tell(), tell(), tell());
    let app = App::new().options(options).ws("/*", |route| {
        route
            .open(move |_| {
                open(Seen::Open);
                async {}
            })
            .message(move |ws, msg| {
                message(Seen::Message(msg.clone()));
                async move {
                    let _ = ws.send(msg).await;
                }
            })
            .ping(move |_, payload| {
                ping(Seen::Ping(payload.to_vec()));
                async {}
            })
            .pong(move |_, payload| {
                pong(Seen::Pong(payload.to_vec()));
                async {}
            })
            .error(move |_, error_| {
                error(Seen::Error(kind(&error_)));
                async {}
            })
            .close(move |_, code, reason| {
                close(Seen::Close(code, reason.to_string()));
                async {}
            })
    });
    (app, events)
}

pub fn kind(error: &ConnectionError) -> &'static str {
    match error {
        ConnectionError::Violation(_) => "violation",
        ConnectionError::Io(_) => "io",
        ConnectionError::Handler(_) => "handler",
        ConnectionError::Panic(_) => "panic",
        ConnectionError::PongTimeout => "pong timeout",
        ConnectionError::WriteTimeout => "write timeout",
        ConnectionError::CloseTimeout => "close timeout",
        _ => "other",
    }
}
