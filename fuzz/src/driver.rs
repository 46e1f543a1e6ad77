//! The whole of a connection: a script of what peers, handlers, holders of handles and the clock
//! do, in any order, and what holds whatever they do.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axeom_ws_core::{
    App, AppHandle, Bytes, CloseCode, Compression, ConnectionError, DeflateParams, Event, Handler,
    HandlerResult, Message, Options, SendMessage, Service, TrySendError, Utf8Bytes, Ws, context,
    handshake::{agreed_deflate, offered_extensions},
    http::{Request, header::SEC_WEBSOCKET_EXTENSIONS},
    protocol::{Inbound, Limits, Role},
};
use futures::{
    io::{AsyncRead, AsyncWrite},
    task::LocalSpawnExt,
};

use crate::{
    frame::MASK,
    input::Input,
    support::{HANDSHAKE, Peer, Stream, World},
};

const TOPIC: &str = "topic";
const DEFLATE: Compression = Compression::new().threshold(64).server_context_takeover(true);

/// What connections are decorated with, to see that nothing keeps it.
type Token = Arc<()>;
type Data = context![Token];

pub fn driver(data: &[u8]) {
    let mut input = Input::new(data);
    let mut scene = Scene::new(&mut input);
    while !input.is_empty() {
        scene.step(&mut input);
        scene.check_queues();
    }
    scene.end();
}

/// More takes too long to run.
const MOST_SENT: usize = 128 * 1024;

/// Long enough for every deadline, one after another.
const FAR: Duration = Duration::from_secs(180);
/// As long as a closing handshake may take, the opening of a connection, and the end of a refusal.
const CLOSE: Duration = Duration::from_secs(23);

struct Scene {
    world: World,
    service: Service,
    handle: AppHandle,
    stage: Arc<Stage>,
    token: Token,
    settings: Settings,
    peers: Vec<Connected>,
    /// The peer that the script is about.
    at: usize,
    last_frame: Vec<u8>,
    /// Sends that were begun and have not ended.
    sending: Rc<RefCell<usize>>,
    /// How many numbered messages there were.
    numbers: u32,
    flags: u8,
}

#[derive(Clone, Copy)]
struct Settings {
    send_limit: usize,
    close_on_full: bool,
}

/// A peer, and what was sent to the server by it.
struct Connected {
    peer: Peer,
    sent: usize,
}

impl Scene {
    fn new(input: &mut Input<'_>) -> Self {
        let (flags, limits) = (input.byte(), input.byte());
        let is_set = |bit: u8| flags & 1 << bit != 0;
        let high = [100, 1000, 5000, 64 * 1024][usize::from(limits & 3)];
        let settings = Settings {
            send_limit: high * (1 + usize::from(limits >> 2 & 1)),
            close_on_full: is_set(0),
        };
        let seconds = |bit: u8, n: u64| is_set(bit).then(|| Duration::from_secs(n));
        let options = Options::new()
            .high_water_mark(high)
            .low_water_mark(if limits & 8 == 0 { high / 2 } else { 0 })
            .send_limit(settings.send_limit)
            .close_on_full(settings.close_on_full)
            .max_message_size(if limits & 16 == 0 { 1000 } else { 1 << 20 })
            .max_fragments(10)
            .idle_timeout(seconds(1, 40))
            .max_lifetime(seconds(2, 70))
            .message_timeout(seconds(3, 15))
            .min_rate(is_set(4).then_some(100))
            .compression(is_set(5).then(|| DEFLATE.server_context_takeover(limits & 32 != 0)));
        let stage = Arc::new(Stage::default());
        let token = Token::default();
        let recorder = Recorder(Arc::clone(&stage));
        let app = App::new()
            .options(options)
            .decorate(Arc::clone(&token))
            .ws("/", |route| route.handler(recorder));
        let handle = app.handle();
        let mut scene = Self {
            world: World::new(),
            service: app.build().unwrap(),
            handle,
            stage,
            token,
            settings,
            peers: Vec::new(),
            at: 0,
            last_frame: Vec::new(),
            sending: Rc::default(),
            numbers: 0,
            flags,
        };
        scene.connect();
        scene
    }

    /// Another peer, if there are not enough.
    fn connect(&mut self) {
        if self.peers.len() < 3 {
            let most = if self.flags & 64 == 0 { usize::MAX } else { 3 };
            let peer = self.world.connect_through(&self.service, |stream| Choppy { stream, most });
            self.at = self.peers.len();
            self.peers.push(Connected { peer, sent: 0 });
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let verb = input.byte();
        match verb & 0x1f {
            0 => self.send(input.piece()),
            1 | 2 => {
                self.last_frame = input.frame(Some(MASK));
                self.send(&self.last_frame.clone());
            }
            3 => {
                let most = MOST_SENT / self.last_frame.len().max(1);
                self.send(&self.last_frame.repeat(most.min(input.byte().into())));
            }
            4 => self.send(HANDSHAKE),
            5 => self.send(&handshake_with_deflate()),
            6 => {
                const STEPS: [u64; 8] = [1, 20, 500, 1000, 5000, 10_000, 20_000, 30_000];
                let step = STEPS[usize::from(input.byte() & 7)];
                self.world.advance(Duration::from_millis(step));
            }
            7 => self.peer().accept(input.size()),
            8 => self.peer().accept(usize::MAX),
            9 => self.peer().end(),
            10 => self.peer().reset(),
            11 => self.peer().delay_flush(input.byte().into()),
            12 => self.peer().fail_close(io::ErrorKind::NotConnected),
            13 => self.peer().fail_close(io::ErrorKind::BrokenPipe),
            14 => self.stage.hold(),
            15 => self.stage.let_go(1),
            16 => self.stage.let_all_go(),
            17 => self.connect(),
            18 => self.at = usize::from(input.byte()) % self.peers.len(),
            19 => self.try_send(input),
            20 => self.begin_send(input),
            21 => {
                let message = self.numbered(b'P', input);
                self.handle.publish(TOPIC, message);
            }
            22 if input.byte() == 7 => self.handle.shutdown(),
            verb => {
                let nth = input.byte();
                if let Some(ws) = self.stage.ws(nth.into()) {
                    self.use_handle(verb, &ws, input);
                }
            }
        }
        if verb & 0x80 == 0 {
            self.world.settle();
        }
    }

    fn use_handle(&mut self, verb: u8, ws: &Ws<Data>, input: &mut Input<'_>) {
        match verb {
            23 => ws.close(u16::from(input.byte()) + 995, "closed by a handle"),
            24 => ws.terminate(),
            25 => drop(ws.ping(input.piece().to_vec())),
            26 => drop(ws.subscribe(TOPIC)),
            27 => drop(ws.unsubscribe(TOPIC)),
            28 => drop(ws.publish(TOPIC, self.numbered(b'P', input))),
            29 => {
                let ws = ws.clone();
                self.begin(async move {
                    let _ = ws.ready().await;
                });
            }
            30 => {
                let ws = ws.clone();
                self.begin(async move { ws.closed().await });
            }
            _ => {}
        }
    }

    fn peer(&mut self) -> &mut Peer {
        &mut self.peers[self.at].peer
    }

    fn send(&mut self, bytes: &[u8]) {
        let connected = &mut self.peers[self.at];
        if connected.sent > MOST_SENT {
            return;
        }
        connected.sent += bytes.len();
        connected.peer.send(bytes);
    }

    /// A message that says which it is, in the order in which they are sent.
    fn numbered(&mut self, kind: u8, input: &mut Input<'_>) -> SendMessage {
        let (options, size) = (input.byte(), input.size());
        self.numbers += 1;
        let mut payload = vec![kind];
        payload.extend(self.numbers.to_be_bytes());
        payload.resize(payload.len() + size, options);
        let message = Message::from(payload);
        match options & 3 {
            0 => message.compress(true),
            1 => message.compress(false),
            _ => message.into(),
        }
    }

    /// A message fits if it does not exceed the limit, or nothing is queued.
    fn try_send(&mut self, input: &mut Input<'_>) {
        let nth = input.byte();
        let message = self.numbered(b'T', input);
        let Some(ws) = self.stage.ws(nth.into()) else { return };
        let (is_open, before) = (!ws.is_closed(), ws.buffered_amount());
        let len = message.clone().into_message().len();
        let limit = self.settings.send_limit;
        let fits = before == 0 || (before < limit && len <= limit - before);
        match ws.try_send(message) {
            Ok(_) => assert!(is_open && fits, "{len} bytes behind {before}"),
            Err(TrySendError::Full(_)) => assert!(is_open && !fits, "{len} bytes behind {before}"),
            Err(_) => assert!(!is_open),
        }
        let must_close = is_open && !fits && self.settings.close_on_full;
        assert_eq!(ws.is_closed(), !is_open || must_close);
        self.check_queue(&ws, len);
    }

    fn begin_send(&mut self, input: &mut Input<'_>) {
        let nth = input.byte();
        let message = self.numbered(b'S', input);
        let Some(ws) = self.stage.ws(nth.into()) else { return };
        self.begin(async move {
            let _ = ws.send(message).await;
        });
    }

    fn begin(&mut self, task: impl Future<Output = ()> + 'static) {
        *self.sending.borrow_mut() += 1;
        let sending = Rc::clone(&self.sending);
        let counted = async move {
            task.await;
            *sending.borrow_mut() -= 1;
        };
        self.world.spawner().spawn_local(counted).unwrap();
    }

    fn check_queues(&self) {
        for ws in self.stage.all_ws() {
            self.check_queue(&ws, 0);
        }
    }

    /// The queue is within its limit, but for one message, which had it alone; the headers of
    /// frames; a ping and a close frame; and pongs, of which there are as many bytes as pings.
    fn check_queue(&self, ws: &Ws<Data>, alone: usize) {
        const LARGEST: usize = 64_000 + 5;
        const CONTROL: usize = 2 + 125;
        let echoed: usize = if self.settings.send_limit < 1000 { 1000 } else { 200_000 };
        let sent: usize = self.peers.iter().map(|connected| connected.sent).max().unwrap_or(0);
        let most = self.settings.send_limit.max(LARGEST).max(alone).max(echoed.min(sent));
        let most = most + 10 + 10 + 2 * CONTROL + sent.min(64 * 1024);
        assert!(ws.buffered_amount() <= most, "{} of {most}", ws.buffered_amount());
    }

    /// Lets the connections end in one of three ways, after which nothing must be left of them.
    fn end(mut self) {
        self.world.settle();
        let could_read_all = self.peers.iter().all(|connected| connected.sent < 4096);
        match self.flags >> 6 {
            // Whatever the peers have done, they are silent from now on.
            0 | 1 => {
                self.stage.let_all_go();
                self.world.advance(FAR);
            }
            // They are silent beside handlers that do not end.
            2 if could_read_all => {
                self.stage.hold();
                self.world.advance(FAR);
            }
            // The app ends beside handlers that do not.
            _ => {
                self.stage.hold();
                self.handle.shutdown();
                self.world.advance(CLOSE);
            }
        }
        assert!(self.peers.iter().all(|connected| connected.peer.is_dropped()), "a stream is left");
        assert_eq!(self.handle.connections(), 0);
        assert_eq!(self.handle.subscriber_count(TOPIC), 0);
        assert!(self.stage.all_ws().iter().all(|ws| ws.is_closed() && ws.buffered_amount() == 0));

        self.stage.let_all_go();
        self.world.settle();
        self.stage.check_end();
        assert_eq!(*self.sending.borrow(), 0, "someone still waits for a connection that is over");
        assert_eq!(self.world.clock.sleepers(), 0, "a timer is left");
        for connected in &mut self.peers {
            check_output(&connected.peer.take());
        }
        let Self { stage, service, token, .. } = self;
        drop((stage, service));
        assert_eq!(Arc::strong_count(&token), 1, "the context of a connection is left");
    }
}

fn handshake_with_deflate() -> Vec<u8> {
    let end = HANDSHAKE.len() - 2;
    let offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    [&HANDSHAKE[..end], offer].concat()
}

/// What a server wrote: an answer, and after a 101 frames, of which a close frame is the last. Of
/// each kind of numbered messages, none overtook another.
fn check_output(written: &[u8]) {
    let Some(end) = written.windows(4).position(|end| end == b"\r\n\r\n") else { return };
    let (head, frames) = written.split_at(end + 4);
    let head = std::str::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 "), "{head:?}");
    if !head.starts_with("HTTP/1.1 101 ") {
        return;
    }
    let mut inbound = Inbound::new(Role::Client, Limits::default());
    if let Some(params) = head.lines().find_map(negotiated) {
        inbound = inbound.with_deflate(params);
    }
    let (mut frames, mut at) = (frames.to_vec(), 0);
    let mut last = [0; 256];
    loop {
        let received =
            inbound.receive(&mut frames[at..]).expect("the server keeps to the protocol");
        at += received.consumed;
        match received.event {
            Some(Event::Message(message)) => {
                if let Some(([kind @ b'P'..=b'T', number @ ..], _)) =
                    message.as_bytes().split_first_chunk::<5>()
                {
                    let number = u32::from_be_bytes(*number);
                    let last = &mut last[usize::from(*kind)];
                    assert!(number > *last, "{number} after {last}");
                    *last = number;
                }
            }
            Some(Event::Close(_)) => {
                assert_eq!(at, frames.len(), "there is something behind the close frame");
                return;
            }
            Some(_) => {}
            None => return,
        }
    }
}

fn negotiated(line: &str) -> Option<DeflateParams> {
    let (name, value) = line.split_once(": ")?;
    if !name.eq_ignore_ascii_case(SEC_WEBSOCKET_EXTENSIONS.as_str()) {
        return None;
    }
    let answer = Request::get("/").header(name, value).body(()).unwrap();
    agreed_deflate(&offered_extensions(&answer).unwrap()[0], &DEFLATE)
}

/// Where the handlers of all connections are called, and held.
#[derive(Default)]
struct Stage {
    sessions: Mutex<Vec<Arc<Session>>>,
    gate: Mutex<Gate>,
}

#[derive(Default)]
struct Gate {
    is_closed: bool,
    passes: usize,
    waiting: Vec<Waker>,
}

impl Stage {
    fn hold(&self) {
        self.gate.lock().unwrap().is_closed = true;
    }

    fn let_go(&self, passes: usize) {
        let mut gate = self.gate.lock().unwrap();
        gate.passes += passes;
        let waiting = std::mem::take(&mut gate.waiting);
        drop(gate);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn let_all_go(&self) {
        self.gate.lock().unwrap().is_closed = false;
        self.let_go(0);
    }

    async fn pass(&self) {
        poll_fn(|cx| {
            let mut gate = self.gate.lock().unwrap();
            if gate.is_closed && gate.passes == 0 {
                gate.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            gate.passes = gate.passes.saturating_sub(1);
            Poll::Ready(())
        })
        .await;
    }

    fn all_ws(&self) -> Vec<Ws<Data>> {
        self.sessions.lock().unwrap().iter().map(|session| session.ws.clone()).collect()
    }

    /// A handle of any connection, also one that is over.
    fn ws(&self, nth: usize) -> Option<Ws<Data>> {
        let sessions = self.sessions.lock().unwrap();
        let nth = nth.checked_rem(sessions.len())?;
        Some(sessions[nth].ws.clone())
    }

    /// `close` was the last call for each `open`.
    fn check_end(&self) {
        for session in &*self.sessions.lock().unwrap() {
            assert_eq!(*session.last.lock().unwrap(), Call::Close);
            assert!(!session.is_busy.load(Ordering::Relaxed), "a handler is still busy");
        }
    }
}

/// The calls of handlers, in the order that they come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    None,
    Open,
    /// Messages, pings, pongs and drains.
    Event,
    Error,
    Close,
}

struct Session {
    ws: Ws<Data>,
    last: Mutex<Call>,
    is_busy: AtomicBool,
}

impl Session {
    /// Notes a call, which must be one that may follow the last.
    fn begin(&self, call: Call) -> Busy<'_> {
        assert!(!self.is_busy.swap(true, Ordering::Relaxed), "{call:?} beside another call");
        let last = std::mem::replace(&mut *self.last.lock().unwrap(), call);
        let follows = match call {
            Call::Open => last == Call::None,
            Call::Event => matches!(last, Call::Open | Call::Event),
            Call::Error => matches!(last, Call::Open | Call::Event),
            Call::Close => matches!(last, Call::Open | Call::Event | Call::Error),
            Call::None => false,
        };
        assert!(follows, "{call:?} after {last:?}");
        Busy(&self.is_busy)
    }
}

/// A call of a handler that has not ended.
struct Busy<'a>(&'a AtomicBool);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

struct Recorder(Arc<Stage>);

impl Recorder {
    async fn call(&self, session: &Session, call: Call) -> HandlerResult {
        let _busy = session.begin(call);
        self.0.pass().await;
        Ok(())
    }
}

impl Handler<Data> for Recorder {
    type Session = Arc<Session>;

    fn session(&self, ws: &Ws<Data>) -> Arc<Session> {
        let last = Mutex::new(Call::None);
        let session = Arc::new(Session { ws: ws.clone(), last, is_busy: AtomicBool::new(false) });
        self.0.sessions.lock().unwrap().push(Arc::clone(&session));
        session
    }

    async fn open(&self, session: &mut Arc<Session>, _: Ws<Data>) -> HandlerResult {
        self.call(session, Call::Open).await
    }

    /// The first byte of a message says what its handler does with it.
    async fn message(
        &self,
        session: &mut Arc<Session>,
        ws: Ws<Data>,
        message: Message,
    ) -> HandlerResult {
        let _busy = session.begin(Call::Event);
        self.0.pass().await;
        match message.as_bytes().first() {
            Some(b'e') => ws.send(message).await?,
            Some(b't') => drop(ws.try_send(message)?),
            Some(b'r') => ws.ready().await?,
            Some(b'c') => ws.close(4000, "closed by a handler"),
            Some(b'x') => ws.terminate(),
            Some(b's') => drop(ws.subscribe(TOPIC)),
            Some(b'u') => drop(ws.unsubscribe(TOPIC)),
            Some(b'p') => drop(ws.publish(TOPIC, message)),
            Some(b'a') => drop(ws.publish_to_all(TOPIC, message)),
            Some(b'f') => return Err("failed".into()),
            Some(b'w') => ws.closed().await,
            _ => {}
        }
        Ok(())
    }

    async fn ping(&self, session: &mut Arc<Session>, _: Ws<Data>, _: Bytes) -> HandlerResult {
        self.call(session, Call::Event).await
    }

    async fn pong(&self, session: &mut Arc<Session>, _: Ws<Data>, _: Bytes) -> HandlerResult {
        self.call(session, Call::Event).await
    }

    async fn drain(&self, session: &mut Arc<Session>, _: Ws<Data>) -> HandlerResult {
        self.call(session, Call::Event).await
    }

    async fn error(
        &self,
        session: &mut Arc<Session>,
        _: Ws<Data>,
        _: ConnectionError,
    ) -> HandlerResult {
        self.call(session, Call::Error).await
    }

    async fn close(
        &self,
        session: &mut Arc<Session>,
        _: Ws<Data>,
        _: CloseCode,
        _: Utf8Bytes,
    ) -> HandlerResult {
        self.call(session, Call::Close).await
    }
}

/// A stream of which one read brings only so much.
struct Choppy {
    stream: Stream,
    most: usize,
}

impl AsyncRead for Choppy {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let most = self.most.min(buf.len());
        Pin::new(&mut self.stream).poll_read(cx, &mut buf[..most])
    }
}

impl AsyncWrite for Choppy {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
