//! Echoes every message compressed, on one path per setting of the compression: what
//! `compression.py` and `node.mjs` talk to.
//!
//! ```text
//! cargo run --all-features --example interop_server -- --addr 127.0.0.1:9002
//! ```

#[path = "../../examples/support/mod.rs"]
mod support;

use axeom_ws::{App, BoxError, Compression, Message, Options, Ws};

fn main() -> Result<(), BoxError> {
    let mut app = App::new();
    for server in [false, true] {
        for client in [false, true] {
            for server_bits in 9..=15 {
                for client_bits in 9..=15 {
                    let path = format!(
                        "/takeover-{}-{}/bits-{server_bits}-{client_bits}",
                        u8::from(server),
                        u8::from(client)
                    );
                    let compression = Compression::new()
                        .server_context_takeover(server)
                        .client_context_takeover(client)
                        .server_max_window_bits(server_bits)
                        .client_max_window_bits(client_bits);
                    app = echo(app, &path, compression);
                }
            }
        }
    }
    for level in [1, 2, 4, 9] {
        for mem_level in [1, 5, 9] {
            let compression = Compression::new()
                .level(level)
                .mem_level(mem_level)
                .server_context_takeover(mem_level == 5);
            app = echo(app, &format!("/level-{level}/mem-{mem_level}"), compression);
        }
    }
    support::serve(app)
}

fn echo(app: App, path: &str, compression: Compression) -> App {
    app.ws(path, |route| {
        route.options(Options::new().compression(compression)).message(
            async |ws: Ws, msg: Message| {
                let _ = ws.send(msg.compress(true)).await;
            },
        )
    })
}
