//! A client on a thread of its own, which does not depend on the runtime under test.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use socket2::SockRef;

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

/// Reads `most` bytes, or up to the end: no more than 200 KiB/s for this long, and then all that
/// comes.
///
/// What the kernel takes ahead of it is the same small amount throughout. By itself the kernel
/// takes more the busier the machine is, and lets nothing more come until a part of that was read,
/// which a slow reader may need seconds for.
pub fn read_slowly(stream: &mut TcpStream, slow: Duration, most: usize) -> Vec<u8> {
    SockRef::from(&*stream).set_recv_buffer_size(32 * 1024).unwrap();
    let began = Instant::now();
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    while received.len() < most {
        match stream.read(&mut buffer) {
            Ok(n @ 1..) => received.extend_from_slice(&buffer[..n]),
            Ok(0) | Err(_) => break,
        }
        if began.elapsed() < slow {
            thread::sleep(Duration::from_millis(20));
        }
    }
    received
}
