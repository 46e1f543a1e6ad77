//! The header of a proxy in front of a server.

use std::time::Duration;

use axeom_ws::{Acceptor, App, Incoming, Io, Networks, Peer, ProxyProtocol, ProxyProtocolError};
use futures::io::Cursor;
use ppp::v2;

use crate::{
    on_every_runtime,
    support::{NOWHERE, TestRuntime, TestServer, bind, chain, frame::Frame, request::Request},
};

on_every_runtime!(
    the_client_that_a_proxy_names_is_the_peer,
    a_header_may_come_byte_by_byte,
    a_proxy_may_connect_for_itself,
    who_is_not_trusted_is_cut,
    what_is_no_header_is_cut,
    clients_are_counted_and_not_their_proxy,
    a_proxy_behind_a_proxy_is_not_counted_either
);

const GRACE: Duration = Duration::from_secs(10);
const LINE: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";

/// The addresses of the tests' own proxies.
fn own() -> Networks {
    Networks::new(["127.0.0.0/8", "::1"]).unwrap()
}

fn loopback() -> ProxyProtocol {
    ProxyProtocol::trusting(own())
}

/// Tells everyone who they are.
fn app() -> App {
    App::new().ws("/", |route| {
        route.open(async |ws| {
            let _ = ws.send(ws.peer().to_string()).await;
        })
    })
}

async fn serve<R: TestRuntime>(app: App) -> TestServer {
    TestServer::start_on(bind::<R>().await.acceptor(loopback()), app, GRACE)
}

/// A header of version 2 with one field behind the addresses.
fn binary(command: v2::Command, from: &str, to: &str) -> Vec<u8> {
    let addresses: (std::net::SocketAddr, std::net::SocketAddr) =
        (from.parse().unwrap(), to.parse().unwrap());
    let version = v2::Version::Two | command;
    v2::Builder::with_addresses(version, v2::Protocol::Stream, addresses)
        .write_tlv(v2::Type::Authority, b"chat.example.com")
        .unwrap()
        .build()
        .unwrap()
}

fn headers() -> Vec<(Vec<u8>, &'static str)> {
    let v6 = "PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n";
    let (four, six) = (["192.0.2.7:4711", "198.51.100.1:443"], "[2001:db8::7]:4711");
    // Of a Unix socket, there are the paths of both ends.
    let mut unix = v2::PROTOCOL_PREFIX.to_vec();
    unix.extend([0x21, 0x31, 0, 216]);
    unix.extend([b'x'; 216]);
    vec![
        (LINE.into(), four[0]),
        (v6.into(), six),
        (binary(v2::Command::Proxy, four[0], four[1]), four[0]),
        (binary(v2::Command::Proxy, six, "[2001:db8::1]:443"), six),
        (unix, "unix"),
    ]
}

async fn the_client_that_a_proxy_names_is_the_peer<R: TestRuntime>() {
    let server = serve::<R>(app()).await;
    for (header, client) in headers() {
        let mut raw = server.raw::<R>().await;
        // The request comes right behind it, in the same packet.
        raw.send([&header, Request::get("/").text().as_bytes()].concat()).await;
        assert_eq!(raw.head().await.status, 101);
        assert_eq!(raw.frame().await, Frame::text(client));
    }
}

async fn a_header_may_come_byte_by_byte<R: TestRuntime>() {
    let server = serve::<R>(app()).await;
    for (header, client) in headers() {
        let mut raw = server.raw::<R>().await;
        for byte in header {
            raw.send([byte]).await;
        }
        raw.upgrade("/").await;
        assert_eq!(raw.frame().await, Frame::text(client));
    }
}

async fn a_proxy_may_connect_for_itself<R: TestRuntime>() {
    let server = serve::<R>(app()).await;
    let longest = format!("PROXY UNKNOWN {0} {0} 65535 65535\r\n", ["ffff"; 8].join(":"));
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        longest.into_bytes(),
        binary(v2::Command::Local, "192.0.2.7:4711", "198.51.100.1:443"),
        [v2::PROTOCOL_PREFIX, &[0x20, 0, 0, 0]].concat(),
        [v2::PROTOCOL_PREFIX, &[0x21, 0, 0, 0]].concat(),
    ] {
        let mut raw = server.raw::<R>().await;
        raw.send([&header, Request::get("/").text().as_bytes()].concat()).await;
        assert_eq!(raw.head().await.status, 101);
        assert!(raw.frame().await.payload.starts_with(b"127.0.0.1:"));
    }
}

async fn who_is_not_trusted_is_cut<R: TestRuntime>() {
    let elsewhere = ProxyProtocol::trusting(Networks::new(["192.0.2.1"]).unwrap());
    let server = TestServer::start_on(bind::<R>().await.acceptor(elsewhere), app(), GRACE);
    let request = Request::get("/").text();
    for bytes in [format!("{LINE}{request}"), request] {
        let mut raw = server.raw::<R>().await;
        raw.try_send(bytes).await;
        assert_eq!(raw.read_to_end().await, b"");
    }
}

async fn what_is_no_header_is_cut<R: TestRuntime>() {
    let server = serve::<R>(app()).await;
    for bytes in malformed() {
        let mut raw = server.raw::<R>().await;
        raw.send([&bytes[..], &[b' '; 128]].concat()).await;
        assert_eq!(raw.read_to_end().await, b"", "{bytes:?}");
    }
    let mut raw = server.raw::<R>().await;
    raw.send(LINE).await;
    raw.upgrade("/").await;
}

fn malformed() -> Vec<Vec<u8>> {
    let prefix = v2::PROTOCOL_PREFIX;
    vec![
        Request::get("/").text().into(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\n\n".into(),
        b"PROXY TCP4 2001:db8::7 2001:db8::1 4711 443\r\n".into(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 70000\r\n".into(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1\r\n".into(),
        format!("PROXY UNKNOWN {}\r\n", "x".repeat(107)).into(),
        // A version, a command, and lengths that do not exist.
        [prefix, &[0x31, 0x11, 0, 12], &[0; 12]].concat(),
        [prefix, &[0x22, 0x11, 0, 12], &[0; 12]].concat(),
        [prefix, &[0x21, 0x11, 0, 11], &[0; 11]].concat(),
        [prefix, &[0x21, 0x31, 0, 36], &[0; 36]].concat(),
    ]
}

async fn clients_are_counted_and_not_their_proxy<R: TestRuntime>() {
    let server = serve::<R>(app().max_connections_per_ip(1)).await;
    let from = async |client: u8| {
        let mut raw = server.raw::<R>().await;
        raw.send(format!("PROXY TCP4 192.0.2.{client} 198.51.100.1 4711 443\r\n")).await;
        raw.send(Request::get("/").text()).await;
        let status = raw.head().await.status;
        (raw, status)
    };
    let (first, second, again) = (from(1).await, from(2).await, from(1).await);
    assert_eq!((first.1, second.1, again.1), (101, 101, 503));
}

async fn a_proxy_behind_a_proxy_is_not_counted_either<R: TestRuntime>() {
    let inner = Networks::new(["10.0.0.0/8"]).unwrap();
    let server = serve::<R>(app().trust_x_forwarded(inner).max_connections_per_ip(1)).await;
    let through = async || {
        let mut raw = server.raw::<R>().await;
        raw.send("PROXY TCP4 10.0.0.1 198.51.100.1 4711 443\r\n").await;
        raw
    };
    let from = async |client: &str| {
        let mut raw = through().await;
        raw.send(Request::get("/").and(format!("X-Forwarded-For: {client}")).text()).await;
        let status = raw.head().await.status;
        (raw, status)
    };
    let _silent = [through().await, through().await];
    let (first, second) = (from("192.0.2.1").await, from("192.0.2.2").await);
    assert_eq!((first.1, second.1, from("192.0.2.1").await.1), (101, 101, 503));
}

#[test]
fn an_error_names_the_peer_and_what_is_wrong() {
    let fails = |peer: Peer, said: &[u8]| {
        let incoming = Incoming::new(Io::new(Cursor::new(said.to_vec())), peer);
        futures::executor::block_on(loopback().accept(incoming)).unwrap_err()
    };
    for peer in [Peer::Unix, Peer::Memory, "192.0.2.9:7".parse().map(Peer::Ip).unwrap()] {
        let error = fails(peer, LINE.as_bytes());
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        assert_eq!(error.to_string(), format!("{peer} is not a proxy that is trusted"));
    }
    let error = fails(NOWHERE.into(), b"PROXY TCP5 192.0.2.7 198.51.100.1 4711 443\r\n");
    let inside = error.get_ref().unwrap().downcast_ref::<ProxyProtocolError>().unwrap();
    assert!(matches!(inside, ProxyProtocolError::Malformed { peer: Peer::Ip(NOWHERE), .. }));
    let expected = "the proxy 127.0.0.1:7 sent no valid header of the PROXY protocol: ";
    assert!(chain(inside).starts_with(expected), "{}", chain(inside));
    for bytes in malformed() {
        let bytes = [&bytes[..], &[b' '; 128]].concat();
        assert_eq!(fails(NOWHERE.into(), &bytes).kind(), std::io::ErrorKind::InvalidData);
    }
    let error = fails(NOWHERE.into(), b"PROXY TCP4 192.0.2.7");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);

    let unix = Incoming::new(Io::new(Cursor::new(LINE.as_bytes().to_vec())), Peer::Unix);
    let accepted =
        futures::executor::block_on(ProxyProtocol::trusting(own().and_unix()).accept(unix))
            .unwrap();
    assert_eq!(accepted.peer().to_string(), "192.0.2.7:4711");
    // An IPv4 address is the same one, written as an IPv6 address.
    assert!(loopback().is_proxy("[::ffff:127.0.0.1]:7".parse().map(Peer::Ip).unwrap()));
}
