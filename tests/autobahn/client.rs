//! The engine as a client, echoing against Autobahn's fuzzing server: `run.py --client`
//! starts both.
//!
//! ```text
//! cargo run --release --example autobahn_client -- --addr 127.0.0.1:9001
//! ```

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use async_tungstenite::tungstenite::handshake::client::generate_key;
use axeom_ws::{
    BoxError, CloseFrame, Compression, Event, Message,
    handshake::{agreed_deflate, check_response, offer_deflate},
    http::Response,
    protocol::{Inbound, Limits, Outbound, Role},
};

const USAGE: &str = "options:
  --addr ADDR    where the fuzzing server is (default: 127.0.0.1:9001)
  --agent NAME   what its report calls this client (default: axeom-ws)";

/// The suite gives up on a case long before.
const TIMEOUT: Duration = Duration::from_secs(100);

fn main() -> Result<(), BoxError> {
    let (mut addr, mut agent) = (SocketAddr::from(([127, 0, 0, 1], 9001)), "axeom-ws".to_owned());
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            lexopt::Arg::Long("addr") => addr = parser.value()?.to_string_lossy().parse()?,
            lexopt::Arg::Long("agent") => agent = parser.value()?.to_string_lossy().into_owned(),
            other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
        }
    }

    let mut count = 0;
    Client::connect(addr, "/getCaseCount")?.run(|message| {
        count = message.to_string().parse().unwrap_or(0);
        None
    })?;
    println!("{count} cases");
    for case in 1..=count {
        Client::connect(addr, &format!("/runCase?case={case}&agent={agent}"))
            .and_then(|client| client.run(Some))
            .map_err(|error| format!("case number {case}: {error}"))?;
    }
    Client::connect(addr, &format!("/updateReports?agent={agent}"))?.run(|_| None)
}

/// One connection, after its handshake.
struct Client {
    stream: TcpStream,
    inbound: Inbound,
    outbound: Outbound,
    /// Received and not consumed.
    input: Vec<u8>,
}

impl Client {
    fn connect(addr: SocketAddr, target: &str) -> Result<Self, BoxError> {
        let compression = Compression::new().threshold(0).server_context_takeover(true);
        let key = generate_key();
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        write!(
            stream,
            "GET {target} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\
             Sec-WebSocket-Extensions: {}\r\n\r\n",
            offer_deflate(&compression)
        )?;
        let mut input = Vec::new();
        let response = read_response(&mut stream, &mut input)?;
        let agreed = match &check_response(&response, &key, &[])?[..] {
            [] => None,
            [one] => Some(agreed_deflate(one, &compression).ok_or("an unusable answer")?),
            _ => return Err("more extensions than were offered".into()),
        };

        // The suite cuts 4 MiB into fragments of 64 bytes.
        let limits = Limits::new().message_size(1 << 25).fragments(1 << 17);
        let mut inbound = Inbound::new(Role::Client, limits);
        let mut outbound = Outbound::new(Role::Client);
        if let Some(params) = agreed {
            inbound = inbound.with_deflate(params);
            outbound = outbound.with_deflate(params, &compression);
        }
        Ok(Self { stream, inbound, outbound, input })
    }

    /// Sends what `answer` makes of each message, until the server ends the connection.
    fn run(mut self, mut answer: impl FnMut(Message) -> Option<Message>) -> Result<(), BoxError> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            self.receive(&mut answer);
            if let Err(error) = self.stream.write_all(&self.outbound.take().to_vec()) {
                return gone(error);
            }
            let n = match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) => return gone(error),
            };
            self.input.extend_from_slice(&buffer[..n]);
        }
    }

    fn receive(&mut self, answer: &mut impl FnMut(Message) -> Option<Message>) {
        let mut consumed = 0;
        loop {
            let received = match self.inbound.receive(&mut self.input[consumed..]) {
                Ok(received) => received,
                Err(violation) => {
                    let frame = CloseFrame::new(violation.close_code(), violation.to_string());
                    self.outbound.close(frame);
                    self.input.clear();
                    return;
                }
            };
            consumed += received.consumed;
            match received.event {
                Some(Event::Message(message)) => {
                    if let Some(message) = answer(message) {
                        self.outbound.message(message);
                    }
                }
                Some(Event::Ping(payload)) => self.outbound.pong(payload),
                Some(Event::Close(frame)) => {
                    self.outbound.close(frame);
                }
                Some(_) => {}
                None => break,
            }
        }
        self.input.drain(..consumed);
    }
}

/// The server may cut the connection; what it thinks of that is in its report.
fn gone(error: io::Error) -> Result<(), BoxError> {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error.into()),
    }
}

/// Reads a response head; what came after it stays in `input`.
fn read_response(stream: &mut TcpStream, input: &mut Vec<u8>) -> Result<Response<()>, BoxError> {
    let end = loop {
        if let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        let mut buffer = [0; 1024];
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Err("the connection ended in the response head".into());
        }
        input.extend_from_slice(&buffer[..n]);
    };
    let head: Vec<u8> = input.drain(..end + 4).take(end).collect();
    let head = String::from_utf8(head)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let mut response = Response::builder().status(status);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or("a header line without a colon")?;
        response = response.header(name, value.trim());
    }
    Ok(response.body(())?)
}
