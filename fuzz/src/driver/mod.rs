//! The whole of a connection: a script of what peers, handlers, holders of handles and the clock
//! do, in any order, and what holds whatever they do.

mod peer;
mod stage;

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axeom_ws_core::{
    App, AppHandle, Compression, Message, Options, SendMessage, Service, TrySendError, Ws, context,
    protocol::Limits,
};
use futures::task::LocalSpawnExt;

use self::{
    peer::{Choppy, Client, MOST_SENT, check_output},
    stage::{Recorder, Stage},
};
use crate::{
    frame::MASK,
    input::Input,
    support::{Peer, World},
};

const TOPIC: &str = "topic";
const BY_A_HANDLE: &str = "closed by a handle";
const BY_A_HANDLER: &str = "closed by a handler";
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
    clients: Vec<Client>,
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
    limits: Limits,
}

impl Scene {
    fn new(input: &mut Input<'_>) -> Self {
        let (flags, limits) = (input.byte(), input.byte());
        let is_set = |bit: u8| flags & 1 << bit != 0;
        let high = [100, 1000, 5000, 64 * 1024][usize::from(limits & 3)];
        let settings = Settings {
            send_limit: high * (1 + usize::from(limits >> 2 & 1)),
            close_on_full: is_set(0),
            limits: Limits::new()
                .message_size(if limits & 16 == 0 { 1000 } else { 1 << 20 })
                .fragments(10),
        };
        let is_without_pings = limits & 64 != 0;
        let seconds = |bit: u8, n: u64| is_set(bit).then(|| Duration::from_secs(n));
        let options = Options::new()
            .high_water_mark(high)
            .low_water_mark(if limits & 8 == 0 { high / 2 } else { 0 })
            .send_limit(settings.send_limit)
            .close_on_full(settings.close_on_full)
            .max_message_size(settings.limits.message_size)
            .max_fragments(settings.limits.fragments)
            .idle_timeout(seconds(1, 40))
            // A silent peer is found by one of these two.
            .ping_interval((!is_without_pings).then_some(Duration::from_secs(25)))
            .max_lifetime(seconds(2, 70).or(is_without_pings.then_some(Duration::from_secs(70))))
            .message_timeout(seconds(3, 15))
            .min_rate(is_set(4).then_some(100))
            .compression(is_set(5).then(|| DEFLATE.server_context_takeover(limits & 32 != 0)));
        let stage = Arc::new(Stage::default());
        let token = Token::default();
        let recorder = Recorder(Arc::clone(&stage));
        let app = App::new()
            .options(options)
            .decorate(Arc::clone(&token))
            .ws("/*", |route| route.handler(recorder));
        let handle = app.handle();
        let mut scene = Self {
            world: World::new(),
            service: app.build().unwrap(),
            handle,
            stage,
            token,
            settings,
            clients: Vec::new(),
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
        if self.clients.len() < 3 {
            let most = if self.flags & 64 == 0 { usize::MAX } else { 3 };
            let peer = self.world.connect_through(&self.service, |stream| Choppy { stream, most });
            self.at = self.clients.len();
            self.clients.push(Client::new(peer, self.at));
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let verb = input.byte();
        match verb & 0x1f {
            0 => self.client().send(input.piece()),
            1 | 2 => {
                self.last_frame = input.frame(Some(MASK));
                let frame = self.last_frame.clone();
                self.client().send(&frame);
            }
            3 => {
                let most = MOST_SENT / self.last_frame.len().max(1);
                let frames = self.last_frame.repeat(most.min(input.byte().into()));
                self.client().send(&frames);
            }
            4 => self.client().send_handshake(false),
            5 => self.client().send_handshake(true),
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
            18 => self.at = usize::from(input.byte()) % self.clients.len(),
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
            23 => ws.close([1000, 1006, 1014, 4000][usize::from(input.byte() & 3)], BY_A_HANDLE),
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

    fn client(&mut self) -> &mut Client {
        &mut self.clients[self.at]
    }

    fn peer(&mut self) -> &mut Peer {
        &mut self.client().peer
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
        let sent: usize = self.clients.iter().map(|client| client.sent.len()).max().unwrap_or(0);
        let most = self.settings.send_limit.max(LARGEST).max(alone).max(echoed.min(sent));
        let most = most + 10 + 10 + 2 * CONTROL + sent.min(64 * 1024);
        assert!(ws.buffered_amount() <= most, "{} of {most}", ws.buffered_amount());
    }

    /// Lets the connections end in one of three ways, after which nothing must be left of them.
    fn end(mut self) {
        self.world.settle();
        let could_read_all = self.clients.iter().all(|client| client.sent.len() < 4096);
        // Beside a handler that is busy, a connection stops reading after 64 KiB, and its peer's
        // silence does not count from then on. So a handler that waits for the end has to be told.
        let waits_for_end = self.stage.waits_for_end.load(Ordering::Relaxed);
        match self.flags >> 6 {
            // Whatever the peers have done, they are silent from now on.
            0 | 1 if could_read_all || !waits_for_end => {
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
        assert!(self.clients.iter().all(|client| client.peer.is_dropped()), "a stream is left");
        assert_eq!(self.handle.connections(), 0);
        assert_eq!(self.handle.subscriber_count(TOPIC), 0);
        assert!(self.stage.all_ws().iter().all(|ws| ws.is_closed() && ws.buffered_amount() == 0));

        self.stage.let_all_go();
        self.world.settle();
        self.stage.check_end();
        assert_eq!(*self.sending.borrow(), 0, "someone still waits for a connection that is over");
        assert_eq!(self.world.clock.sleepers(), 0, "a timer is left");
        for client in &mut self.clients {
            let deflate = check_output(&client.peer.take());
            for session in &*self.stage.sessions.lock().unwrap() {
                if client.has_path(session.ws.param("*")) {
                    client.check_seen(&session.seen.lock().unwrap(), self.settings.limits, deflate);
                }
            }
        }
        let Self { stage, service, token, .. } = self;
        drop((stage, service));
        assert_eq!(Arc::strong_count(&token), 1, "the context of a connection is left");
    }
}
