#!/usr/bin/env python3
"""permessage-deflate against Python's `websockets`, whose zlib is another one than ours.

    cargo build --all-features --example interop_server
    python3 tests/interop/compression.py                  all of it, on every runtime
    python3 tests/interop/compression.py --seed 7         the messages of an earlier run

Random messages go through every offer a client can make against a spread of server
settings, and through every server setting against a few offers: several to a connection,
so that each can refer to those before it. What is negotiated must be there, and what comes
back must be what was sent. All of it runs on the first runtime, a sample on the others.

Needs PyPI's `websockets` (python3 -m pip install websockets).
"""

import argparse
import asyncio
import itertools
import os
import pathlib
import random
import subprocess
import sys
import time

try:
    from websockets.asyncio.client import connect
    from websockets.extensions.permessage_deflate import (
        ClientPerMessageDeflateFactory,
        PerMessageDeflate,
    )
except ImportError:
    sys.exit("This needs websockets 13 or newer: python3 -m pip install 'websockets>=13'")

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
RUNTIMES = ["tokio", "async-std", "smol"]

BITS = range(9, 16)
# What `interop_server` has a path for.
SERVERS = [
    f"/takeover-{server}-{client}/bits-{server_bits}-{client_bits}"
    for server, client, server_bits, client_bits in itertools.product(
        (0, 1), (0, 1), BITS, BITS
    )
]
LEVELS = [f"/level-{level}/mem-{mem}" for level in (1, 2, 4, 9) for mem in (1, 5, 9)]
# No takeover of the server's and the client's, window bits of the server's and the client's.
OFFERS = list(
    itertools.product(
        (False, True), (False, True), (None, *BITS), (None, True, *BITS)
    )
)
SOME_SERVERS = ["/takeover-1-1/bits-15-15", "/takeover-0-0/bits-15-15",
                "/takeover-1-0/bits-9-12", "/takeover-0-1/bits-12-9"]
SOME_OFFERS = [(False, False, None, True), (True, True, 9, 9), (False, False, 15, None)]


def messages(rng, count, largest):
    """Text and bytes, of all sizes, that compress well, badly, and not at all."""
    words = [bytes(rng.choices(b"abcdefgh ", k=rng.randint(1, 12))) for _ in range(40)]
    for _ in range(count):
        size = rng.choice([0, 1, rng.randint(2, 200), rng.randint(200, 3_000),
                           rng.randint(3_000, largest)])
        kind = rng.randrange(4)
        if kind == 0:
            yield rng.randbytes(size)
        elif kind == 1:
            yield bytes([rng.randrange(256)]) * size
        else:
            # Words recur within a message, and from one to the next.
            chunk = b"".join(rng.choices(words, k=min(size, 2_000)))
            data = (chunk * (size // max(len(chunk), 1) + 1))[:size]
            yield data if kind == 2 else data.decode().replace("a", "ä").replace("b", "💡")


async def exchange(address, path, offer, sent):
    """Sends messages on one connection; they must come back, compressed."""
    server_no_takeover, client_no_takeover, server_bits, client_bits = offer
    factory = ClientPerMessageDeflateFactory(
        server_no_takeover, client_no_takeover, server_bits, client_bits
    )
    ws = await connect(
        f"ws://{address}{path}", extensions=[factory], compression=None, max_size=None,
        ping_interval=None, proxy=None,
    )
    async with ws:
        [extension] = ws.protocol.extensions
        assert isinstance(extension, PerMessageDeflate), ws.response
        if server_no_takeover:
            assert extension.remote_no_context_takeover, extension
        if client_no_takeover or path.startswith(("/takeover-0-0", "/takeover-1-0")):
            assert extension.local_no_context_takeover, extension
        if server_bits is not None:
            assert extension.remote_max_window_bits <= server_bits, extension
        if client_bits not in (None, True):
            assert extension.local_max_window_bits <= client_bits, extension
        echoed = Compressed(ws)
        # All at once, so that the server's answers are under way while it still reads.
        sending = asyncio.create_task(send(ws, sent))
        for message in sent:
            received = await asyncio.wait_for(ws.recv(), 30)
            assert received == message, (
                f"{len(message)} characters came back as {len(received)}"
            )
        await sending
        assert echoed.all(len(sent)), "a message came back without RSV1"


class Compressed:
    """Counts the messages that came with RSV1, before the extension takes it off."""

    def __init__(self, ws):
        self.firsts = []
        [extension] = ws.protocol.extensions
        decode = extension.decode

        def counted(frame, **kwargs):
            if frame.opcode in (1, 2):
                self.firsts.append(frame.rsv1)
            return decode(frame, **kwargs)

        extension.decode = counted

    def all(self, count):
        return self.firsts == [True] * count


async def send(ws, messages):
    for message in messages:
        await ws.send(message)


async def run(address, rng, plan):
    """The connections of `plan`, some of them at a time; how many messages went through."""
    total, width = 0, asyncio.Semaphore(8)

    async def one(path, offer, sent):
        async with width:
            try:
                await exchange(address, path, offer, sent)
            except Exception as error:
                raise SystemExit(f"{path} with the offer {offer}: {error!r}") from error

    tasks = []
    for path, offer, count, largest in plan:
        sent = list(messages(rng, count, largest))
        total += len(sent)
        tasks.append(one(path, offer, sent))
    await asyncio.gather(*tasks)
    return total


def plan(rng, whole):
    every = [(path, offer, 4, 10_000) for path in SOME_SERVERS for offer in OFFERS]
    every += [(path, offer, 4, 10_000) for path in SERVERS for offer in SOME_OFFERS]
    every += [(path, offer, 4, 10_000) for path in LEVELS for offer in SOME_OFFERS]
    # More than a window of 32 KiB.
    large = [(path, offer, 6, 300_000) for path in SOME_SERVERS for offer in SOME_OFFERS]
    if not whole:
        every = rng.sample(every, 150)
    return every + large


def start(runtime):
    server = TARGET / "debug" / "examples" / "interop_server"
    if not server.exists():
        sys.exit(f"{server} is not built: cargo build --all-features --example interop_server")
    process = subprocess.Popen(
        [server, "--runtime", runtime, "--addr", "127.0.0.1:0"],
        stdout=subprocess.PIPE, text=True,
    )
    return process, process.stdout.readline().split("http://")[1].split()[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runtime", nargs="+", choices=RUNTIMES, default=RUNTIMES)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    for runtime in args.runtime:
        rng = random.Random(args.seed)
        process, address = start(runtime)
        began = time.monotonic()
        try:
            connections = plan(rng, runtime == args.runtime[0])
            total = asyncio.run(run(address, rng, connections))
            if process.poll() is not None:
                sys.exit(f"{runtime}: the server did not survive")
        finally:
            process.terminate()
            process.wait()
        seconds = time.monotonic() - began
        print(f"{runtime}: {total} messages on {len(connections)} connections came back "
              f"compressed and equal, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
