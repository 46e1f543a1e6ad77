//! The attackers' side of a connection: blocking sockets, and frames made beforehand.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    time::Duration,
};

use flate2::{Compress, Compression, FlushCompress};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType, bind, connect, socket, sockopt},
};

use crate::Result;

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
/// The first frame of a message, or the only one, of which the payload is compressed.
const COMPRESSED: u8 = 0x40;

/// How long a server may take to answer a handshake.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection from an address of its own to a server on the same machine.
pub(crate) fn from(source: Ipv4Addr, to: SocketAddr) -> Result<TcpStream> {
    let stream = bound(source)?;
    connect(&stream, &to)?;
    Ok(stream)
}

/// The same, without waiting until it is there, nor for anything later.
pub(crate) fn begin_from(source: Ipv4Addr, to: SocketAddr) -> Result<TcpStream> {
    let stream = bound(source)?;
    stream.set_nonblocking(true)?;
    match connect(&stream, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(stream),
        Err(error) => Err(error.into()),
    }
}

fn bound(source: Ipv4Addr) -> Result<TcpStream> {
    let stream = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&stream, &SocketAddrV4::new(source, 0))?;
    let stream = TcpStream::from(stream);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Has the kernel take little ahead of what is read.
pub(crate) fn with_small_buffer(stream: &TcpStream) -> Result<()> {
    Ok(sockopt::set_socket_recv_buffer_size(stream, 8 * 1024)?)
}

/// The request of a handshake.
pub(crate) fn request(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: siege\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         {headers}\r\n"
    )
}

/// Asks for a WebSocket, and reads the head of the answer.
pub(crate) fn upgrade(stream: &mut TcpStream, path: &str, headers: &str) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request(path, headers).as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    if !head.starts_with(b"HTTP/1.1 101") {
        return Err(format!("no upgrade: {}", head.escape_ascii()).into());
    }
    Ok(())
}

/// A frame that is a whole message.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    part(0x80 | opcode, payload)
}

/// A frame, with the bits before the opcode as they are given.
pub(crate) fn part(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = header(first, payload.len() as u64);
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// What announces a masked payload of this length, up to its key.
pub(crate) fn header(first: u8, len: u64) -> Vec<u8> {
    let mut header = vec![first];
    match len {
        0..=125 => header.push(0x80 | len as u8),
        126..=0xffff => {
            header.push(0x80 | 126);
            header.extend((len as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend(len.to_be_bytes());
        }
    }
    header
}

/// A message of so many zeros, compressed.
pub(crate) fn bomb(len: usize) -> Result<Vec<u8>> {
    let mut deflated = Vec::with_capacity(len / 100);
    Compress::new(Compression::best(), false).compress_vec(
        &vec![0; len],
        &mut deflated,
        FlushCompress::Sync,
    )?;
    // The tail of each message is left out (RFC 7692 §7.2.1).
    deflated.truncate(deflated.len() - 4);
    Ok(frame(COMPRESSED | BINARY, &deflated))
}

/// Reads until the server ends the connection, or the attack does.
pub(crate) fn wait_for_the_end(mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(None)?;
    while stream.read(&mut [0; 1024])? > 0 {}
    Ok(())
}
