//! Messages through a whole connection: stream, driver, handler and back.

use axeom_ws::{App, Bytes, Compression, Event, Message, Options};

use super::{
    Case, Work,
    connection::{Connection, HEAD, echo},
    protocol::compressed,
};

pub(crate) fn cases() -> Vec<Case> {
    let binary = |size| Message::from(vec![7; size]);
    vec![
        Case::counted("echo 20 B", 20, move || one_a_wake(echo(), &binary(20))),
        Case::counted("echo 20 B, 32 a wake", 20, move || many_a_wake(echo(), &binary(20))),
        Case::counted("echo 1 KiB", 20, move || one_a_wake(echo(), &binary(1 << 10))),
        Case::counted("echo 1 KiB of text", 20, || one_a_wake(echo(), &kib(TEXT).into())),
        Case::counted("echo 16 KiB", 10, move || one_a_wake(echo(), &binary(16 << 10))),
        Case::counted("echo 64 KiB", 4, move || one_a_wake(echo(), &binary(64 << 10))),
        Case::timed("echo 1 MiB", move || one_a_wake(echo(), &binary(1 << 20))),
        Case::counted("echo 1 KiB of JSON, compressed", 2, deflated),
        Case::counted("echo 20 B in a loop of its own", 20, move || {
            one_a_wake(socket_echo(), &binary(20))
        }),
        Case::counted("echo 20 B in a loop of its own, 32 a wake", 20, move || {
            many_a_wake(socket_echo(), &binary(20))
        }),
    ]
}

const COUNT: usize = 32;

fn one_a_wake(app: App, message: &Message) -> Work {
    let mut connection = Connection::open(&app.build().unwrap());
    let wire = Bytes::from(frames(message, 1));
    Work::new(COUNT, move || {
        for _ in 0..COUNT {
            connection.receive(&wire);
        }
        // The same frames without their masks.
        assert_eq!(connection.written(), COUNT * (wire.len() - 4));
    })
}

fn many_a_wake(app: App, message: &Message) -> Work {
    let mut connection = Connection::open(&app.build().unwrap());
    let wire = Bytes::from(frames(message, COUNT));
    Work::new(COUNT, move || {
        connection.receive(&wire);
        assert_eq!(connection.written(), wire.len() - 4 * COUNT);
    })
}

fn deflated() -> Work {
    let own = Compression::new().client_context_takeover(false);
    let service = echo().options(Options::new().compression(own)).build().unwrap();
    let extension = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    let head = [&HEAD[..HEAD.len() - 2], extension].concat();
    let mut connection = Connection::open_with(&service, &head.into());
    let wire = Bytes::from(compressed(json().into()));
    Work::new(COUNT, move || {
        for _ in 0..COUNT {
            connection.receive(&wire);
        }
        assert_eq!(connection.written(), COUNT * (wire.len() - 4));
    })
}

fn socket_echo() -> App {
    App::new().ws("/", |route| {
        route.socket(async |mut socket| {
            while let Some(event) = socket.recv().await {
                if let Event::Message(message) = event {
                    let _ = socket.send(message).await;
                }
            }
        })
    })
}

/// The masking key of all that is received. Text of one or two bytes a character is still text
/// when it is masked with it.
pub(crate) const KEY: [u8; 4] = [1; 4];

pub(crate) const TEXT: &str = "Одна строка текста, and some of it is plain. ";

/// 1 KiB of JSON in which keys are alike and values are not.
pub(crate) fn json() -> String {
    let mut random = 1u32;
    let lines = std::iter::repeat_with(|| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (id, price, size) = (random >> 8, random % 100_000, random >> 24);
        format!(r#"{{"id":{id},"symbol":"S{size}","price":{price},"size":{size}}},"#)
    });
    kib(&lines.take(20).collect::<String>())
}

/// A text again and again, 1 KiB of it.
pub(crate) fn kib(of: &str) -> String {
    let mut text = of.repeat(1024 / of.len() + 1);
    let end = (0..=1024).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
    text.extend(std::iter::repeat_n('.', 1024 - text.len()));
    text
}

/// A message as a client sends it, `count` times.
pub(crate) fn frames(message: &Message, count: usize) -> Vec<u8> {
    let payload = message.as_bytes();
    let mut frame = vec![if message.is_text() { 0x81 } else { 0x82 }];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        medium @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame.repeat(count)
}
