//! Models a socket whose handler receives events on a thread other than the connection's.

use std::{future::Future, sync::Arc};

use event_listener::Event as Notice;
use futures::future::{BoxFuture, pending, poll_immediate, ready};
use http::Request;
use loom::thread::{self, JoinHandle};

use super::{Answer, App, Service, Socket};
use crate::{
    close::CloseFrame,
    connection::{Input, Wire},
    event::Event,
    loom_support::{Standstill, block_on, explore},
    runtime::{Clock, Peer, Timer},
    sync::Mutex,
};

/// Two binary messages of one byte each, masked as a client sends them.
const MESSAGES: [u8; 14] = [0x82, 0x81, 0, 0, 0, 0, b'a', 0x82, 0x81, 0, 0, 0, 0, b'b'];

#[test]
fn who_receives_on_another_thread_gets_every_event() {
    explore(3, || {
        let reader = Reader::default();
        let (_service, connection) = connection({
            let reader = reader.clone();
            move |socket| {
                let done = Arc::new(Notice::new());
                let listener = done.listen();
                reader.start(socket, move || {
                    done.notify(1);
                });
                listener
            }
        });
        block_on(connection);
        let events = reader.events();
        assert_eq!(events.len(), 4);
        assert!(matches!(events[2], Event::Error(_)));
        assert_eq!(events[3], Event::Close(CloseFrame::abnormal()));
    });
}

#[test]
fn who_receives_is_told_that_the_handler_has_returned() {
    explore(3, || {
        let reader = Reader::default();
        let (_service, connection) = connection({
            let reader = reader.clone();
            move |socket| {
                reader.start(socket, || {});
                ready(())
            }
        });
        block_on(connection);
        assert!(matches!(reader.events()[..], [.., Event::Close(_)]));
    });
}

#[test]
fn who_receives_is_told_that_the_connection_was_dropped() {
    explore(3, || {
        let reader = Reader::default();
        let (_service, connection) = connection({
            let reader = reader.clone();
            move |socket| {
                reader.start(socket, || {});
                pending()
            }
        });
        assert!(block_on(poll_immediate(connection)).is_none());
        // How many it received depends on when the connection was dropped.
        assert!(reader.events().len() <= 4);
    });
}

/// A connection whose peer sends two messages and then ends the stream.
fn connection<Fut>(
    handler: impl Fn(Socket) -> Fut + Send + Sync + 'static,
) -> (Service, BoxFuture<'static, ()>)
where
    Fut: Future<Output = ()> + Send + 'static,
{
    let service = App::new().ws("/", |route| route.socket(handler)).build().unwrap();
    let request = Request::get("/")
        .header("host", "localhost")
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(())
        .unwrap();
    let Answer::Upgrade(accepted) = block_on(service.respond(request, Peer::Memory)) else {
        panic!("the handshake is good");
    };
    let wire = Wire::default();
    wire.send_and_end(&MESSAGES);
    let timer = Timer::own(Clock::new(Standstill::new()));
    (service, accepted.start(timer, Box::new(wire), Input::default()))
}

/// A thread that receives until there are no more events.
#[derive(Clone, Default)]
struct Reader(Arc<Mutex<Option<JoinHandle<Vec<Event>>>>>);

impl Reader {
    fn start(&self, mut socket: Socket, then: impl FnOnce() + 'static) {
        let receive = async move {
            let mut events = Vec::new();
            while let Some(event) = socket.recv().await {
                events.push(event);
            }
            events
        };
        *self.0.lock().unwrap() = Some(thread::spawn(move || {
            let events = block_on(receive);
            then();
            events
        }));
    }

    fn events(&self) -> Vec<Event> {
        let reader = self.0.lock().unwrap().take();
        reader.unwrap().join().unwrap()
    }
}
