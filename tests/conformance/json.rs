//! Messages as JSON.

use std::collections::HashMap;

use axeom_ws::{App, Message, SendJsonError, Ws};
use serde::{Deserialize, Serialize};

use crate::{
    on_every_runtime,
    support::{
        Events, TestRuntime, TestServer,
        frame::{self, BINARY, Frame, TEXT},
    },
};

on_every_runtime!(
    mounted:
    text_and_binary_are_read_alike,
    what_is_wrong_is_named_by_its_field,
    a_value_is_sent_as_text,
    what_cannot_be_sent_is_said
);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u32,
    items: Vec<Item>,
    #[serde(default)]
    note: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Item {
    name: String,
    count: u8,
}

fn order() -> Order {
    let item = |name: &str, count| Item { name: name.to_owned(), count };
    Order { id: 7, items: vec![item("tea", 2), item("Kännchen \"groß\"", 255)], note: None }
}

/// An app that answers an order with itself, and anything else with what is wrong.
fn app() -> App {
    App::new().ws("/", |route| {
        route.message(async |ws, msg| {
            match msg.json::<Order>() {
                Ok(order) => ws.send_json(&order).await?,
                Err(error) => {
                    let text = format!("{}|{error}: {}", error.path(), error.cause());
                    ws.send(text).await?;
                }
            }
            Ok(())
        })
    })
}

async fn text_and_binary_are_read_alike<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    let mut raw = server.upgraded::<R>("/").await;
    let json = serde_json::to_string(&order()).unwrap();
    for opcode in [TEXT, BINARY] {
        for json in [json.clone(), serde_json::to_string_pretty(&order()).unwrap() + "\n \t"] {
            raw.send(frame::masked(opcode, json.as_bytes())).await;
            let answer = raw.frame().await;
            assert_eq!(answer.first, Frame::text("").first);
            assert_eq!(serde_json::from_slice::<Order>(&answer.payload).unwrap(), order());
        }
    }
}

async fn what_is_wrong_is_named_by_its_field<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    let mut client = server.connect::<R>("/").await;
    let good = r#"{"name": "tea", "count": 1}"#;
    for (json, path, what) in [
        (
            format!(r#"{{"id": 1, "items": [{good}, {{"name": "x", "count": 256}}]}}"#),
            "items[1].count",
            "256",
        ),
        (
            format!(r#"{{"id": 1, "items": [{good}, {{"name": 5, "count": 1}}]}}"#),
            "items[1].name",
            "expected a string",
        ),
        (format!(r#"{{"id": 1, "items": [{good}, {{"name": "x"}}]}}"#), "items[1]", "count"),
        (r#"{"id": "one", "items": []}"#.to_owned(), "id", "u32"),
        (r#"{"id": 1}"#.to_owned(), ".", "items"),
        (r#"{"id": 1, "items": []} {"id": 2}"#.to_owned(), ".", "trailing"),
        (r#"{"id": 1, "items": []}]"#.to_owned(), ".", "trailing"),
        ("not json".to_owned(), ".", "expected"),
        (String::new(), ".", "EOF"),
        (r#"{"id": 1, "items": ["#.to_owned(), "items", "EOF"),
    ] {
        for binary in [false, true] {
            if binary {
                client.send(json.clone().into_bytes()).await;
            } else {
                client.send(json.clone()).await;
            }
            let answer = client.recv_text().await;
            let (at, text) = answer.split_once('|').unwrap();
            assert_eq!(at, path, "{json}: {text}");
            assert!(text.contains(what), "{json}: {text}");
        }
    }
    // Bytes that are no text are no JSON either.
    client.send(b"{\"id\": \"\xff\"}".to_vec()).await;
    assert!(client.recv_text().await.starts_with("id|"));
    // And the connection goes on.
    client.send(serde_json::to_string(&order()).unwrap()).await;
    assert_eq!(serde_json::from_str::<Order>(&client.recv_text().await).unwrap(), order());
}

async fn a_value_is_sent_as_text<R: TestRuntime>() {
    let app = App::new().ws("/", |route| {
        route.open(async |ws| {
            ws.send_json("text").await?;
            ws.send_json(&[1, 2, 3]).await?;
            ws.send_json(&serde_json::json!({"a": null})).await?;
            // The value need not live as long as the sending.
            let sending = ws.send_json(&order());
            sending.await?;
            Ok(())
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut client = server.connect::<R>("/").await;
    for expected in ["\"text\"", "[1,2,3]", r#"{"a":null}"#] {
        assert_eq!(client.recv_text().await, expected);
    }
    assert_eq!(serde_json::from_str::<Order>(&client.recv_text().await).unwrap(), order());
}

async fn what_cannot_be_sent_is_said<R: TestRuntime>() {
    let mut events = Events::new();
    let tell = events.teller();
    let app = App::new().ws("/", |route| {
        route.open(move |ws: Ws| {
            let tell = tell.clone();
            async move {
                let keys = HashMap::from([(vec![1], "a list is no key")]);
                tell(ws.send_json(&keys).await);
                ws.close(1000, "");
                tell(ws.send_json("late").await);
            }
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.upgraded::<R>("/").await;
    assert!(matches!(events.next().await, Err(SendJsonError::Json(_))));
    assert!(matches!(events.next().await, Err(SendJsonError::Closed(_))));
    assert_eq!(raw.close_code().await, 1000, "nothing was sent before");
}

#[test]
fn a_message_lends_its_text() {
    let message = Message::from(r#"{"name": "borrowed"}"#);
    let parsed: HashMap<&str, &str> = message.json().unwrap();
    assert_eq!(parsed["name"], "borrowed");
}
