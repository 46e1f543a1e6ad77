//! Connections that open, or never do.

use std::{
    io::{ErrorKind, Read, Write},
    iter,
    net::{Ipv4Addr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::Siege;
use crate::{
    Result, client,
    client::{CLOSE, frame},
};

/// The address that opens more than one may.
const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

pub(super) fn heads(siege: &Siege) -> Result<u64> {
    let send = || {
        let mut slots: Vec<Option<TcpStream>> = iter::repeat_with(|| None).take(2000).collect();
        while !siege.is_over() {
            let round = Instant::now();
            for slot in &mut slots {
                if !slot.as_mut().is_some_and(send_byte) {
                    *slot = Some(client::begin_from(ONE, siege.addr)?);
                    siege.count(1);
                }
            }
            while !siege.is_over() && round.elapsed() < Duration::from_secs(1) {
                thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    };
    siege.until_over(iter::once(send), || ())
}

/// Whether it can be sent, and the server has not ended the connection.
fn send_byte(stream: &mut TcpStream) -> bool {
    let would_block = |error: std::io::Error| error.kind() == ErrorKind::WouldBlock;
    stream.write(b"G").is_ok_and(|n| n == 1) && stream.read(&mut [0]).is_err_and(would_block)
}

pub(super) fn churn(siege: &Siege) -> Result<u64> {
    let close = frame(CLOSE, &1000_u16.to_be_bytes());
    let close = &close;
    let again = move || {
        while !siege.is_over() {
            let mut stream = siege.open("/echo")?;
            stream.write_all(close)?;
            let mut answer = [0; 4];
            stream.read_exact(&mut answer)?;
            if answer != [0x88, 2, 0x03, 0xe8] {
                return Err(format!("not a close frame: {}", answer.escape_ascii()).into());
            }
            siege.count(1);
        }
        Ok(())
    };
    siege.until_over(iter::repeat_n(again, 4), || ())
}

/// Descriptors that are left to the server.
const LEFT: u64 = 100;

pub(super) fn descriptors(siege: &Siege) -> Result<u64> {
    let most = siege.server.descriptors()? as u64 + LEFT;
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    let pid = Pid::from_raw(siege.server.0 as i32);
    prlimit(pid, Resource::Nofile, limit)?;
    let open = |_| {
        let mut stream = siege.connect()?;
        stream.write_all(client::request("/echo", "").as_bytes())?;
        Ok(stream)
    };
    let streams = (0..2 * LEFT).map(open).collect::<Result<_>>()?;
    siege.each(streams, |_, mut stream| {
        stream.read_exact(&mut [0; 12])?;
        siege.count(1);
        while !siege.is_over() {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    })
}
