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
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    /// `None`: the server echoes bytes and knows no handshake.
    pub(crate) request: Option<Vec<u8>>,
    /// Whole lines.
    headers: &'static str,
}

impl Target {
    pub(crate) fn bytes(addr: SocketAddr) -> Self {
        Self { addr, request: None, headers: "" }
    }

    /// A WebSocket on this path.
    pub(crate) fn websocket(addr: SocketAddr, path: &str, headers: &'static str) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {KEY}\r\n{headers}\r\n"
        );
        Self { addr, request: Some(request.into()), headers }
    }

    /// The same server on another path.
    pub(crate) fn at(&self, path: &str) -> Self {
        let headers = self.headers;
        Self::websocket(self.addr, path, headers)
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

/// Checks the answer to a handshake.
pub(super) fn check_head(head: &[u8]) -> Result<()> {
    let has = |part: &str| head.windows(part.len()).any(|window| window == part.as_bytes());
    if head.starts_with(b"HTTP/1.1 101") && has(ACCEPT) {
        return Ok(());
    }
    Err(format!("no upgrade: {}", head.escape_ascii()).into())
}
