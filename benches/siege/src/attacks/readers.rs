//! Peers that read slowly, or not at all.

use std::{
    io::{Read, Write},
    thread,
    time::Duration,
};

use super::Siege;
use crate::{
    Result,
    client::{self, BINARY, frame},
};

const READERS: usize = 50;

pub(super) fn room(siege: &Siege) -> Result<u64> {
    let message = frame(BINARY, &[0; 16 * 1024]);
    let mut streams = siege.open_many(READERS, "/room")?;
    streams.iter().try_for_each(client::with_small_buffer)?;
    streams.push(siege.open("/publish")?);
    siege.each(streams, |index, mut stream| {
        loop {
            if index < READERS {
                stream.read_exact(&mut [0; 512])?;
                thread::sleep(Duration::from_millis(100));
            } else {
                stream.write_all(&message)?;
                siege.count(1);
                thread::sleep(Duration::from_millis(1));
            }
        }
    })
}

pub(super) fn pages(siege: &Siege) -> Result<u64> {
    let ask = |_| {
        let mut stream = siege.connect()?;
        client::with_small_buffer(&stream)?;
        stream.write_all(b"GET /page HTTP/1.1\r\nHost: siege\r\n\r\n")?;
        // The server has begun to answer.
        stream.peek(&mut [0])?;
        siege.count(1);
        Ok(stream)
    };
    let streams = (0..40).map(ask).collect::<Result<_>>()?;
    siege.each(streams, |_, stream| {
        while !siege.is_over() {
            thread::sleep(Duration::from_millis(20));
        }
        drop(stream);
        Ok(())
    })
}
