use std::{
    borrow::Cow,
    sync::{Arc, Mutex},
};

use axeom_ws_core::{
    Answer, App, CloseFrame, Context, Event, Networks, Peer, Rejection, Service, Utf8Bytes, Ws,
    handshake::{OriginPolicy, check_head, check_upgrade, offered_protocols},
    http::{HeaderName, HeaderValue, Request, Uri, header, uri::Authority},
    protocol::{Inbound, Limits, Outbound, Role, Violation},
};
use futures::executor::block_on;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use crate::{
    frame::{self, CLOSE},
    input::Input,
    request::{self, KEY},
    support::World,
};

/// The parsers of one line or less, chosen by the first byte.
pub fn small_parsers(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 7 {
        0 => request_values(&mut input),
        1 => encoded_query(&mut input),
        2 => host_and_origin(&mut input),
        3 => protocols(&mut input),
        4 => close_frames(&mut input),
        5 => routes(&mut input),
        _ => proxies(&mut input),
    }
}

/// Whatever a client sends, what a trusted proxy appends to it counts.
fn proxies(input: &mut Input<'_>) {
    const CLIENT: &str = "192.0.2.9:0";

    thread_local! {
        static SERVICES: [Service; 2] = {
            let trusted = || Networks::new(["10.0.0.0/8"]).unwrap().and_unix();
            let app = || App::new();
            [app().trust_x_forwarded(trusted()), app().trust_forwarded(trusted())].map(|app| {
                let said = async |ctx: Context| Err(Rejection::forbidden(ctx.peer().to_string()));
                app.guard(said).ws("/", |route| route).build().unwrap()
            })
        };
    }
    let (flags, sent) = (input.byte(), input.rest());
    let is_forwarded = flags & 1 != 0;
    let (name, appended): (_, &[u8]) = match (is_forwarded, flags & 2 != 0) {
        (false, false) => (HeaderName::from_static("x-forwarded-for"), b"192.0.2.9"),
        (false, true) => (HeaderName::from_static("x-forwarded-for"), b"192.0.2.9, 10.0.0.1"),
        (true, false) => (header::FORWARDED, b"for=192.0.2.9;proto=https"),
        (true, true) => (header::FORWARDED, b"proto=http;for=\"192.0.2.9:0\",for=10.0.0.1"),
    };
    let lines = [(header::HOST, &b"localhost"[..])];
    // A proxy appends to the last line, or adds a line of its own.
    let request = if flags & 4 == 0 {
        let line = [sent, b", ", appended].concat();
        with_headers(&[lines.as_slice(), &[(name, &*line)]].concat())
    } else {
        with_headers(&[lines.as_slice(), &[(name.clone(), sent), (name, appended)]].concat())
    };
    let Some(request) = request else { return };
    let service = SERVICES.with(|services| services[usize::from(is_forwarded)].clone());
    match block_on(service.respond(request, Peer::Unix)) {
        Answer::Response(response) if response.status() == 400 => assert!(is_forwarded),
        Answer::Response(response) => {
            assert_eq!(response.status(), 403);
            assert_eq!(response.body(), format!("{CLIENT}\n").as_bytes());
        }
        other => panic!("{other:?}"),
    }
}

fn with_headers(headers: &[(HeaderName, &[u8])]) -> Option<Request<()>> {
    let mut request = request::without_host();
    for (name, value) in headers {
        request.headers_mut().append(name.clone(), HeaderValue::from_bytes(value).ok()?);
    }
    Some(request)
}

/// What handlers see of a request.
#[derive(Debug, Default, Clone, PartialEq)]
struct Seen {
    query: Option<String>,
    cookie: Option<String>,
    headers: Vec<String>,
    tail: String,
    protocol: Option<String>,
}

/// A derive, which reads the request, and a handler, which reads what is kept of it, see the same.
/// Returns what they see, if the handshake is accepted.
fn seen(target: &str, cookie: &[u8], protocols: &[u8], name: &str) -> Option<Seen> {
    let (in_derive, in_open) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(None)));
    let (derived, opened) = (Arc::clone(&in_derive), Arc::clone(&in_open));
    let (ctx_name, ws_name) = (name.to_owned(), name.to_owned());
    let own = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
    let app = App::new()
        .derive(move |ctx: Context| {
            *derived.lock().unwrap() = Some(Seen {
                query: own(ctx.query(&ctx_name)),
                cookie: ctx.cookie(&ctx_name).map(str::to_owned),
                headers: ctx.headers("cookie").map(str::to_owned).collect(),
                tail: ctx.param("*").to_owned(),
                protocol: None,
            });
            async { Ok(()) }
        })
        .ws("/*", move |route| {
            route
                .select_protocol(|_, offered| offered.first().map(|first| (*first).to_owned()))
                .open(move |ws: Ws<_>| {
                    *opened.lock().unwrap() = Some(Seen {
                        query: own(ws.query(&ws_name)),
                        cookie: ws.cookie(&ws_name).map(str::to_owned),
                        headers: ws.headers("cookie").map(str::to_owned).collect(),
                        tail: ws.param("*").to_owned(),
                        protocol: ws.protocol().map(str::to_owned),
                    });
                    async {}
                })
        });
    let mut world = World::new();
    let mut peer = world.connect(&app.build().unwrap());
    let request_line = format!("GET {target} HTTP/1.1\r\n");
    let head = [
        request_line.as_bytes(),
        b"Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ",
        KEY.as_bytes(),
        b"\r\nCookie: ",
        cookie,
        b"\r\nSec-WebSocket-Protocol: ",
        protocols,
        b"\r\n\r\n",
    ];
    peer.send(&head.concat());
    world.settle();
    peer.reset();
    world.settle();
    assert!(peer.is_dropped());
    let (derived, opened) = (in_derive.lock().unwrap().take(), in_open.lock().unwrap().take());
    let opened = opened?;
    assert_eq!(derived, Some(Seen { protocol: None, ..opened.clone() }));
    Some(opened)
}

fn request_values(input: &mut Input<'_>) {
    let name = String::from_utf8_lossy(input.piece()).into_owned();
    let cookie = input.piece();
    let target = format!("/{}", String::from_utf8_lossy(input.rest()));
    seen(&target, cookie, b"v1", &name);
}

/// Every value that was encoded comes out as it went in.
fn encoded_query(input: &mut Input<'_>) {
    let mut pairs = Vec::new();
    while !input.is_empty() && pairs.len() < 8 {
        let name = String::from_utf8_lossy(input.piece()).into_owned();
        let value = String::from_utf8_lossy(input.piece()).into_owned();
        pairs.push((name, value));
    }
    // A space may be a plus (https://url.spec.whatwg.org/#urlencoded-serializing).
    let encode = |text: &str| {
        percent_encode(text.as_bytes(), NON_ALPHANUMERIC).to_string().replace("%20", "+")
    };
    let query: Vec<_> =
        pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    let target = format!("/{}?{}", encode("tail"), query.join("&"));
    for (name, _) in &pairs {
        // A head that is too long is refused.
        if let Some(seen) = seen(&target, b"", b"v1", name) {
            let first = pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value);
            assert_eq!(seen.query.as_ref(), first);
        }
    }
}

fn host_and_origin(input: &mut Input<'_>) {
    let (host, origin) = (input.piece(), input.rest());
    let Some(request) = with_headers(&[(header::HOST, host), (header::ORIGIN, origin)]) else {
        return;
    };
    if check_head(&request).is_err() {
        return;
    }
    let text = std::str::from_utf8(host).expect("a host is ASCII");
    assert!(!text.contains(['@', '/', '?', '#', '\\', ' ', '\t', '"']), "{text:?}");
    if check_upgrade(&request, &OriginPolicy::SameHost, None).is_err() {
        return;
    }
    let origin: Uri = origin.try_into().expect("an origin is a URI");
    let port = match origin.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        other => panic!("pages of {other:?} may connect"),
    };
    // What `http` does not read as an authority has no other meaning for a browser either.
    let asked: Authority = text.parse().expect("a host that a page comes from is an authority");
    let page = origin.authority().unwrap();
    assert!(page.host().eq_ignore_ascii_case(asked.host()), "{page} {asked}");
    assert_eq!(page.port_u16().unwrap_or(port), asked.port_u16().unwrap_or(port));
    assert!(matches!(origin.path(), "" | "/"));
}

fn protocols(input: &mut Input<'_>) {
    let value = input.rest();
    let Some(request) = with_headers(&[(header::SEC_WEBSOCKET_PROTOCOL, value)]) else { return };
    let Ok(offered) = offered_protocols(&request) else { return };
    let text = std::str::from_utf8(value).unwrap();
    let items = text.split(',').map(|item| item.trim_matches([' ', '\t']));
    assert_eq!(offered, items.filter(|item| !item.is_empty()).collect::<Vec<_>>());
    if let Some(seen) = seen("/", b"", value, "") {
        assert_eq!(seen.protocol.as_deref(), offered.first().copied());
    }
}

/// A body of any bytes is a close frame or a violation, and what one side sends as a close frame is
/// one to the other.
fn close_frames(input: &mut Input<'_>) {
    let body = input.rest();
    let mut wire = frame::encode(frame::FIN | CLOSE, body, None);
    let received = Inbound::new(Role::Client, Limits::default()).receive(&mut wire);
    match received.map(|received| received.event) {
        Ok(Some(Event::Close(frame))) if body.is_empty() => {
            assert_eq!(frame, CloseFrame::new(1005, ""));
        }
        Ok(Some(Event::Close(frame))) => {
            assert!(frame.code.is_sendable());
            assert_eq!(frame.code.as_u16().to_be_bytes(), body[..2]);
            assert_eq!(frame.reason.as_bytes(), &body[2..]);
        }
        Ok(other) => panic!("{other:?}"),
        Err(Violation::ControlTooLong { .. }) => assert!(body.len() > 125),
        Err(Violation::TruncatedCloseCode) => assert_eq!(body.len(), 1),
        Err(Violation::BadCloseCode { code }) => assert!(!code.is_sendable()),
        Err(Violation::InvalidUtf8) => assert!(std::str::from_utf8(&body[2..]).is_err()),
        Err(other) => panic!("{other:?}"),
    }

    let Some((code, reason)) = body.split_first_chunk() else { return };
    let code = u16::from_be_bytes(*code);
    let reason = String::from_utf8_lossy(reason).into_owned();
    let mut outbound = Outbound::new(Role::Server);
    outbound.close(CloseFrame::new(code, Utf8Bytes::from(reason.as_str())));
    let mut wire = outbound.take().to_vec();
    let received = Inbound::new(Role::Client, Limits::default()).receive(&mut wire);
    let Ok(Some(Event::Close(frame))) = received.map(|received| received.event) else {
        panic!("{code} {reason:?}")
    };
    let is_sendable = frame.code == code && frame.code.is_sendable();
    assert!(is_sendable || frame.code == 1011 || code == 1005, "{code} became {}", frame.code);
    assert!(reason.starts_with(frame.reason.as_str()));
    let is_whole = frame.reason.len() == reason.len() || frame.reason.len() > 123 - 4;
    assert!(is_whole || code == 1005, "{reason:?} became {:?}", frame.reason);
}

/// A path finds the route of a pattern that it matches, if there is one.
fn routes(input: &mut Input<'_>) {
    let patterns: Vec<_> = (0..input.byte() % 4)
        .map(|_| String::from_utf8_lossy(input.piece()).into_owned())
        .collect();
    let target = String::from_utf8_lossy(input.rest()).into_owned();
    let found = Arc::new(Mutex::new(None));
    let mut app = App::new();
    for (n, pattern) in patterns.iter().enumerate() {
        let found = Arc::clone(&found);
        app = app.ws(pattern, move |route| {
            route.open(move |ws: Ws| {
                let params = ws.params().map(|(name, value)| (name.to_owned(), value.to_owned()));
                *found.lock().unwrap() = Some((n, params.collect::<Vec<_>>()));
                async {}
            })
        });
    }
    let Ok(service) = app.build() else { return };
    let mut world = World::new();
    let mut peer = world.connect(&service);
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    peer.send(head.as_bytes());
    world.settle();
    let response = peer.take();
    let path = target.split('?').next().unwrap_or_default();
    let matching = |pattern: &String| is_match(pattern, path);
    if response.starts_with(b"HTTP/1.1 101 ") {
        let (n, params) = found.lock().unwrap().take().expect("the handler ran");
        if path.starts_with('/') {
            assert!(matching(&patterns[n]), "{} for {path}", patterns[n]);
        }
        let names = patterns[n].split('/').filter_map(|segment| match segment {
            "*" => Some("*"),
            _ => segment.strip_prefix(':'),
        });
        assert!(names.eq(params.iter().map(|(name, _)| &**name)));
    } else if response.starts_with(b"HTTP/1.1 404 ") && path.starts_with('/') {
        assert!(!patterns.iter().any(matching), "no route for {path}");
    }
}

/// Whether a path matches a pattern, as the documentation of `App::ws` says.
fn is_match(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    for part in pattern.split('/') {
        let Some(segment) = segments.next() else { return false };
        match part {
            "*" => return true,
            _ if part.starts_with(':') => {
                if segment.is_empty() {
                    return false;
                }
            }
            _ if part == segment => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}
