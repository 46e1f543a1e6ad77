//! Messages that are large, or say that they are, or never end.

use std::{
    io::{Read, Write},
    thread,
    time::Duration,
};

use super::Siege;
use crate::{
    Result, client,
    client::{BINARY, CONTINUATION, TEXT},
};

/// The largest message that ours take, by default.
const LARGE: usize = 16 << 20;

/// As many as the handlers take about the time of the attack for.
const BOMBS: usize = 6;

pub(super) fn bombs(siege: &Siege) -> Result<u64> {
    let bomb = client::bomb(LARGE)?;
    let open = |_| {
        let mut stream = siege.connect()?;
        let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        client::upgrade(&mut stream, "/busy", offer)?;
        Ok(stream)
    };
    let streams = (0..40).map(open).collect::<Result<_>>()?;
    siege.each(streams, |_, mut stream| {
        for _ in 0..siege.times(BOMBS) {
            stream.write_all(&bomb)?;
            siege.count(1);
        }
        client::wait_for_the_end(stream)
    })
}

pub(super) fn announced(siege: &Siege) -> Result<u64> {
    let streams = siege.open_many(200, "/echo")?;
    siege.each(streams, |index, mut stream| {
        let len = if index % 2 == 0 { LARGE as u64 } else { 1 << 40 };
        // The length, a key, and a byte.
        let start = [client::header(0x80 | BINARY, len), vec![0; 5]].concat();
        stream.write_all(&start)?;
        siege.count(1);
        client::wait_for_the_end(stream)
    })
}

pub(super) fn trickle(siege: &Siege) -> Result<u64> {
    let (first, next) = (client::part(TEXT, &[b'x'; 64]), client::part(CONTINUATION, &[b'x'; 64]));
    let streams = siege.open_many(200, "/echo")?;
    siege.each(streams, |_, mut stream| {
        stream.write_all(&first)?;
        loop {
            siege.count(1);
            thread::sleep(Duration::from_millis(30));
            stream.write_all(&next)?;
        }
    })
}

pub(super) fn large(siege: &Siege) -> Result<u64> {
    let message = client::frame(BINARY, &vec![b'x'; LARGE]);
    let streams = siege.open_many(8, "/echo")?;
    thread::scope(|scope| {
        let peers = streams.into_iter().map(|mut stream| {
            let message = &message;
            scope.spawn(move || -> Result<u64> {
                let mut answer = vec![0; 10 + LARGE];
                let rounds = siege.times(10) as u64;
                for _ in 0..rounds {
                    stream.write_all(message)?;
                    stream.read_exact(&mut answer)?;
                    if answer[..2] != [0x80 | BINARY, 127]
                        || answer[10..].iter().any(|&byte| byte != b'x')
                    {
                        return Err("not the echo of a large message".into());
                    }
                }
                Ok(rounds)
            })
        });
        let peers: Vec<_> = peers.collect();
        let rounds = peers.into_iter().map(|peer| peer.join().map_err(|_| "a peer panicked")?);
        rounds.sum()
    })
}
