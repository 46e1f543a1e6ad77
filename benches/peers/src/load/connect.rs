use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::Result;

/// How long a server may take to answer anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Where to connect, and as what.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    /// `None`: the server echoes bytes and knows no handshake.
    pub(crate) request: Option<Vec<u8>>,
}

impl Target {
    pub(crate) fn bytes(addr: SocketAddr) -> Self {
        Self { addr, request: None }
    }

    /// A WebSocket on this path; `headers` are whole lines.
    pub(crate) fn websocket(addr: SocketAddr, path: &str, headers: &str) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {KEY}\r\n{headers}\r\n"
        );
        Self { addr, request: Some(request.into()) }
    }

    /// A blocking connection, upgraded.
    pub(crate) fn connect(&self) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(self.addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let Some(request) = &self.request else { return Ok(stream) };
        stream.write_all(request)?;
        let mut head = [0; 2048];
        let mut filled = 0;
        while !head[..filled].ends_with(b"\r\n\r\n") {
            match stream.read(&mut head[filled..])? {
                0 => return Err(format!("no upgrade: {}", head[..filled].escape_ascii()).into()),
                n => filled += n,
            }
        }
        check_head(&head[..filled])?;
        Ok(stream)
    }
}

pub(crate) fn check_head(head: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(head)?;
    let upgraded = text.starts_with("HTTP/1.1 101") && text.contains(ACCEPT);
    if upgraded { Ok(()) } else { Err(format!("no upgrade: {}", head.escape_ascii()).into()) }
}
