#!/usr/bin/env python3
"""The examples `tls` and `unix` with Python's `websockets`: over TLS, and over a Unix socket.

    cargo build --all-features --example tls --example unix
    python3 tests/interop/transports.py

Needs PyPI's `websockets` (python3 -m pip install websockets).
"""

import asyncio
import os
import pathlib
import re
import signal
import ssl
import subprocess
import sys
import tempfile

try:
    from websockets.asyncio.client import connect, unix_connect
except ImportError:
    sys.exit("This needs websockets 13 or newer: python3 -m pip install 'websockets>=13'")

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


async def echoes(client):
    for message in ("é" * 100_000, b"\xff" * 300_000, ""):
        await client.send(message)
        assert await client.recv() == message


async def tls(lines):
    address = re.search(r"https://\S+:(\d+)", lines[0])[1]
    trust = ssl.create_default_context(cafile=re.search(r"is (\S+)", lines[1])[1])
    async with connect(f"wss://localhost:{address}/", ssl=trust) as client:
        await echoes(client)
        yield client


async def unix(lines):
    address, path = re.search(r"http://(\S+)", lines[0])[1], lines[1].split()[-1]
    async with unix_connect(path.removeprefix("unix:"), "ws://localhost/") as client:
        assert await client.recv() == f"you are unix, user Some({os.getuid()})"
        await echoes(client)
        async with connect(f"ws://{address}/") as other:
            assert re.fullmatch(r"you are 127\.0\.0\.1:\d+, user None", await other.recv())
        yield client


async def run(name, use):
    example = TARGET / "debug/examples" / name
    if not example.exists():
        sys.exit(f"{example} is not built: cargo build --all-features --example {name}")
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [example, "--addr", "127.0.0.1:0"],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": folder},
        )  # fmt: skip
        try:
            lines = [server.stdout.readline().strip() for _ in range(2)]
            # The connection is open while the example is interrupted, and is closed with 1001.
            async for client in use(lines):
                server.send_signal(signal.SIGINT)
                await client.wait_closed()
                assert client.close_code == 1001, client.close_code
            assert await asyncio.to_thread(server.wait, 20) == 0
            assert server.stdout.read() == "closed all connections\n"
            # The socket's file is gone with its server.
            assert not list(pathlib.Path(folder).glob("*.sock"))
        finally:
            server.kill()
            server.wait()
    print(f"{name}: messages both ways, and closed with 1001")


async def main():
    for name, use in (("tls", tls), ("unix", unix)):
        await asyncio.wait_for(run(name, use), 60)


asyncio.run(main())
