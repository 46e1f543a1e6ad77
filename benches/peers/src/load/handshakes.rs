use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    time::Duration,
};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use super::{Load, Opcode, Target, connect::check_head, frames::encode, poll::Poll};
use crate::Result;

const CLOSE: u8 = 0x88;

/// Connects, upgrades, closes with 1000, and begins again.
#[derive(Debug)]
pub(crate) struct Handshakes {
    poll: Poll,
    target: Target,
    conns: Vec<Conn>,
    close: Vec<u8>,
    /// How many connections there were: each comes from another address than the one
    /// before, so that the ports of those that linger are not missed.
    count: u32,
}

#[derive(Debug)]
struct Conn {
    stream: TcpStream,
    upgraded: bool,
    head: Vec<u8>,
}

impl Handshakes {
    /// So many at the same time.
    pub(crate) fn new(target: Target, connections: usize) -> Result<Self> {
        let mut close = Vec::new();
        encode(&mut close, Opcode::Close, &1000_u16.to_be_bytes(), Some([7, 99, 140, 23]));
        let poll = Poll::new()?;
        let mut this = Self { poll, target, conns: Vec::new(), close, count: 0 };
        for index in 0..connections {
            let conn = this.connect(index)?;
            this.conns.push(conn);
        }
        Ok(this)
    }

    fn connect(&mut self, index: usize) -> Result<Conn> {
        let from = Ipv4Addr::new(127, 0, 1, 1 + (self.count % 250) as u8);
        self.count += 1;
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddr::V4(SocketAddrV4::new(from, 0)))?;
        connect(&socket, &self.target.addr)?;
        let mut stream = TcpStream::from(socket);
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        stream.write_all(self.target.request.as_ref().ok_or("no handshake")?)?;
        self.poll.add(&stream, index)?;
        Ok(Conn { stream, upgraded: false, head: Vec::new() })
    }

    /// Returns whether a connection was closed in good order.
    fn ready(&mut self, index: usize) -> Result<bool> {
        let conn = &mut self.conns[index];
        let mut buffer = [0; 2048];
        let n = match conn.stream.read(&mut buffer) {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if conn.upgraded {
            if buffer[..n].first() != Some(&CLOSE) {
                return Err("the server closed without a close frame".into());
            }
            self.conns[index] = self.connect(index)?;
            return Ok(true);
        }
        conn.head.extend_from_slice(&buffer[..n]);
        if n == 0 || conn.head.ends_with(b"\r\n\r\n") {
            check_head(&conn.head)?;
            conn.upgraded = true;
            conn.stream.write_all(&self.close)?;
        }
        Ok(false)
    }
}

impl Load for Handshakes {
    fn run(&mut self, time: Duration) -> Result<u64> {
        let poll = self.poll.try_clone()?;
        let mut total = 0;
        poll.run(time, |index, _| {
            total += u64::from(self.ready(index)?);
            Ok(false)
        })?;
        Ok(total)
    }
}
