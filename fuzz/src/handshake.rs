use axeom_ws_core::{
    Answer, App, Compression, Context, Options, Peer, Service,
    handshake::{
        Head, HeadLimits, HeadReader, OriginPolicy, Refusal, check_head, check_upgrade, encode,
        is_upgrade, offered_extensions, offered_protocols,
    },
    http::{Request, Version, header::CONNECTION},
};
use futures::FutureExt;
use percent_encoding::percent_decode_str;

use crate::input::Input;

/// The same bytes give the same answer however they are cut, the answer comes before more than
/// the limits is read, and whoever is let in asked in a way that no two parsers read differently.
pub fn handshake(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = match input.byte() % 3 {
        0 => HeadLimits::new(),
        1 => HeadLimits::new().size(200).headers(8).request_line(64),
        _ => HeadLimits::new().size(64).headers(0).request_line(1000),
    };
    let cuts = input.cuts();
    let bytes = input.rest();

    let whole = read(limits, bytes, [bytes.len()]);
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    assert_same(&read(limits, bytes, ends), &whole);
    assert_same(&read(limits, bytes, 0..=bytes.len()), &whole);
    if bytes.len() > limits.size {
        assert_same(&read(limits, &bytes[..limits.size + 1], [limits.size + 1]), &whole);
        assert!(!matches!(whole, Ok(None)), "the limit is passed, and nothing is said");
    }
    if let Ok(Some(Head { request, size, .. })) = whole {
        assert!(size <= limits.size.min(bytes.len()));
        check(request, &bytes[..size]);
    }
}

type Read = Result<Option<Head>, Refusal>;

/// Shows a reader more and more of the bytes.
fn read(limits: HeadLimits, bytes: &[u8], ends: impl IntoIterator<Item = usize>) -> Read {
    let mut reader = HeadReader::new(limits);
    for end in ends {
        if let head @ Some(_) = reader.read(&bytes[..end])? {
            return Ok(head);
        }
    }
    Ok(None)
}

fn assert_same(one: &Read, other: &Read) {
    let text = |read: &Read| format!("{read:?}");
    assert_eq!(text(one), text(other));
}

fn check(request: Request<()>, head: &[u8]) {
    let host = check_head(&request);
    let upgrade = check_upgrade(&request, &OriginPolicy::default(), None);
    let protocols = offered_protocols(&request);
    let extensions = offered_extensions(&request);
    if host.is_ok() && upgrade.is_ok() {
        assert!(is_upgrade(&request));
        assert_eq!(request.version(), Version::HTTP_11);
        assert_unmistakable(head, request.headers().len());
    }
    let is_good = host.is_ok() && upgrade.is_ok() && protocols.is_ok() && extensions.is_ok();
    let refused = host.err().or(upgrade.err());
    let path = request.uri().path();
    let is_routed = path.starts_with('/') && percent_decode_str(path).decode_utf8().is_ok();
    let answer = service().respond(request, Peer::Memory).now_or_never().expect("nothing waits");
    assert_eq!(answer.status() == 101, is_good && is_routed);
    if let (Some(refused), true) = (refused, is_routed) {
        assert_eq!(answer.status(), refused.status(), "{refused:?}");
    }
    if let Answer::Response(response) = answer {
        // What is repeated of the request must not end a header or the body's only line.
        let bytes = encode(&response);
        let text = std::str::from_utf8(&bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let added = 1 + usize::from(!response.headers().contains_key(CONNECTION));
        assert_eq!(head.lines().count(), 1 + response.headers().len() + added, "{head:?}");
        assert_eq!(body.lines().count(), 1, "{body:?}");
        assert!(text.bytes().all(|byte| matches!(byte, b'\r' | b'\n' | b' '..=b'~')), "{text:?}");
    }
}

/// A head of which every line is a header with a name, a colon and a value, and that has one host
/// and no body.
fn assert_unmistakable(head: &[u8], headers: usize) {
    let text: String = head.iter().copied().map(char::from).collect();
    let text = text.trim_start_matches("\r\n").strip_suffix("\r\n\r\n").unwrap();
    assert!(text.starts_with("GET "));
    let mut lines = text.split("\r\n");
    assert_eq!(lines.next().unwrap().split(' ').count(), 3);
    let names: Vec<_> = lines
        .map(|line| {
            assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
            let (name, _) = line.split_once(':').unwrap();
            assert!(!name.contains([' ', '\t']), "{line:?}");
            name.to_ascii_lowercase()
        })
        .collect();
    assert_eq!(names.len(), headers);
    assert_eq!(names.iter().filter(|name| *name == "host").count(), 1);
    assert!(names.iter().all(|name| name != "transfer-encoding"));
}

/// A service with a route for every path.
fn service() -> Service {
    let options = Options::new().compression(Compression::new());
    App::new()
        .options(options)
        .derive(async |ctx: Context| {
            let _ = (ctx.query("a"), ctx.cookie("a"), ctx.header("origin"), ctx.uri());
            Ok(ctx.param("*").len())
        })
        .ws("/*", |route| {
            route.select_protocol(|_, offered| offered.last().map(|last| (*last).to_owned()))
        })
        .build()
        .unwrap()
}
