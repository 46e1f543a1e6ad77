//! Topics: few with many members, many with few.

use std::sync::{Arc, Mutex};

use axeom_ws::{App, AppHandle, Message, Service, Ws};

use super::{Case, Work, connection::Connection};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::counted("publish to 1", 200, || publish(1, 1)),
        Case::counted("publish to 200", 10, || publish(200, 1)),
        Case::counted("publish to 200, 16 at a time", 2, || publish(200, 16)),
        Case::timed("publish to 10 000", || publish(10_000, 1)),
        Case::timed("publish to 10 000, 16 at a time", || publish(10_000, 16)),
        Case::counted("publish to 3, in 5 000 topics", 10, || publish_to_each(5_000)),
        Case::timed("publish to 3, in 100 000 topics", || publish_to_each(100_000)),
        Case::counted("subscribe and unsubscribe, in 5 000 topics", 20, || come_and_go(5_000)),
        Case::timed("subscribe and unsubscribe, in 100 000 topics", || come_and_go(100_000)),
        Case::counted("subscribe, and leave with the connection, in 5 000 topics", 100, || {
            leave_all(5_000)
        }),
        Case::timed("subscribe, and leave with the connection, in 100 000 topics", || {
            leave_all(100_000)
        }),
    ]
}

/// One operation is a message on its way to one subscriber, up to the write.
fn publish(subscribers: usize, at_a_time: usize) -> Work {
    let mut room = Room::new(subscribers);
    for ws in &room.handles {
        assert!(ws.subscribe("topic"));
    }
    let message = Message::from(vec![7; 100]);
    Work::new(subscribers * at_a_time, move || {
        for _ in 0..at_a_time {
            assert_eq!(room.server.publish("topic", message.clone()), subscribers);
        }
        room.write(subscribers * at_a_time * (message.len() + 2));
    })
}

/// Members of a topic, where there are many topics.
const MEMBERS: usize = 3;

/// Connections that share many topics between them.
const CONNECTIONS: usize = 300;

/// One operation is a message on its way to the three subscribers of its topic, up to the
/// write.
fn publish_to_each(topics: usize) -> Work {
    let mut room = Room::new(CONNECTIONS);
    let names = room.subscribe_to(topics);
    let message = Message::from(vec![7; 100]);
    let mut names = endless(names);
    Work::new(1000, move || {
        for _ in 0..1000 {
            assert_eq!(room.server.publish(names.next(), message.clone()), MEMBERS);
        }
        room.write(1000 * MEMBERS * (message.len() + 2));
    })
}

/// One operation is a subscription, to a topic that exists or to one that does not, and its
/// end.
fn come_and_go(topics: usize) -> Work {
    let room = Room::new(CONNECTIONS);
    let mut names = room.subscribe_to(topics);
    names.extend((0..topics).map(|topic| format!("new topic {topic}")));
    let mut names = endless(names);
    let one = room.join();
    Work::new(1000, move || {
        // The others stay, and so does the connection.
        let (_others, (_connection, ws)) = (&room, &one);
        for _ in 0..1000 {
            let name = names.next();
            assert!(ws.subscribe(name));
            assert!(ws.unsubscribe(name));
        }
    })
}

/// One operation is a subscription that ends with its connection, which has 100 of them.
fn leave_all(topics: usize) -> Work {
    let room = Room::new(CONNECTIONS);
    let mut names = endless(room.subscribe_to(topics));
    Work::new(100, move || {
        let (connection, ws) = room.join();
        for _ in 0..100 {
            assert!(ws.subscribe(names.next()));
        }
        drop((connection, ws));
    })
}

/// Names in an order in which neighbours are not alike.
struct Names {
    all: Vec<String>,
    at: usize,
}

fn endless(all: Vec<String>) -> Names {
    Names { all, at: 0 }
}

impl Names {
    fn next(&mut self) -> &str {
        self.at += 7919;
        &self.all[self.at % self.all.len()]
    }
}

/// Connections, and a handle to each.
struct Room {
    service: Service,
    server: AppHandle,
    joined: Arc<Mutex<Vec<Ws>>>,
    connections: Vec<Connection>,
    handles: Vec<Ws>,
}

impl Room {
    fn new(connections: usize) -> Self {
        let joined = Arc::new(Mutex::new(Vec::new()));
        let join = Arc::clone(&joined);
        let app = App::new().ws("/", |route| {
            route.open(move |ws| {
                join.lock().unwrap().push(ws);
                std::future::ready(())
            })
        });
        let service = app.build().unwrap();
        let server = service.handle();
        let mut room = Self { service, server, joined, connections: vec![], handles: vec![] };
        for _ in 0..connections {
            let (connection, ws) = room.join();
            room.connections.push(connection);
            room.handles.push(ws);
        }
        room
    }

    fn join(&self) -> (Connection, Ws) {
        let connection = Connection::open(&self.service);
        (connection, self.joined.lock().unwrap().pop().unwrap())
    }

    /// Gives each of so many topics its members; their names.
    fn subscribe_to(&self, topics: usize) -> Vec<String> {
        let names: Vec<_> = (0..topics).map(|topic| format!("topic {topic}")).collect();
        for (at, name) in names.iter().enumerate() {
            for member in 0..MEMBERS {
                let ws = &self.handles[(at * MEMBERS + member) % self.handles.len()];
                assert!(ws.subscribe(name));
            }
        }
        names
    }

    /// Lets every connection write what there is for it: `bytes` in all.
    fn write(&mut self, bytes: usize) {
        let mut written = 0;
        for connection in &mut self.connections {
            connection.go_on();
            written += connection.written();
        }
        assert_eq!(written, bytes);
    }
}
