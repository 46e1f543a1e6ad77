//! What a server keeps of connections that are over: nothing.
//!
//! ```text
//! cargo bench --all-features --bench soak
//! cargo bench --all-features --bench soak -- --count 1000000 smol
//! ```
//!
//! Opens and ends connections over real sockets, in every way in which one can end, on each
//! runtime or those that are named. Fails if resident memory, open descriptors, connections or
//! subscribers are more at the end than when a fifth of it was done. Linux only.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    process::ExitCode,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use axeom_ws::{App, AppHandle, BoxError, Message, Options, Rejection, Runtime, Server, Ws};
use lexopt::ValueExt;

const RUNTIMES: &[&str] = &[
    #[cfg(feature = "tokio")]
    "tokio",
    #[cfg(feature = "smol")]
    "smol",
    #[cfg(feature = "async-std")]
    "async-std",
];

/// Under `cargo test` only the program itself is tried out.
const COUNT: usize = 100_000;
const TRY_OUT: usize = 2_000;

/// Clients at a time.
const CLIENTS: usize = 8;

/// What resident memory may grow by: allocators keep what they had to get for a moment.
const NOISE: usize = 4 << 20;

/// Clients that send half a head each leave it to the server to end them; so many wait for
/// that at a time.
const WAITING: usize = 64;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
enum End {
    PeerCloses,
    ServerCloses,
    Terminated,
    Reset,
    Vanishes,
    HalfClosed,
    CutInAFrame,
    Violation,
    TooLarge,
    HandlerFails,
    HandlerPanics,
    SocketLoopReturns,
    UnknownRoute,
    Rejected,
    BrokenHead,
    CutInTheHead,
    SlowHead,
}

const ENDS: [End; 17] = [
    End::PeerCloses,
    End::ServerCloses,
    End::Terminated,
    End::Reset,
    End::Vanishes,
    End::HalfClosed,
    End::CutInAFrame,
    End::Violation,
    End::TooLarge,
    End::HandlerFails,
    End::HandlerPanics,
    End::SocketLoopReturns,
    End::UnknownRoute,
    End::Rejected,
    End::BrokenHead,
    End::CutInTheHead,
    End::SlowHead,
];

fn main() -> Result<ExitCode, BoxError> {
    let (mut asked, mut usual, mut runtimes) = (None, TRY_OUT, Vec::new());
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            // Cargo says so behind all other arguments.
            lexopt::Arg::Long("bench") => usual = COUNT,
            lexopt::Arg::Long("count") => asked = Some(args.value()?.parse()?),
            lexopt::Arg::Value(name) => runtimes.push(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let count = asked.unwrap_or(usual);
    std::panic::set_hook(Box::new(|panic| {
        let told = panic.payload().downcast_ref::<String>().is_some_and(|text| text == AS_TOLD);
        let told = told || panic.payload().downcast_ref::<&str>() == Some(&AS_TOLD);
        if !told {
            eprintln!("{panic}");
        }
    }));
    let mut grew = false;
    for runtime in RUNTIMES {
        if runtimes.is_empty() || runtimes.iter().any(|name| name == runtime) {
            grew |= soak(runtime, count)?;
        }
    }
    Ok(if grew { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is there when nobody is connected.
#[derive(Debug)]
struct Kept {
    resident: usize,
    descriptors: usize,
    connections: usize,
    subscribers: usize,
}

/// Whether anything grew.
fn soak(runtime: &str, count: usize) -> Result<bool, BoxError> {
    let app = app();
    let handle = app.handle();
    let (tell, told) = mpsc::channel();
    let name = runtime.to_owned();
    let serving =
        thread::spawn(move || serve(&name, app, &tell).map_err(|error| error.to_string()));
    let port = told.recv()?.port();

    let started = Instant::now();
    println!("{runtime}: {count} connections, {} ways to end", ENDS.len());
    println!("| done | resident KiB | descriptors | connections | subscribers |");
    println!("| ---: | ---: | ---: | ---: | ---: |");
    let mut marks = Vec::new();
    let done = AtomicUsize::new(0);
    for fifth in 1..=5 {
        connect_until(count * fifth / 5, &done, port)?;
        let kept = settled(&handle, marks.first())?;
        let Kept { resident, descriptors, connections, subscribers } = &kept;
        println!(
            "| {} % | {} | {descriptors} | {connections} | {subscribers} |",
            20 * fifth,
            resident / 1024
        );
        marks.push(kept);
    }
    let (first, last) = (&marks[0], &marks[marks.len() - 1]);
    let each = last.resident as isize - first.resident as isize;
    println!(
        "{:.1} s, {:.1} bytes more for each connection after the first fifth",
        started.elapsed().as_secs_f64(),
        each as f64 / (count * 4 / 5) as f64
    );
    handle.shutdown();
    serving.join().map_err(|_| "the server panicked")??;

    let mut grew = false;
    for (what, first, last) in [
        ("resident memory", first.resident + NOISE, last.resident),
        ("open descriptors", first.descriptors, last.descriptors),
        ("connections", 0, last.connections),
        ("subscribers", 0, last.subscribers),
    ] {
        if last > first {
            eprintln!("{runtime}: {what} grew: {last}, and {first} would be no more than before");
            grew = true;
        }
    }
    println!();
    Ok(grew)
}

/// Waits until the server is done with all connections, or will never be.
fn settled(handle: &AppHandle, before: Option<&Kept>) -> Result<Kept, BoxError> {
    let patience = Instant::now() + Duration::from_secs(20);
    let mut last = None;
    loop {
        let kept = Kept {
            resident: resident()?,
            descriptors: std::fs::read_dir("/proc/self/fd")?.count(),
            connections: handle.connections(),
            subscribers: handle.subscriber_count(EVERYBODY),
        };
        // What a refused client's task still holds shows only in its descriptor.
        let quiet = match before {
            Some(before) => kept.descriptors <= before.descriptors,
            None => last.replace(kept.descriptors) == Some(kept.descriptors),
        };
        if (quiet && kept.connections == 0) || Instant::now() > patience {
            return Ok(kept);
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// Resident bytes of this process.
fn resident() -> Result<usize, BoxError> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("no resident size")?;
    Ok(kib.parse::<usize>()? << 10)
}

const EVERYBODY: &str = "everybody";
const AS_TOLD: &str = "as told";

fn app() -> App {
    App::new()
        .handshake_timeout(HANDSHAKE_TIMEOUT)
        .options(Options::new().max_message_size(1000).close_timeout(Duration::from_secs(1)))
        .ws("/callbacks", |route| {
            route.open(async |ws: Ws| subscribe(&ws)).message(
                async |ws: Ws, msg: Message| -> Result<(), BoxError> {
                    match msg.as_text() {
                        Some("close") => ws.close(4000, "as you wish"),
                        Some("terminate") => ws.terminate(),
                        Some("fail") => return Err(AS_TOLD.into()),
                        Some("panic") => panic!("{AS_TOLD}"),
                        _ => ws.send(msg).await?,
                    }
                    Ok(())
                },
            )
        })
        .ws("/socket", |route| {
            route.socket(async |mut socket| {
                subscribe(socket.ws());
                socket.recv().await;
            })
        })
        .guard(async |_| Err(Rejection::unauthorized("Bearer")))
        .ws("/rejected", |route| route)
}

/// Among all, and alone on a topic that nobody else has, so that topics come and go.
fn subscribe(ws: &Ws) {
    ws.subscribe(EVERYBODY);
    ws.subscribe(ws.id().to_string());
}

/// Opens and ends connections until so many are done in all.
fn connect_until(count: usize, done: &AtomicUsize, port: u16) -> Result<(), BoxError> {
    let client = || -> Result<(), BoxError> {
        let mut waiting = std::collections::VecDeque::new();
        loop {
            let n = done.fetch_add(1, Ordering::Relaxed);
            if n >= count {
                done.fetch_sub(1, Ordering::Relaxed);
                break;
            }
            // Many addresses, so that the ports of one do not run out.
            let ip = Ipv4Addr::new(127, 0, 1 + (n / 200 % 200) as u8, 1 + (n % 200) as u8);
            let end = ENDS[n % ENDS.len()];
            let mut client = Client::connect((ip, port).into())?;
            let ended = client.run(end).map_err(|error| format!("{end:?}: {error}"))?;
            if !ended {
                waiting.push_back(client);
            }
            if waiting.len() > WAITING {
                timed_out(waiting.pop_front())?;
            }
        }
        waiting.into_iter().try_for_each(|client| timed_out(Some(client)))
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| client().map_err(|error| error.to_string())))
            .collect();
        for client in clients {
            client.join().map_err(|_| "a client panicked")??;
        }
        Ok(())
    })
}

fn timed_out(client: Option<Client>) -> Result<(), BoxError> {
    match client {
        Some(mut client) => client.expect_status(408),
        None => Ok(()),
    }
}

struct Client(TcpStream);

impl Client {
    fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self(stream))
    }

    /// `false` if the server will end it, later.
    fn run(&mut self, end: End) -> Result<bool, BoxError> {
        match end {
            End::PeerCloses => {
                self.upgrade("/callbacks")?;
                self.frame(8, &1000_u16.to_be_bytes())?;
                self.expect_close(1000)?;
            }
            End::ServerCloses => self.told_to("close", 4000)?,
            End::HandlerFails => self.told_to("fail", 1011)?,
            End::HandlerPanics => self.told_to("panic", 1011)?,
            End::Terminated => {
                self.upgrade("/callbacks")?;
                self.frame(1, b"terminate")?;
                self.expect_end()?;
            }
            End::Reset => {
                // Closing with something unread resets the connection.
                self.upgrade("/callbacks")?;
                self.frame(1, b"echo")?;
                self.0.peek(&mut [0])?;
            }
            End::Vanishes => self.upgrade("/callbacks")?,
            End::HalfClosed => {
                self.upgrade("/callbacks")?;
                self.frame(1, b"echo")?;
                self.0.shutdown(Shutdown::Write)?;
                self.0.read_exact(&mut [0; 6])?;
                self.expect_end()?;
            }
            End::CutInAFrame => {
                self.upgrade("/callbacks")?;
                self.0.write_all(&[0x81, 0xff, 0, 0])?;
            }
            End::Violation => {
                self.upgrade("/callbacks")?;
                self.frame(3, b"")?;
                self.expect_close(1002)?;
            }
            End::TooLarge => {
                self.upgrade("/callbacks")?;
                self.0.write_all(&[0x82, 0xfe, 0xff, 0xff, 0, 0, 0, 0])?;
                self.expect_close(1009)?;
            }
            End::SocketLoopReturns => {
                self.upgrade("/socket")?;
                self.frame(1, b"enough")?;
                self.expect_close(1000)?;
            }
            End::UnknownRoute => self.refused("/nowhere", 404)?,
            End::Rejected => self.refused("/rejected", 401)?,
            End::BrokenHead => {
                self.0.write_all(b"GET / HTTP/1.1\r\nnonsense\r\n\r\n")?;
                self.expect_status(400)?;
                self.expect_end()?;
            }
            End::CutInTheHead => self.0.write_all(b"GET /callbacks HTTP/1.1\r\nHost")?,
            End::SlowHead => {
                self.0.write_all(b"GET /callbacks HTTP/1.1\r\nHost")?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn told_to(&mut self, what: &str, code: u16) -> Result<(), BoxError> {
        self.upgrade("/callbacks")?;
        self.frame(1, what.as_bytes())?;
        self.expect_close(code)
    }

    fn refused(&mut self, path: &str, status: u16) -> Result<(), BoxError> {
        self.ask(path)?;
        self.expect_status(status)?;
        self.expect_end()
    }

    fn upgrade(&mut self, path: &str) -> Result<(), BoxError> {
        self.ask(path)?;
        self.expect_status(101)
    }

    fn ask(&mut self, path: &str) -> io::Result<()> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.0.write_all(request.as_bytes())
    }

    /// A masked frame.
    fn frame(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![0x80 | opcode, 0x80 | payload.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        self.0.write_all(&frame)
    }

    /// A response head.
    fn expect_status(&mut self, status: u16) -> Result<(), BoxError> {
        let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
        while !head.windows(4).any(|window| window == b"\r\n\r\n") {
            let n = self.0.read(&mut buffer)?;
            if n == 0 {
                return Err(format!("the server ended before {status}").into());
            }
            head.extend_from_slice(&buffer[..n]);
        }
        let head = String::from_utf8_lossy(&head);
        if head.starts_with(&format!("HTTP/1.1 {status} ")) {
            Ok(())
        } else {
            Err(format!("not {status}: {head}").into())
        }
    }

    /// A close frame, and then the end, with the answer in between.
    fn expect_close(&mut self, code: u16) -> Result<(), BoxError> {
        let mut frame = [0; 4];
        self.0.read_exact(&mut frame)?;
        let got = u16::from_be_bytes([frame[2], frame[3]]);
        if frame[0] != 0x88 || got != code {
            return Err(format!("not a close with {code}: {frame:?}").into());
        }
        // The server may be gone already.
        let _ = self.frame(8, &code.to_be_bytes());
        let _ = self.0.shutdown(Shutdown::Write);
        self.expect_end()
    }

    fn expect_end(&mut self) -> Result<(), BoxError> {
        let mut buffer = [0; 1024];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn serve(runtime: &str, app: App, tell: &mpsc::Sender<SocketAddr>) -> Result<(), BoxError> {
    match runtime {
        #[cfg(feature = "tokio")]
        "tokio" => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?
            .block_on(serve_on(axeom_ws::tokio::Adapter::default(), app, tell)),
        #[cfg(feature = "smol")]
        "smol" => {
            let executor = std::sync::Arc::new(smol::Executor::new());
            let serving = serve_on(axeom_ws::smol::Adapter::new(executor.clone()), app, tell);
            smol::block_on(executor.run(serving))
        }
        #[cfg(feature = "async-std")]
        "async-std" => {
            async_std::task::block_on(serve_on(axeom_ws::async_std::Adapter::default(), app, tell))
        }
        other => Err(format!("runtime {other} is not compiled in").into()),
    }
}

async fn serve_on<R: Runtime>(
    runtime: R,
    app: App,
    tell: &mpsc::Sender<SocketAddr>,
) -> Result<(), BoxError> {
    let server = Server::bind_on(runtime, (Ipv4Addr::UNSPECIFIED, 0)).await?;
    tell.send(server.local_addr().socket_addr().ok_or("not TCP")?)?;
    Ok(server.serve(app).await?)
}
