//! What a connection holds: resident bytes for each, measured from outside on a server in a
//! process of its own.
//!
//! ```text
//! cargo bench --all-features --bench memory
//! ```
//!
//! Prints the figures for idle connections on each runtime, after an echo of 1 MiB, over TLS, and
//! for each setting of compression after an echo of 1 KiB of JSON. Linux only.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use axeom_ws::{
    App, BoxError, Compression, DeflateParams, Event, Message, Options, Runtime, Server,
    handshake::offer_deflate,
    protocol::{Inbound, Limits, Outbound, Role},
};

/// Connections for each figure, after as many to warm up as make a server's own buffers.
const CONNECTIONS: usize = 5000;
const LARGE_CONNECTIONS: usize = 200;
const WARM_UP: usize = 64;

type Setting = (&'static str, Option<Compression>);

fn settings() -> Vec<Setting> {
    let own = Compression::new();
    let both = own.server_context_takeover(true);
    let small = both.server_max_window_bits(10).client_max_window_bits(10).mem_level(3);
    vec![
        ("off", None),
        ("no context takeover", Some(own.client_context_takeover(false))),
        ("client context takeover (default)", Some(own)),
        ("both, window bits 15, memory level 8", Some(both)),
        ("both, window bits 10, memory level 3", Some(small)),
    ]
}

const RUNTIMES: &[&str] = &[
    #[cfg(feature = "tokio")]
    "tokio",
    #[cfg(feature = "smol")]
    "smol",
    #[cfg(feature = "async-std")]
    "async-std",
];

fn main() -> Result<(), BoxError> {
    let args: Vec<_> = std::env::args().collect();
    match args.iter().position(|arg| arg == "--serve") {
        Some(at) => serve(&args[at + 1], args[at + 2].parse()?),
        None if args.iter().any(|arg| arg == "--measure") => measure(),
        None => {
            // Both processes need more descriptors than a shell usually grants.
            let shell = r#"ulimit -n "$(ulimit -Hn)" && exec "$0" --measure"#;
            let status = Command::new("sh").args(["-c", shell, &args[0]]).status()?;
            std::process::exit(status.code().unwrap_or(1));
        }
    }
}

fn measure() -> Result<(), BoxError> {
    println!("| runtime | bytes per idle connection | KiB kept after an echo of 1 MiB |");
    println!("| --- | ---: | ---: |");
    for runtime in RUNTIMES {
        let mut server = Process::start(runtime, 0)?;
        let idle = server.bytes_for_each(CONNECTIONS, None, |_| Ok(()))?;
        let mut server = Process::start(runtime, 0)?;
        let large = server.bytes_for_each(LARGE_CONNECTIONS, None, |client| {
            client.echo(Message::from(vec![7; 1 << 20]), false)
        })?;
        println!("| {runtime} | {idle} | {} |", large / 1024);
    }
    #[cfg(feature = "rustls")]
    tls::measure()?;
    println!("\n| compression | bytes per connection |\n| --- | ---: |");
    let json = r#"{"user":"someone","room":"lobby","text":"hello, everybody"},"#.repeat(20);
    for (index, (name, compression)) in settings().into_iter().enumerate() {
        let mut server = Process::start(RUNTIMES[0], index)?;
        let bytes = server.bytes_for_each(1000, compression, |client| {
            client.echo(Message::from(json.as_str()), true)
        })?;
        println!("| {name} | {bytes} |");
    }
    Ok(())
}

/// A server in a process of its own.
struct Process {
    child: Child,
    addr: SocketAddr,
}

impl Process {
    fn start(runtime: &str, setting: usize) -> Result<Self, BoxError> {
        Self::start_with(runtime, setting, &[])
    }

    fn start_with(runtime: &str, setting: usize, env: &[(&str, &str)]) -> Result<Self, BoxError> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", runtime, &setting.to_string()])
            // One arena and prompt returns: the figure is what connections hold, not what the
            // allocator keeps for the next ones.
            .env("MALLOC_ARENA_MAX", "1")
            .env("MALLOC_TRIM_THRESHOLD_", "65536")
            .env("ASYNC_STD_THREAD_COUNT", "1")
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("the server has no output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(Self { child, addr: line.trim().parse()? })
    }

    fn resident(&self) -> Result<usize, BoxError> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id()))?;
        let pages: usize = statm.split(' ').nth(1).ok_or("no resident size")?.parse()?;
        Ok(pages * 4096)
    }

    /// How much each of `count` connections adds, after `use_it` used it.
    fn bytes_for_each(
        &mut self,
        count: usize,
        compression: Option<Compression>,
        use_it: impl Fn(&mut Client) -> Result<(), BoxError>,
    ) -> Result<usize, BoxError> {
        let addr = self.addr;
        let tcp = || Ok(Box::new(TcpStream::connect(addr)?) as Box<dyn Stream>);
        self.bytes_for_each_over(tcp, count, compression, use_it)
    }

    /// The same over a stream of another kind.
    fn bytes_for_each_over(
        &mut self,
        stream: impl Fn() -> Result<Box<dyn Stream>, BoxError>,
        count: usize,
        compression: Option<Compression>,
        use_it: impl Fn(&mut Client) -> Result<(), BoxError>,
    ) -> Result<usize, BoxError> {
        let connect = || {
            let mut client = Client::connect(stream()?, compression)?;
            use_it(&mut client)?;
            Ok::<_, BoxError>(client)
        };
        let _warm = (0..WARM_UP).map(|_| connect()).collect::<Result<Vec<_>, _>>()?;
        let before = self.resident()?;
        let _clients = (0..count).map(|_| connect()).collect::<Result<Vec<_>, _>>()?;
        // The server's last write is ahead of what it frees after it.
        std::thread::sleep(Duration::from_millis(300));
        Ok(self.resident()?.saturating_sub(before) / count)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

struct Client {
    stream: Box<dyn Stream>,
    inbound: Inbound,
    outbound: Outbound,
}

impl Client {
    fn connect(
        mut stream: Box<dyn Stream>,
        compression: Option<Compression>,
    ) -> Result<Self, BoxError> {
        let extensions = match &compression {
            Some(own) => format!("Sec-WebSocket-Extensions: {}\r\n", offer_deflate(own)),
            None => String::new(),
        };
        write!(
            stream,
            "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {extensions}\r\n"
        )?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.extend(byte);
        }
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(String::from_utf8_lossy(&head).into());
        }
        let mut inbound = Inbound::new(Role::Client, Limits::default());
        let mut outbound = Outbound::new(Role::Client);
        if let Some(own) = &compression {
            // What the server of the same setting agrees to.
            let params = DeflateParams::new()
                .server_no_context_takeover(!takes_over(own, "server"))
                .client_no_context_takeover(!takes_over(own, "client"))
                .client_max_window_bits(9);
            inbound = inbound.with_deflate(params);
            outbound = outbound.with_deflate(params, own);
        }
        Ok(Self { stream, inbound, outbound })
    }

    fn echo(&mut self, message: Message, compress: bool) -> Result<(), BoxError> {
        self.outbound.message(message.clone().compress(compress));
        self.stream.write_all(&self.outbound.take().to_vec())?;
        let (mut input, mut buffer) = (Vec::new(), [0; 16 * 1024]);
        loop {
            let n = self.stream.read(&mut buffer)?;
            input.extend_from_slice(&buffer[..n]);
            let received = self.inbound.receive(&mut input)?;
            input.drain(..received.consumed);
            match received.event {
                Some(Event::Message(echo)) if echo == message => return Ok(()),
                Some(other) => return Err(format!("not the echo: {other:?}").into()),
                None if n == 0 => return Err("the server closed".into()),
                None => {}
            }
        }
    }
}

fn takes_over(own: &Compression, side: &str) -> bool {
    !offer_deflate(own).contains(&format!("{side}_no_context_takeover"))
}

fn serve(runtime: &str, setting: usize) -> Result<(), BoxError> {
    let (_, compression) = settings()[setting];
    let app = App::new().options(Options::new().compression(compression)).ws("/*", |route| {
        route.message(async |ws, msg| {
            let _ = ws.send(msg).await;
        })
    });
    match runtime {
        #[cfg(feature = "tokio")]
        "tokio" => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(serve_on(axeom_ws::tokio::Adapter::default(), app)),
        #[cfg(feature = "smol")]
        "smol" => {
            let executor = std::sync::Arc::new(smol::Executor::new());
            let serving = serve_on(axeom_ws::smol::Adapter::new(executor.clone()), app);
            smol::block_on(executor.run(serving))
        }
        #[cfg(feature = "async-std")]
        "async-std" => {
            async_std::task::block_on(serve_on(axeom_ws::async_std::Adapter::default(), app))
        }
        other => Err(format!("runtime {other} is not compiled in").into()),
    }
}

async fn serve_on<R: Runtime>(runtime: R, app: App) -> Result<(), BoxError> {
    let server = Server::bind_on(runtime, "127.0.0.1:0").await?;
    println!("{}", server.local_addr());
    #[cfg(feature = "rustls")]
    let server = match std::env::var(tls::PEM) {
        Ok(pem) => server.tls(axeom_ws::Tls::from_pem(&pem, &pem)?),
        Err(_) => server,
    };
    Ok(server.serve(app).await?)
}

#[cfg(feature = "rustls")]
mod tls {
    use std::sync::Arc;

    use axeom_ws::rustls::{
        ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring,
    };

    use super::*;

    /// The environment variable with the server's certificate and key.
    pub(super) const PEM: &str = "AXEOM_WS_PEM";

    pub(super) fn measure() -> Result<(), BoxError> {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let pem = own.cert.pem() + &own.signing_key.serialize_pem();
        let mut roots = RootCertStore::empty();
        roots.add(own.cert.der().clone())?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let config = Arc::new(config);
        println!("\n| over TLS, on {} | bytes per connection |\n| --- | ---: |", RUNTIMES[0]);
        let measures: [(_, _, fn(&mut Client) -> _); 2] = [
            ("idle", CONNECTIONS, |_| Ok(())),
            ("after an echo of 1 MiB", LARGE_CONNECTIONS, |client| {
                client.echo(Message::from(vec![7; 1 << 20]), false)
            }),
        ];
        for (name, count, use_it) in measures {
            let mut server = Process::start_with(RUNTIMES[0], 0, &[(PEM, &pem)])?;
            let addr = server.addr;
            let connect = || {
                let session = ClientConnection::new(config.clone(), "localhost".try_into()?)?;
                let stream = StreamOwned::new(session, TcpStream::connect(addr)?);
                Ok(Box::new(stream) as Box<dyn Stream>)
            };
            println!("| {name} | {} |", server.bytes_for_each_over(connect, count, None, use_it)?);
        }
        Ok(())
    }
}
