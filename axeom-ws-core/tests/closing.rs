//! How a connection ends, over a stream in memory: by us, by the peer, and while a handler is busy.

mod support;

use std::{
    future::poll_fn,
    io,
    sync::{Arc, Mutex},
    task::{Poll, Waker},
    time::Duration,
};

use axeom_ws_core::{App, CloseCode, CloseFrame, ConnectionError, Event, Message, Runtime, Ws};
use futures::channel::{mpsc, oneshot};
use support::{HANDSHAKE, Peer, World, client_frames};

#[test]
fn a_close_that_is_not_answered_is_cut_at_the_close_timeout() {
    let (give, mut got) = oneshot::channel();
    let give = Mutex::new(Some(give));
    let app = App::new().ws("/", move |route| {
        route.message(async |ws, _| ws.close(4000, "enough")).close(move |_, code, _| {
            let give = give.lock().unwrap().take();
            async move {
                let _ = give.unwrap().send(code);
            }
        })
    });
    let mut world = World::new();
    let mut peer = world.open(app);
    peer.send_message("close me");
    world.settle();
    assert_eq!(peer.events(), [Event::Close(CloseFrame::new(4000, "enough"))]);
    world.advance(Duration::from_millis(9_999));
    assert!(!peer.is_dropped());
    assert_eq!(got.try_recv(), Ok(None));
    world.advance(Duration::from_millis(1));
    assert!(peer.is_dropped());
    assert_eq!(got.try_recv(), Ok(Some(CloseCode::ABNORMAL)));
}

/// An app whose handler closes its connection with 4000 (or cuts it, on "cut") and then waits to
/// be let go, and what its handlers were called for.
fn closes_and_waits() -> (App, Told, Gate) {
    let told = Told::default();
    let gate = Gate::default();
    let app = App::new().ws("/", {
        let (told, gate) = (told.clone(), gate.clone());
        move |route| {
            let (on_message, on_error, on_close) = (told.clone(), told.clone(), told);
            route
                .open(async |ws| {
                    ws.subscribe("topic");
                })
                .message(move |ws: Ws, msg: Message| {
                    let (told, gate) = (on_message.clone(), gate.clone());
                    async move {
                        told.note(format!("message {msg}"));
                        match msg.as_text() {
                            Some("cut") => ws.terminate(),
                            _ => ws.close(4000, ""),
                        }
                        gate.wait().await;
                    }
                })
                .error(move |_, error: ConnectionError| {
                    on_error.note(format!("error {error}"));
                    async {}
                })
                .close(move |ws: Ws, code: CloseCode, _| {
                    on_close.note(format!("close {code}, {}", ws.subscriptions().len()));
                    async {}
                })
        }
    });
    (app, told, gate)
}

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Something to wait for until a test opens it.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<(bool, Option<Waker>)>>);

impl Gate {
    async fn wait(&self) {
        poll_fn(|cx| {
            let mut gate = self.0.lock().unwrap();
            gate.1 = Some(cx.waker().clone());
            if gate.0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn open(&self) {
        let mut gate = self.0.lock().unwrap();
        gate.0 = true;
        let waker = gate.1.take();
        drop(gate);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[test]
fn nothing_is_handled_after_a_close_however_the_peer_goes() {
    for goes in [Peer::reset as fn(&mut Peer), Peer::end, |peer| peer.send(&[0xff; 10])] {
        let (app, told, gate) = closes_and_waits();
        let mut world = World::new();
        let mut peer = world.open(app);
        peer.send(&client_frames(&["go".into(), "late".into()]));
        world.settle();
        goes(&mut peer);
        world.settle();
        gate.open();
        world.settle();
        assert_eq!(told.all(), ["message go", "close 4000, 0"]);
    }
}

#[test]
fn a_reset_after_our_close_frame_is_no_error() {
    let (app, told, gate) = closes_and_waits();
    let mut world = World::new();
    let mut peer = world.open(app);
    gate.open();
    peer.send_message("go");
    world.settle();
    assert_eq!(peer.events(), [Event::Close(CloseFrame::new(4000, ""))]);
    peer.reset();
    world.settle();
    assert_eq!(told.all(), ["message go", "close 4000, 0"]);
}

#[test]
fn a_connection_that_is_cut_leaves_its_topics_before_its_handler_returns() {
    let (app, told, gate) = closes_and_waits();
    let handle = app.handle();
    let mut world = World::new();
    let mut peer = world.open(app);
    assert_eq!(handle.subscriber_count("topic"), 1);
    peer.send_message("cut");
    world.settle();
    assert!(peer.is_dropped());
    assert_eq!(handle.subscriber_count("topic"), 0);
    gate.open();
    world.settle();
    assert_eq!(told.all(), ["message cut", "close 1006, 0"]);
}

#[test]
fn a_handler_that_only_sends_is_told_when_the_peer_is_gone() {
    let (tell, mut told) = mpsc::unbounded();
    let tell_close = tell.clone();
    let app = App::new().ws("/", move |route| {
        route
            .message(move |ws: Ws, _| {
                let tell = tell.clone();
                async move {
                    for _ in 0..10_000 {
                        if ws.send(vec![0; 1024]).await.is_err() {
                            return;
                        }
                    }
                    let _ = tell.unbounded_send("all was taken".to_owned());
                }
            })
            .close(move |_, code, _| {
                let _ = tell_close.unbounded_send(code.to_string());
                async {}
            })
    });
    let mut world = World::new();
    let mut peer = world.open(app);
    peer.accept(0);
    peer.send_message("begin");
    world.settle();
    peer.reset();
    world.settle();
    assert_eq!(told.try_recv().unwrap(), "1006");
}

#[test]
fn a_socket_goes_on_while_the_peer_does_not_answer_the_close() {
    let mut world = World::new();
    let (clock, (tell, mut told)) = (world.clock.clone(), mpsc::unbounded());
    let app = App::new().ws("/", move |route| {
        route.socket(move |socket| {
            let (clock, tell) = (clock.clone(), tell.clone());
            async move {
                socket.close(1000, "");
                clock.sleep(Duration::from_secs(1)).await;
                let _ = tell.unbounded_send(());
            }
        })
    });
    let _peer = world.open(app);
    world.advance(Duration::from_secs(2));
    assert!(told.try_recv().is_ok(), "the handler stands still");
}

#[test]
fn terminate_cuts_at_once_though_the_peer_has_ended_and_the_handler_has_not() {
    let (give, mut got) = mpsc::unbounded();
    let app = App::new().ws("/", move |route| {
        route.message(move |ws: Ws, _| {
            let _ = give.unbounded_send(ws);
            std::future::pending::<()>()
        })
    });
    let mut world = World::new();
    let mut peer = world.open(app);
    peer.send_message("hold on");
    peer.end();
    world.settle();
    assert!(!peer.is_dropped());
    got.try_recv().unwrap().terminate();
    world.settle();
    assert!(peer.is_dropped());
}

#[test]
fn a_lost_connection_is_told_alike_whatever_the_runtime_says_of_its_end() {
    let (tell, mut told) = mpsc::unbounded();
    let app = App::new().ws("/", move |route| {
        route.error(move |_, error: ConnectionError| {
            let _ = tell.unbounded_send(error.to_string());
            async {}
        })
    });
    let service = app.build().unwrap();
    let mut world = World::new();
    for error in [None, Some(io::ErrorKind::NotConnected)] {
        let mut peer = world.connect(&service);
        peer.send(HANDSHAKE);
        world.settle();
        if let Some(error) = error {
            peer.fail_close(error);
        }
        peer.end();
        world.settle();
    }
    assert_eq!(told.try_recv().unwrap(), told.try_recv().unwrap());
}
