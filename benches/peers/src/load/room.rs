//! Rooms: what one says, all hear.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::{Load, Opcode, Target, frames::encode, poll::Poll};
use crate::Result;

/// One connection publishes, all hear it, itself included; so many messages are under way.
#[derive(Debug)]
pub(crate) struct Broadcast {
    room: Room,
    frame: Vec<u8>,
    heard: Vec<u8>,
    /// How many have heard each message that is under way, oldest first, and how many were
    /// heard by all.
    under_way: VecDeque<usize>,
    complete: usize,
    window: usize,
}

/// All connections and what they hear.
#[derive(Debug)]
struct Room {
    poll: Poll,
    conns: Vec<Conn>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Conn {
    stream: TcpStream,
    received: usize,
}

impl Room {
    fn new(conns: Vec<TcpStream>) -> Result<Self> {
        let poll = Poll::new()?;
        for (index, stream) in conns.iter().enumerate() {
            stream.set_nonblocking(true)?;
            poll.add(stream, index)?;
        }
        let conns = conns.into_iter().map(|stream| Conn { stream, received: 0 }).collect();
        Ok(Self { poll, conns, buffer: vec![0; 256 * 1024] })
    }
}

impl Conn {
    fn receive<'a>(&mut self, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
        let n = match self.stream.read(buffer) {
            Ok(0) => return Err("the server closed a connection".into()),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        self.received += n;
        Ok(&buffer[..n])
    }
}

impl Broadcast {
    pub(crate) fn new(
        target: &Target,
        subscribers: usize,
        window: usize,
        payload: &[u8],
    ) -> Result<Self> {
        let conns = (0..subscribers).map(|_| target.connect()).collect::<Result<_>>()?;
        // A server may subscribe a connection just after it has upgraded it.
        std::thread::sleep(Duration::from_millis(50));
        let (mut frame, mut heard) = (Vec::new(), Vec::new());
        encode(&mut frame, Opcode::Binary, payload, Some([0x37, 0xfa, 0x21, 0x3d]));
        encode(&mut heard, Opcode::Binary, payload, None);
        let mut this = Self {
            room: Room::new(conns)?,
            frame,
            heard,
            under_way: VecDeque::new(),
            complete: 0,
            window,
        };
        this.publish()?;
        Ok(this)
    }

    /// Fills the window.
    fn publish(&mut self) -> Result<()> {
        let count = self.window - self.under_way.len();
        self.under_way.resize(self.window, 0);
        // So few bytes that the socket takes them.
        Ok(self.room.conns[0].stream.write_all(&self.frame.repeat(count))?)
    }

    /// Counts what a connection heard.
    fn ready(&mut self, index: usize) -> Result<u64> {
        let len = self.heard.len();
        let conn = &mut self.room.conns[index];
        let before = conn.received;
        let bytes = conn.receive(&mut self.room.buffer)?;
        // The first message byte for byte, the others by their length.
        if let Some(expected) = self.heard.get(before..) {
            let both = bytes.len().min(expected.len());
            if bytes[..both] != expected[..both] {
                return Err("not what was published".into());
            }
        }
        let messages = before / len..conn.received / len;
        for message in messages.clone() {
            let heard = message.checked_sub(self.complete);
            let heard = heard.and_then(|at| self.under_way.get_mut(at));
            *heard.ok_or("more was heard than was published")? += 1;
        }
        while self.under_way.front() == Some(&self.room.conns.len()) {
            self.under_way.pop_front();
            self.complete += 1;
        }
        if self.under_way.len() < self.window {
            self.publish()?;
        }
        Ok(messages.len() as u64)
    }
}

impl Load for Broadcast {
    fn run(&mut self, time: Duration) -> Result<u64> {
        let poll = self.room.poll.try_clone()?;
        let mut total = 0;
        poll.run(time, |index, _| {
            total += self.ready(index)?;
            Ok(false)
        })?;
        Ok(total)
    }
}

/// What is said in the chat room, by each client 32 times in a burst: 1 600 messages.
const LINES: &[&str] = &[
    "Hello World!",
    "Hello World! 1",
    "Hello World! 2",
    "What is the meaning of life?",
    "where is the bathroom?",
    "zoo",
    "kangaroo",
    "erlang",
    "elixir",
    "bun",
];
const LINES_EACH: usize = 1600;

/// Every client says everything at once; when all heard all of it, they begin again.
#[derive(Debug)]
pub(crate) struct Chat {
    room: Room,
    /// What one client sends in a burst, and how much of it each has yet to send.
    burst: Vec<u8>,
    due: Vec<usize>,
    /// Bytes and messages that each client hears in a round, and those who heard them all.
    round: usize,
    messages: usize,
    complete: usize,
    /// Bytes that do not make a message yet.
    rest: u64,
}

impl Chat {
    pub(crate) fn new(target: &Target, clients: usize) -> Result<Self> {
        let names: Vec<_> = (0..clients).map(|n| format!("client{n}")).collect();
        let conns = names.iter().map(|name| target.at(&format!("/{name}")).connect());
        let mut conns = conns.collect::<Result<Vec<_>>>()?;
        std::thread::sleep(Duration::from_millis(50));
        for (index, name) in names.iter().enumerate() {
            let (mut said, mut heard) = (Vec::new(), Vec::new());
            encode(&mut said, Opcode::Text, b"ready", Some([1, 2, 3, 4]));
            encode(&mut heard, Opcode::Text, format!("{name}: ready").as_bytes(), None);
            conns[index].write_all(&said)?;
            for conn in &mut conns {
                let mut got = vec![0; heard.len()];
                conn.read_exact(&mut got)?;
                if got != heard {
                    return Err(format!("not what {name} said: {}", got.escape_ascii()).into());
                }
            }
        }

        let (mut burst, mut round) = (Vec::new(), Vec::new());
        for (n, line) in LINES.iter().cycle().take(LINES_EACH).enumerate() {
            let key = (0x37fa_213d_u32.wrapping_mul(2 * n as u32 + 1)).to_be_bytes();
            encode(&mut burst, Opcode::Text, line.as_bytes(), Some(key));
            for name in &names {
                encode(&mut round, Opcode::Text, format!("{name}: {line}").as_bytes(), None);
            }
        }
        let due = vec![burst.len(); clients];
        let mut this = Self {
            room: Room::new(conns)?,
            burst,
            due,
            round: round.len(),
            messages: LINES_EACH * clients,
            complete: 0,
            rest: 0,
        };
        this.send_all()?;
        Ok(this)
    }

    fn send_all(&mut self) -> Result<()> {
        (0..self.due.len()).try_for_each(|index| self.send(index))
    }

    fn send(&mut self, index: usize) -> Result<()> {
        while self.due[index] > 0 {
            let from = self.burst.len() - self.due[index];
            match self.room.conns[index].stream.write(&self.burst[from..]) {
                Ok(n) => self.due[index] -= n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Counts the bytes that a client heard.
    fn ready(&mut self, index: usize) -> Result<usize> {
        let conn = &mut self.room.conns[index];
        let heard = conn.receive(&mut self.room.buffer)?.len();
        if conn.received > self.round {
            return Err("more was heard than was said".into());
        }
        if heard > 0 && conn.received == self.round {
            self.complete += 1;
        }
        if self.due[index] > 0 {
            self.send(index)?;
        }
        if self.complete == self.due.len() {
            self.complete = 0;
            self.due.fill(self.burst.len());
            self.room.conns.iter_mut().for_each(|conn| conn.received = 0);
            self.send_all()?;
        }
        Ok(heard)
    }
}

impl Load for Chat {
    fn run(&mut self, time: Duration) -> Result<u64> {
        let poll = self.room.poll.try_clone()?;
        let mut bytes = 0;
        poll.run(time, |index, _| {
            bytes += self.ready(index)?;
            Ok(false)
        })?;
        // Messages are of several lengths: as many of them as of the bytes.
        let heard = bytes as u64 * self.messages as u64 + self.rest;
        self.rest = heard % self.round as u64;
        Ok(heard / self.round as u64)
    }
}
