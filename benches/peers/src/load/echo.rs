use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use rustix::event::epoll::EventFlags;

use super::{Frames, Load, Target, poll::Poll};
use crate::Result;

/// When the next message is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// Every connection keeps so many in flight.
    Each(usize),
    /// All connections together keep so many in flight, and take turns.
    Turns(usize),
}

/// Sends messages that come back.
#[derive(Debug)]
pub(crate) struct Echo {
    poll: Poll,
    frames: Frames,
    conns: Vec<Conn>,
    pace: Pace,
    /// Whose turn it is, if they take turns.
    turn: usize,
    started: bool,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Conn {
    stream: TcpStream,
    /// Bytes received, and the answers in them.
    received: usize,
    answers: usize,
    /// Where in the frames the next byte to send is, and how many are due.
    at: usize,
    due: usize,
    wants_room: bool,
}

impl Echo {
    pub(crate) fn new(
        target: &Target,
        connections: usize,
        pace: Pace,
        frames: Frames,
    ) -> Result<Self> {
        let poll = Poll::new()?;
        let mut conns = Vec::with_capacity(connections);
        for index in 0..connections {
            let stream = target.connect()?;
            stream.set_nonblocking(true)?;
            poll.add(&stream, index)?;
            conns.push(Conn { stream, received: 0, answers: 0, at: 0, due: 0, wants_room: false });
        }
        let buffer = vec![0; 256 * 1024];
        Ok(Self { poll, frames, conns, pace, turn: 0, started: false, buffer })
    }

    fn start(&mut self) -> Result<()> {
        match self.pace {
            Pace::Each(count) => {
                for (index, conn) in self.conns.iter_mut().enumerate() {
                    conn.due = count * self.frames.len;
                    conn.send(&self.poll, index, &self.frames)?;
                }
            }
            Pace::Turns(count) => {
                for (index, conn) in self.conns.iter_mut().enumerate().take(count) {
                    conn.due = self.frames.len;
                    conn.send(&self.poll, index, &self.frames)?;
                }
                self.turn = count % self.conns.len();
            }
        }
        Ok(())
    }

    /// Sends until `enough` answers came or the time is over.
    pub(crate) fn run_for(&mut self, time: Duration, enough: u64) -> Result<u64> {
        if !std::mem::replace(&mut self.started, true) {
            self.start()?;
        }
        let Self { poll, frames, conns, pace, turn, buffer, .. } = self;
        let mut total = 0;
        poll.run(time, |index, ready| {
            let conn = &mut conns[index];
            if ready.contains(EventFlags::OUT) {
                conn.send(poll, index, frames)?;
            }
            if !ready.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                return Ok(false);
            }
            let answers = conn.receive(frames, buffer)?;
            total += answers as u64;
            if answers > 0 && matches!(pace, Pace::Each(_)) {
                conn.due += answers * frames.len;
                conn.send(poll, index, frames)?;
            } else {
                for _ in 0..answers {
                    let next = *turn;
                    *turn = (next + 1) % conns.len();
                    conns[next].due += frames.len;
                    conns[next].send(poll, next, frames)?;
                }
            }
            Ok(total >= enough)
        })?;
        Ok(total)
    }
}

impl Load for Echo {
    fn run(&mut self, time: Duration) -> Result<u64> {
        self.run_for(time, u64::MAX)
    }
}

impl Conn {
    /// Sends what is due in as few writes as the socket takes.
    fn send(&mut self, poll: &Poll, index: usize, frames: &Frames) -> Result<()> {
        while self.due > 0 {
            match self.stream.write(frames.next(self.at, self.due)) {
                Ok(n) => {
                    self.at = frames.advance(self.at, n);
                    self.due -= n;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let wants_room = self.due > 0;
        if wants_room != self.wants_room {
            self.wants_room = wants_room;
            poll.want_room(&self.stream, index, wants_room)?;
        }
        Ok(())
    }

    /// Reads once. Returns how many answers that completed.
    fn receive(&mut self, frames: &Frames, buffer: &mut [u8]) -> Result<usize> {
        let n = match self.stream.read(buffer) {
            Ok(0) => return Err("the server closed a connection".into()),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        // The first answer byte for byte, the others by their length.
        if let Some(expected) = frames.answer.get(self.received..) {
            let both = n.min(expected.len());
            if buffer[..both] != expected[..both] {
                let got = buffer[..both.min(40)].escape_ascii();
                return Err(format!("not the echo, at byte {}: {got}", self.received).into());
            }
        }
        self.received += n;
        let answers = self.received / frames.answer.len() - self.answers;
        self.answers += answers;
        Ok(answers)
    }
}
