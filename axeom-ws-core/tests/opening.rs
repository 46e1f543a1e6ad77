//! What connections hold before their task has run.

mod support;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axeom_ws_core::{App, Io, Peer};
use futures::io::{AsyncRead, AsyncWrite};
use support::Clock;

/// Says nothing. As long as there is one, its `Arc` has an owner.
struct Silent(#[allow(dead_code)] Arc<()>);

impl AsyncRead for Silent {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }
}

impl AsyncWrite for Silent {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_crowd_without_a_place_is_let_go_before_its_tasks_run() {
    let app = App::new().max_connections(1).ws("/", |route| route);
    let service = app.build().unwrap();
    let owners = Arc::new(());
    let tasks: Vec<_> = (0..1000)
        .map(|_| {
            let transport = Io::new(Silent(Arc::clone(&owners)));
            service.serve_transport(Clock::default(), transport, Peer::Memory)
        })
        .collect();
    // The one that has the place, and those that may be told that there is none.
    assert_eq!(Arc::strong_count(&owners) - 1, 1 + 256);
    drop(tasks);
    assert_eq!(Arc::strong_count(&owners), 1);
}
