//! What a server listens on.

use std::{
    future::{Future, poll_fn},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use axeom_ws::{App, Incoming, Listener, LocalAddr, Server, TcpOptions};

use crate::{
    on_every_runtime,
    support::{
        TestRuntime, TestServer, bind,
        frame::{self, Frame, TEXT},
        raw::Raw,
        until,
    },
};

on_every_runtime!(
    several_listeners_serve_one_app,
    each_listener_has_its_own_acceptors,
    an_error_of_one_listener_does_not_stop_another,
    a_socket_that_the_program_bound_is_served
);

const GRACE: Duration = Duration::from_secs(10);

/// A room in which everyone hears everyone, and is told who they are.
fn room() -> App {
    App::new().ws("/", |route| {
        route
            .open(async |ws| {
                ws.subscribe("room");
                let _ = ws.send(ws.peer().to_string()).await;
            })
            .message(async |ws, msg| {
                ws.publish("room", msg);
            })
    })
}

async fn connect<R: TestRuntime>(addr: SocketAddr) -> Raw {
    Raw::new(R::connect_tcp(addr).await)
}

async fn several_listeners_serve_one_app<R: TestRuntime>() {
    let servers = bind::<R>().await.and(bind::<R>().await.and(bind::<R>().await));
    let addrs: Vec<_> = servers.local_addrs().map(|addr| addr.socket_addr().unwrap()).collect();
    assert_eq!((addrs.len(), servers.local_addr().socket_addr()), (3, Some(addrs[0])));
    let mut server = TestServer::start_on(servers, room(), GRACE);
    let mut peers = Vec::new();
    for addr in &addrs {
        let mut raw = connect::<R>(*addr).await;
        raw.upgrade("/").await;
        raw.frame().await;
        peers.push(raw);
    }
    peers[0].send(frame::masked(TEXT, b"to all")).await;
    for peer in &mut peers[1..] {
        assert_eq!(peer.frame().await, Frame::text("to all"));
    }
    server.handle.shutdown();
    for peer in &mut peers {
        assert_eq!(peer.close_code().await, 1001);
    }
    (&mut server.ended).await.unwrap().unwrap();
    for addr in addrs {
        assert!(std::net::TcpStream::connect(addr).is_err(), "{addr} is still listened on");
    }
}

async fn each_listener_has_its_own_acceptors<R: TestRuntime>() {
    let refuses = async |_: Incoming| Err(io::Error::other("nobody comes in here"));
    let named = async |mut incoming: Incoming| {
        incoming.set_peer(SocketAddr::from(([192, 0, 2, 7], 4711)));
        Ok(incoming)
    };
    let (open, shut) = (bind::<R>().await, bind::<R>().await);
    // The last is for both.
    let servers = open.and(shut.acceptor(refuses)).acceptor(named);
    let addrs: Vec<_> = servers.local_addrs().map(|addr| addr.socket_addr().unwrap()).collect();
    let _server = TestServer::start_on(servers, room(), GRACE);
    assert_eq!(connect::<R>(addrs[1]).await.read_to_end().await, b"");
    let mut raw = connect::<R>(addrs[0]).await;
    raw.upgrade("/").await;
    assert_eq!(raw.frame().await, Frame::text("192.0.2.7:4711"));
}

/// Fails whenever it is asked, and counts how often that is.
struct Broken(Arc<AtomicUsize>);

impl Listener for Broken {
    fn accept(&self) -> impl Future<Output = io::Result<Incoming>> + Send {
        self.0.fetch_add(1, Ordering::Relaxed);
        poll_fn(|_| Poll::Ready(Err(io::Error::other("it is broken"))))
    }

    fn local_addr(&self) -> io::Result<LocalAddr> {
        Ok(LocalAddr::Memory)
    }
}

async fn an_error_of_one_listener_does_not_stop_another<R: TestRuntime>() {
    let failed = Arc::new(AtomicUsize::new(0));
    let broken = Server::on(Broken(Arc::clone(&failed))).unwrap();
    let server = TestServer::start_on(bind::<R>().await.and(broken), room(), GRACE);
    until(|| failed.load(Ordering::Relaxed) > 0).await;
    let mut raw = server.upgraded::<R>("/").await;
    assert!(raw.frame().await.payload.starts_with(b"127.0.0.1:"));
    // It is asked again, too.
    let before = failed.load(Ordering::Relaxed);
    until(|| failed.load(Ordering::Relaxed) > before).await;
}

async fn a_socket_that_the_program_bound_is_served<R: TestRuntime>() {
    let bound = TcpOptions::new().backlog(16).bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = bound.local_addr().unwrap();
    let server = Server::<R>::on(R::listener(bound).unwrap()).unwrap();
    assert_eq!((server.local_addr().port(), server.local_addr().path()), (Some(addr.port()), None));
    assert_eq!(server.local_addr().to_string(), addr.to_string());
    let server = TestServer::start_on(server, room(), GRACE);
    server.upgraded::<R>("/").await.frame().await;
}

#[cfg(unix)]
mod unix {
    use std::{
        fs,
        os::unix::{
            fs::MetadataExt,
            net::{UnixListener, UnixStream},
        },
        path::{Path, PathBuf},
        sync::atomic::{AtomicU32, Ordering},
    };

    use axeom_ws::{App, PeerCredentials, ServeError, Server};

    use super::GRACE;
    use crate::{
        on_every_runtime,
        support::{TestRuntime, TestServer, chain, frame::Frame, raw::Raw},
    };

    on_every_runtime!(
        a_unix_socket_is_served,
        a_unix_socket_that_was_inherited_is_served,
        a_unix_socket_replaces_one_that_nobody_listens_on,
        a_unix_socket_does_not_replace_what_is_in_use,
        the_file_of_a_unix_socket_is_removed_unless_another_took_its_place
    );

    /// A directory of its own for each test.
    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("axeom-ws-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("chat.sock")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A client on smol's reactor, which needs no runtime.
    async fn connect(path: &Path) -> Raw {
        Raw::new(::smol::Async::<UnixStream>::connect(path).await.unwrap())
    }

    /// Tells everyone who they are.
    fn app() -> App {
        App::new().ws("/", |route| {
            route.open(async |ws| {
                let from = ws.extension::<PeerCredentials>();
                let from = from.map(|from| (from.uid, from.gid, from.pid));
                let _ = ws.send(format!("{} {from:?}", ws.peer())).await;
            })
        })
    }

    /// What it says to this process.
    fn told(directory: &Directory) -> Frame {
        if !cfg!(any(target_os = "linux", target_os = "android")) {
            return Frame::text("unix None");
        }
        let own = fs::metadata(&directory.0).unwrap();
        let pid = std::process::id();
        Frame::text(&format!("unix Some(({}, {}, Some({pid})))", own.uid(), own.gid()))
    }

    async fn assert_served<R: TestRuntime>(server: Server<R>, directory: &Directory) {
        let path = directory.socket();
        assert_eq!(server.local_addr().to_string(), format!("unix:{}", path.display()));
        assert_eq!(server.local_addr().path(), Some(&*path));
        assert_eq!((server.local_addr().socket_addr(), server.local_addr().port()), (None, None));
        let mut server = TestServer::start_on(server, app(), GRACE);
        let mut raw = connect(&path).await;
        raw.upgrade("/").await;
        assert_eq!(raw.frame().await, told(directory));
        server.handle.shutdown();
        assert_eq!(raw.close_code().await, 1001);
        (&mut server.ended).await.unwrap().unwrap();
    }

    async fn a_unix_socket_is_served<R: TestRuntime>() {
        let directory = Directory::new();
        let listener = R::bind_unix(&directory.socket()).unwrap();
        assert_served(Server::<R>::on(listener).unwrap(), &directory).await;
        assert!(!directory.socket().exists());
    }

    async fn a_unix_socket_that_was_inherited_is_served<R: TestRuntime>() {
        let directory = Directory::new();
        let listener = R::unix_listener(UnixListener::bind(directory.socket()).unwrap()).unwrap();
        assert_served(Server::<R>::on(listener).unwrap(), &directory).await;
        // It belongs to whoever bound it.
        assert!(directory.socket().exists());
    }

    async fn a_unix_socket_replaces_one_that_nobody_listens_on<R: TestRuntime>() {
        let directory = Directory::new();
        drop(UnixListener::bind(directory.socket()).unwrap());
        assert!(directory.socket().exists());
        let listener = R::bind_unix(&directory.socket()).unwrap();
        assert_served(Server::<R>::on(listener).unwrap(), &directory).await;
    }

    async fn a_unix_socket_does_not_replace_what_is_in_use<R: TestRuntime>() {
        let directory = Directory::new();
        let path = directory.socket();
        let assert_fails = |why: &str| {
            let error = R::bind_unix(&path).map(drop).unwrap_err();
            assert!(matches!(error, ServeError::Bind { .. }));
            assert_eq!(chain(&error), format!("cannot listen on {}: {why}", path.display()));
        };
        let live = UnixListener::bind(&path).unwrap();
        assert_fails("another process listens there");
        // It took no harm.
        assert!(UnixStream::connect(&path).is_ok());
        drop(live);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert_fails("there is a file that is not a socket");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    async fn the_file_of_a_unix_socket_is_removed_unless_another_took_its_place<R: TestRuntime>() {
        let directory = Directory::new();
        let path = directory.socket();
        drop(R::bind_unix(&path).unwrap());
        assert!(!path.exists());
        let first = R::bind_unix(&path).unwrap();
        fs::rename(&path, directory.0.join("old.sock")).unwrap();
        let second = R::bind_unix(&path).unwrap();
        drop(first);
        assert!(UnixStream::connect(&path).is_ok());
        drop(second);
        assert!(!path.exists());
    }
}
