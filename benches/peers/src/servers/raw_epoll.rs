//! The baseline: a byte echo on epoll and nothing else.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    mem::MaybeUninit,
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
};

use rustix::{
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
    io::Errno,
};

use super::announce;
use crate::Result;

/// One for all: large enough that a larger one makes no message cheaper.
const BUFFER: usize = 256 * 1024;

struct Conn {
    stream: TcpStream,
    /// What the socket did not take. Nothing is read until it did.
    rest: Vec<u8>,
}

pub(super) fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    announce(listener.local_addr()?);

    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    let data = |fd: i32| EventData::new_u64(fd as u64);
    let accepts = listener.as_raw_fd();
    epoll::add(&poll, &listener, data(accepts), EventFlags::IN)?;
    let mut conns: HashMap<i32, Conn> = HashMap::new();
    let mut buffer = vec![0; BUFFER];
    let mut space = [MaybeUninit::<Event>::uninit(); 512];
    loop {
        let events = match epoll::wait(&poll, &mut space, None) {
            Ok((events, _)) => events,
            // A tracer came or went.
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for event in events {
            let fd = event.data.u64() as i32;
            if fd == accepts {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                epoll::add(&poll, &stream, data(stream.as_raw_fd()), EventFlags::IN)?;
                conns.insert(stream.as_raw_fd(), Conn { stream, rest: Vec::new() });
                continue;
            }
            let conn = conns.get_mut(&fd).ok_or("an unknown descriptor")?;
            let was_full = !conn.rest.is_empty();
            if !conn.echo(&mut buffer) {
                conns.remove(&fd);
                continue;
            }
            let is_full = !conn.rest.is_empty();
            if is_full != was_full {
                let flags = if is_full { EventFlags::OUT } else { EventFlags::IN };
                epoll::modify(&poll, &conn.stream, data(fd), flags)?;
            }
        }
    }
}

impl Conn {
    /// Returns false if the connection is over.
    fn echo(&mut self, buffer: &mut [u8]) -> bool {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            return self.write(&rest);
        }
        match self.stream.read(buffer) {
            Ok(0) => false,
            Ok(n) => self.write(&buffer[..n]),
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        let written = match self.stream.write(bytes) {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return false,
        };
        self.rest = bytes[written..].to_vec();
        true
    }
}
