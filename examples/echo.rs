//! Sends every message back, on any path.
//!
//! ```text
//! cargo run --release --example echo -- --addr 127.0.0.1:9001
//! ```

mod support;

use axeom_ws::{App, BoxError};

fn main() -> Result<(), BoxError> {
    let app = App::new().ws("/*", |route| {
        route.message(async |ws, msg| {
            let _ = ws.send(msg).await;
        })
    });
    support::serve(app)
}
