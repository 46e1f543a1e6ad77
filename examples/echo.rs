//! Sends every message back, on any path.
//!
//! ```text
//! cargo run --release --example echo -- --addr 127.0.0.1:9001
//! ```

mod support;

use axeom_ws::{App, BoxError, Options};

fn main() -> Result<(), BoxError> {
    let app = App::new()
        // Conformance suites send 4 MiB in fragments of 64 bytes: four times the default limit.
        .options(Options::new().max_fragments(128 * 1024))
        .ws("/*", |route| {
            route.message(async |ws, msg| {
                let _ = ws.send(msg).await;
            })
        });
    support::serve(app)
}
