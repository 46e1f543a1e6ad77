//! A client on a thread of its own, which does not depend on the runtime under test.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::request::Request;

/// A connection after its handshake.
pub fn open(addr: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(Request::get(path).text().as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    stream
}
