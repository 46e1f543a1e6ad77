#!/usr/bin/env python3
"""Writes the inputs that fuzzing starts from to fuzz/seeds. Inputs that once broke a target are
there too, under names of their own: this leaves them alone.
"""

import struct
import zlib
from pathlib import Path

SEEDS = Path(__file__).parent / "seeds"

RAW, FRAMES = b"\1", b"\0"  # the first byte of `Input::wire`
FIN, TEXT, BINARY, CLOSE, PING, PONG, RSV1 = 0x80, 1, 2, 8, 9, 10, 0x40
MASK = bytes([0x37, 0xFA, 0x21, 0x3D])
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def write(target, **seeds):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds.items():
        (folder / name).write_bytes(data)


def piece(data):
    """What `Input::piece` takes."""
    return bytes([len(data)]) + data


def frame(first, payload=b""):
    """What `Input::frame` takes."""
    assert len(payload) < 0xF8
    return bytes([first]) + piece(payload)


def masked(first, payload=b""):
    """A frame as a client sends it."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
    return bytes([first]) + length + MASK + bytes(b ^ MASK[i % 4] for i, b in enumerate(payload))


def deflated(data, level=9):
    compress = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (compress.compress(data) + compress.flush(zlib.Z_SYNC_FLUSH))[:-4]


def head(*lines, request="GET /chat HTTP/1.1"):
    return "\r\n".join([request, *lines, "", ""]).encode("latin-1")


UPGRADE = [
    "Host: example.com",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY}",
]
CHROME = [
    "Host: localhost:3000",
    "Connection: Upgrade",
    "Pragma: no-cache",
    "Cache-Control: no-cache",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36",
    "Upgrade: websocket",
    "Origin: http://localhost:3000",
    "Sec-WebSocket-Version: 13",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-US,en;q=0.9",
    "Cookie: session=8f3a; a=1",
    f"Sec-WebSocket-Key: {KEY}",
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
]
FIREFOX = [
    "Host: example.com",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept: */*",
    "Sec-WebSocket-Version: 13",
    "Origin: https://example.com",
    "Sec-WebSocket-Protocol: v2, v1",
    "Sec-WebSocket-Extensions: permessage-deflate",
    f"Sec-WebSocket-Key: {KEY}",
    "Connection: keep-alive, Upgrade",
    "Upgrade: websocket",
]

# The limits, the number of cuts and the cuts.
PLAIN, CUT, SMALL = b"\0\0", b"\0\2\0\5\0\x30", b"\1\0"
write(
    "handshake",
    chrome=PLAIN + head(*CHROME),
    firefox=CUT + head(*FIREFOX) + masked(FIN | TEXT, b"early"),
    absolute=PLAIN + head(*UPGRADE, request="GET http://example.org/a?a=%41 HTTP/1.1"),
    page=PLAIN + head("Host: example.com", request="GET / HTTP/1.1"),
    http10=PLAIN + head(*UPGRADE, request="GET / HTTP/1.0"),
    small=SMALL + head("Host: a"),
    two_hosts=PLAIN + head(*UPGRADE, "Host: other"),
    body=PLAIN + head(*UPGRADE, "Content-Length: 5") + b"hello",
    chunked=PLAIN + head(*UPGRADE, "Transfer-Encoding: chunked"),
    folded=PLAIN + head(*UPGRADE, "X: a", " b"),
    bare_lf=PLAIN + head(*UPGRADE).replace(b"13\r\n", b"13\n"),
    empty_lines=PLAIN + b"\r\n\r\n" + head(*UPGRADE),
    path_not_text=PLAIN + head("Host: a", request="GET /%bb HTTP/1.1"),
    tls=PLAIN + bytes.fromhex("160301020001000001fc0303"),
    foreign=PLAIN + head(*UPGRADE, 'Origin: http://\xe9"<evil>.com'),
)

KINDS = [
    frame(FIN | TEXT, "héllo €".encode()),
    frame(TEXT, b"frag"),
    frame(FIN | PING, b"between"),
    frame(0, b"ments"),
    frame(FIN, b"."),
    frame(FIN | BINARY, bytes(range(130))),
    frame(FIN | PONG),
    frame(FIN | CLOSE, b"\x03\xe8bye"),
]
HELLO = frame(FIN | RSV1 | TEXT, bytes.fromhex("f248cdc9c90700"))
WIRE = b"".join(KINDS)
# The flags, the number of cuts and the cuts.
write(
    "frames",
    every_kind=b"\x40\2\0\3\0\x50" + FRAMES + WIRE,
    as_a_client=b"\x41\0" + FRAMES + WIRE,
    raw=b"\x40\1\0\1" + RAW + masked(FIN | TEXT, b"raw") + masked(FIN | CLOSE, b"\x0b\xb8"),
    compressed=b"\x54\1\0\4" + FRAMES + HELLO + HELLO,
    alone=b"\x4c\0" + FRAMES + HELLO + frame(FIN | RSV1 | TEXT, bytes.fromhex("f200110000")),
    large_direct=b"\x90\2\x60\0\xff\0" + FRAMES + bytes([FIN | BINARY, 0xFA, 7, TEXT, 0xF9, 65]),
    too_large=b"\x40\0" + FRAMES + bytes([FIN | BINARY, 0xFC, 7]),
    fragments=b"\x42\0" + FRAMES + frame(TEXT) + frame(0) * 3,
    announced=b"\xb0\0" + RAW + bytes([FIN | TEXT, 0xFF]) + struct.pack(">Q", 2**62) + MASK + b"abc",
    bad_text=b"\x40\0" + FRAMES + frame(TEXT, b"\xe2\x82") + frame(FIN, b"\x28"),
    bad_close=b"\x40\0" + FRAMES + frame(FIN | CLOSE, b"\x03\xed"),
    reserved=b"\x40\0" + FRAMES + frame(0xB1, b"x"),
)
write(
    "differential",
    every_kind=FRAMES + WIRE,
    raw=RAW + masked(FIN | TEXT, b"raw") + masked(FIN | CLOSE, b"\x0b\xb8"),
    too_large=FRAMES + bytes([FIN | BINARY, 0xFC, 7]),
    at_the_limit=FRAMES + bytes([FIN | BINARY, 0xFD, 7]),
    bad_text=FRAMES + frame(TEXT, b"\xe2\x82") + frame(FIN, b"\x28"),
    bad_close=FRAMES + frame(FIN | CLOSE, b"\x03\xed"),
    gateway=FRAMES + frame(FIN | CLOSE, b"\x03\xf6"),
    short_close=FRAMES + frame(FIN | CLOSE, b"\x03"),
    long_ping=FRAMES + bytes([FIN | PING, 0xFF, 7]),
    continuation=FRAMES + frame(FIN, b"x"),
    unfinished=FRAMES + frame(TEXT, b"x") + frame(FIN | TEXT, b"y"),
)

# The flags, the window bits, the number of cuts, and payloads with their kinds.
TALE = b"the quick brown fox jumps over the lazy dog and over the lazy dog again"
write(
    "inflate",
    hello=b"\0\x06\0" + b"\1" + piece(bytes.fromhex("f248cdc9c90700")) + b"\1" + piece(bytes.fromhex("f200110000")),
    stored=b"\3\x06\1\0\7" + b"\0" + piece(b"\x00\x05\x00\xfa\xffHello\x00"),
    final_block=b"\1\x06\0" + b"\0" + piece(bytes.fromhex("f348cdc9c9070000")),
    dynamic=b"\0\x06\0" + b"\1" + piece(deflated(bytes(i * i % 97 for i in range(300)))[:255]),
    bomb=b"\0\x06\0" + b"\1" + piece(deflated(bytes(150_000))),
    text=b"\x14\x30\2\0\x20\0\x40" + b"\0" + piece(TALE) + b"\2" + piece(TALE) + b"\0" + piece(TALE[5:]),
    long=b"\x20\x06\0" + b"\xc0" + piece(TALE) + b"\xff" + b"\xc1" + piece(bytes(range(200))) + b"\x90",
    empty=b"\0\0\0" + b"\0\0" + b"\1" + piece(b"\0"),
)

# The flags, the window bits, and the values of the headers.
write(
    "extensions",
    chrome=b"\0\x30permessage-deflate; client_max_window_bits",
    firefox=b"\3\x30permessage-deflate",
    all=b"\0\x0apermessage-deflate; server_no_context_takeover; client_no_context_takeover; "
    b'server_max_window_bits="10"; client_max_window_bits=12',
    second=b"\1\x30x-webkit-deflate-frame, permessage-deflate; server_max_window_bits=8\npermessage-deflate",
    no_number=b"\0\0permessage-deflate; server_max_window_bits=U6\npermessage-deflate; server_max_window_bits=11",
    quoted=b'\0\0permessage-deflate; a="\\b"; c',
    broken=b'\0\0permessage-deflate; a="',
    repeated=b"\0\0permessage-deflate; client_max_window_bits=9; client_max_window_bits=9",
)

# The parser, and its input.
write(
    "small_parsers",
    query=b"\0" + piece(b"a") + piece(b"a=1; b=2") + b"chat/x%20y?a=1%2B+2&b",
    encoded=b"\1" + piece(b"name") + piece("a+b &=%é".encode()) + piece(b"") + piece(b"x"),
    same_host=b"\2" + piece(b"example.com:8080") + b"http://Example.com:8080",
    default_port=b"\2" + piece(b"[::1]") + b"https://[::1]:443",
    protocols=b"\3" + b"v2, v1,, v1",
    close=b"\4\x03\xe8done",
    long_reason=b"\4\x0f\xa0" + "é".encode() * 100,
    routes=b"\5\3" + piece(b"/chat/:room") + piece(b"/chat/*") + piece(b"/chat/lobby") + b"/chat/lo%62by",
    tail=b"\5\2" + piece(b"/*") + piece(b"/:a/b/:c") + b"/x/b/y?q",
)


# The flags, the limits, and steps: a verb and what it takes.
def message(payload):
    return bytes([1]) + frame(FIN | TEXT, payload)


OPEN, OPEN_DEFLATE = b"\4", b"\5"
SEND_RAW, AGAIN, TIME, ROOM, ALL_ROOM, END, RESET = b"\0", b"\3", b"\6", b"\7", b"\x08", b"\x09", b"\x0a"
FLUSH, HOLD, ONE, GO, CONNECT, PEER = b"\x0b", b"\x0e", b"\x0f", b"\x10", b"\x11", b"\x12"
TRY, SEND, PUBLISH, SHUTDOWN = b"\x13", b"\x14", b"\x15", b"\x16\x07"
BYE, TERMINATE, SUBSCRIBE = b"\x17", b"\x18", b"\x1a"
write(
    "driver",
    echo=b"\0\1" + OPEN + message(b"echo") + b"\1" + frame(FIN | CLOSE, b"\x03\xe8"),
    slow_head=b"\0\1" + SEND_RAW + piece(b"GET / HTTP/1.1\r\n") + TIME + b"\5",
    in_pieces=b"\x40\1" + OPEN + message(b"echo") + message(b"try"),
    compressed=b"\x20\x21" + OPEN_DEFLATE + TRY + b"\0\0\xff" + SEND + b"\0\4\x90" + message(b"e" * 200),
    stalled=b"\0\0" + OPEN + ROOM + b"\0" + TRY + b"\0\2\x7f" + SEND + b"\0\2\x40" + SEND + b"\0\2\1" + ALL_ROOM,
    full=b"\1\0" + OPEN + ROOM + b"\0" + TRY + b"\0\2\x7f" + TRY + b"\0\2\x7f" + TIME + b"\7",
    ready=b"\0\0" + OPEN + ROOM + b"\0" + TRY + b"\0\2\x7f" + b"\x1d\0" + message(b"ready") + ALL_ROOM,
    busy=b"\x80\1" + OPEN + HOLD + message(b"e1") + message(b"e2") + ONE + END + TIME + b"\5",
    busy_violation=b"\x80\1" + OPEN + HOLD + message(b"e1") + b"\1" + frame(0xB1, b"x") + TIME + b"\5",
    overtaken=b"\x20\x21" + OPEN_DEFLATE + HOLD + message(b"hold") + b"\1" + frame(FIN | RSV1 | TEXT, b"\xff\xff")
    + b"\1" + frame(FIN | CLOSE, b"\x0b\xb8") + GO,
    flood=b"\0\1" + OPEN + HOLD + message(b"e" * 200) + AGAIN + b"\xff" + AGAIN + b"\xff" + GO,
    pings=b"\0\0" + OPEN + ROOM + b"\0" + b"\1" + frame(FIN | PING, b"are you there") + AGAIN + b"\xff" + ALL_ROOM,
    reset=b"\0\1" + OPEN + SEND + b"\0\2\5" + RESET + message(b"late"),
    half_message=b"\x18\1" + OPEN + b"\1" + frame(TEXT, b"half") + TIME + b"\6",
    lifetime=b"\6\1" + OPEN + message(b"e") + TIME + b"\7" + TIME + b"\7" + TIME + b"\7",
    without_pings=b"\x80\x41" + OPEN + HOLD + message(b"e") + ROOM + b"\0" + TRY + b"\0\2\7",
    room=b"\0\1" + OPEN + CONNECT + OPEN + SUBSCRIBE + b"\0" + message(b"s") + PUBLISH + b"\2\x10"
    + b"\x1c\0\2\x10" + PEER + b"\0" + message(b"all") + message(b"u") + PUBLISH + b"\0\x90",
    handler_closes=b"\0\1" + OPEN + message(b"c") + message(b"late"),
    handler_fails=b"\x40\1" + OPEN + message(b"f"),
    handle_closes=b"\0\1" + OPEN + BYE + b"\0\5" + TRY + b"\0\2\5" + TIME + b"\5",
    cut=b"\0\1" + OPEN + ROOM + b"\0" + SEND + b"\0\2\xff" + TERMINATE + b"\0",
    shutdown=b"\xc0\1" + OPEN + HOLD + message(b"e") + SHUTDOWN,
    flush=b"\0\1" + OPEN + FLUSH + b"\3" + message(b"echo") + b"\x0d" + END,
    refused=b"\0\1" + SEND_RAW + piece(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n") + TIME + b"\4",
)
