//! What a TCP socket knows of the bytes that were written to it.
#![allow(unsafe_code, reason = "there is no safe way to ask for the send queue")]

use socket2::SockRef;

use super::Transport;

/// How many bytes of those that were written the peer has not taken, as far as the transport can
/// tell.
pub(crate) fn on_its_way(transport: &dyn Transport) -> u64 {
    transport.socket().and_then(|socket| unacknowledged(&socket)).unwrap_or(0)
}

/// Bounds the bytes that the kernel holds without having sent them, if there is a socket.
pub(crate) fn limit_unsent(transport: &dyn Transport, bytes: u32) {
    if let Some(socket) = transport.socket() {
        set_unsent_limit(&socket, bytes);
    }
}

/// How many bytes of those that were written the peer's TCP stack has not acknowledged, if that can
/// be asked.
///
/// A socket that accepts no more does not tell whether its peer is alive: Linux says that it can be
/// written to only when a third of its buffer is free, and may accept more at a retry than it did
/// before without the peer having taken anything.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn unacknowledged(socket: &SockRef<'_>) -> Option<u64> {
    use std::os::fd::AsRawFd;

    let mut bytes: libc::c_int = 0;
    // SAFETY: `TIOCOUTQ`, which is `SIOCOUTQ` for a socket, writes one `int` to the address that it
    // is given, and the descriptor is open for as long as `socket` borrows it.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if done == 0 { u64::try_from(bytes).ok() } else { None }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn unacknowledged(_: &SockRef<'_>) -> Option<u64> {
    None
}

/// Failing is no reason to refuse the connection: if it is broken, reading from it will say so.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn set_unsent_limit(socket: &SockRef<'_>, bytes: u32) {
    let _ = socket.set_tcp_notsent_lowat(bytes);
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn set_unsent_limit(_: &SockRef<'_>, _: u32) {}

#[cfg(all(test, not(loom), any(target_os = "linux", target_os = "android")))]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn what_a_peer_does_not_take_is_not_acknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(n) = ours.write(&[0; 64 * 1024]) {
            written += n;
        }
        let waiting = unacknowledged(&SockRef::from(&ours)).unwrap();
        assert!(waiting > 0 && waiting <= written as u64, "{waiting} of {written}");
        peer.read_exact(&mut vec![0; written]).unwrap();
        while unacknowledged(&SockRef::from(&ours)) != Some(0) {
            std::thread::yield_now();
        }
    }
}
