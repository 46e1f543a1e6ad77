use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
};

use axeom_ws_core::{
    Bytes, CloseCode, CloseFrame, ConnectionError, Event, Handler, HandlerResult, Message,
    Utf8Bytes, Ws,
};

use super::{BY_A_HANDLER, Data, TOPIC};

/// Where the handlers of all connections are called, and held.
#[derive(Default)]
pub(super) struct Stage {
    pub(super) sessions: Mutex<Vec<Arc<Session>>>,
    gate: Mutex<Gate>,
    /// Whether a handler has waited for the end of its connection.
    pub(super) waits_for_end: AtomicBool,
}

#[derive(Default)]
struct Gate {
    is_closed: bool,
    passes: usize,
    waiting: Vec<Waker>,
}

impl Stage {
    pub(super) fn hold(&self) {
        self.gate.lock().unwrap().is_closed = true;
    }

    pub(super) fn let_go(&self, passes: usize) {
        let mut gate = self.gate.lock().unwrap();
        gate.passes += passes;
        let waiting = std::mem::take(&mut gate.waiting);
        drop(gate);
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(super) fn let_all_go(&self) {
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

    pub(super) fn all_ws(&self) -> Vec<Ws<Data>> {
        self.sessions.lock().unwrap().iter().map(|session| session.ws.clone()).collect()
    }

    /// A handle of any connection, also one that is over.
    pub(super) fn ws(&self, nth: usize) -> Option<Ws<Data>> {
        let sessions = self.sessions.lock().unwrap();
        let nth = nth.checked_rem(sessions.len())?;
        Some(sessions[nth].ws.clone())
    }

    /// `close` was the last call for each `open`.
    pub(super) fn check_end(&self) {
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

pub(super) struct Session {
    pub(super) ws: Ws<Data>,
    last: Mutex<Call>,
    is_busy: AtomicBool,
    pub(super) seen: Mutex<Seen>,
}

/// What the handlers of a connection were told.
#[derive(Default)]
pub(super) struct Seen {
    /// Messages, pings and pongs.
    pub(super) events: Vec<Event>,
    pub(super) error: Option<ConnectionError>,
    pub(super) close: Option<CloseFrame>,
}

impl Session {
    fn see(&self, event: Event) {
        self.seen.lock().unwrap().events.push(event);
    }

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

pub(super) struct Recorder(pub(super) Arc<Stage>);

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
        let session = Arc::new(Session {
            ws: ws.clone(),
            last,
            is_busy: AtomicBool::new(false),
            seen: Mutex::default(),
        });
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
        session.see(Event::Message(message.clone()));
        let _busy = session.begin(Call::Event);
        self.0.pass().await;
        match message.as_bytes().first() {
            Some(b'e') => ws.send(message).await?,
            Some(b't') => drop(ws.try_send(message)?),
            Some(b'r') => ws.ready().await?,
            Some(b'c') => ws.close(4000, BY_A_HANDLER),
            Some(b'x') => ws.terminate(),
            Some(b's') => drop(ws.subscribe(TOPIC)),
            Some(b'u') => drop(ws.unsubscribe(TOPIC)),
            Some(b'p') => drop(ws.publish(TOPIC, message)),
            Some(b'a') => drop(ws.publish_to_all(TOPIC, message)),
            Some(b'f') => return Err("failed".into()),
            Some(b'w') => {
                self.0.waits_for_end.store(true, Ordering::Relaxed);
                ws.closed().await;
            }
            _ => {}
        }
        Ok(())
    }

    async fn ping(&self, session: &mut Arc<Session>, _: Ws<Data>, payload: Bytes) -> HandlerResult {
        session.see(Event::Ping(payload));
        self.call(session, Call::Event).await
    }

    async fn pong(&self, session: &mut Arc<Session>, _: Ws<Data>, payload: Bytes) -> HandlerResult {
        session.see(Event::Pong(payload));
        self.call(session, Call::Event).await
    }

    async fn drain(&self, session: &mut Arc<Session>, _: Ws<Data>) -> HandlerResult {
        self.call(session, Call::Event).await
    }

    async fn error(
        &self,
        session: &mut Arc<Session>,
        _: Ws<Data>,
        error: ConnectionError,
    ) -> HandlerResult {
        session.seen.lock().unwrap().error = Some(error);
        self.call(session, Call::Error).await
    }

    async fn close(
        &self,
        session: &mut Arc<Session>,
        _: Ws<Data>,
        code: CloseCode,
        reason: Utf8Bytes,
    ) -> HandlerResult {
        session.seen.lock().unwrap().close = Some(CloseFrame::new(code, reason));
        self.call(session, Call::Close).await
    }
}
