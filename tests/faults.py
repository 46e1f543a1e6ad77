#!/usr/bin/env python3
"""The echo example under errors of the operating system, which strace injects into its calls.

    cargo build --all-features --example echo
    python3 tests/faults.py                 every fault, on every runtime
    python3 tests/faults.py smol            on one

Under faults that a server must not show, every conversation is served. Under the others, those
that they hit may break off. Once strace is gone, every conversation is served again, and the server
has as many descriptors as before. Where strace cannot attach to a process, this says so, and ends.
"""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
RUNTIMES = ["tokio", "async-std", "smol"]

# What sends: one slice, or many.
SEND = "sendto,writev"
# Calls, the error of every so many of them, and whether conversations must be served all the same.
FAULTS = [
    ("accept4", "EMFILE", 2, True),
    ("accept4", "ENFILE", 2, True),
    ("accept4", "ECONNABORTED", 2, True),
    ("accept4", "EINTR", 2, True),
    ("recvfrom", "EINTR", 2, True),
    (SEND, "EINTR", 2, True),
    ("epoll_wait,epoll_pwait", "EINTR", 2, True),
    ("setsockopt", "ENOBUFS", 2, True),
    ("shutdown", "ENOTCONN", 2, True),
    ("recvfrom", "ECONNRESET", 19, False),
    ("recvfrom", "ETIMEDOUT", 19, False),
    (SEND, "ECONNRESET", 19, False),
    (SEND, "ENOBUFS", 19, False),
    (SEND, "EPIPE", 19, False),
]
CONVERSATIONS = 10

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def frame(first, payload, mask=b"\x01\x02\x03\x04"):
    """A masked frame, or with the mask `None` one of a server."""
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    if mask is None:
        return bytes([first]) + length + payload
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes([first, length[0] | 0x80]) + length[1:] + mask + masked


def expect(stream, expected):
    received = b""
    while len(received) < len(expected):
        read = stream.recv(len(expected) - len(received))
        if not read:
            raise ConnectionError("the end")
        received += read
    assert received == expected, f"{received!r} instead of {expected!r}"


def converse(port, patience=30):
    """Whether a conversation is served to its end. The client gives up after some seconds."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=patience) as stream:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream.sendall(HANDSHAKE)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                byte = stream.recv(1)
                if not byte:
                    return False
                head += byte
            assert head.startswith(b"HTTP/1.1 101 "), head
            for text in [b"hello", b"x" * 1000, b"y" * 60_000]:
                stream.sendall(frame(0x81, text))
                expect(stream, frame(0x81, text, None))
            # Answered by one write of many slices.
            stream.sendall(frame(0x82, b"z" * 5000) * 3)
            expect(stream, frame(0x82, b"z" * 5000, None) * 3)
            stream.sendall(frame(0x89, b"ping") + frame(0x01, b"in ") + frame(0x80, b"pieces"))
            expect(stream, frame(0x8A, b"ping", None) + frame(0x81, b"in pieces", None))
            stream.sendall(frame(0x88, b"\x03\xe8"))
            expect(stream, frame(0x88, b"\x03\xe8", None))
            return stream.recv(1) == b""
    except (ConnectionError, TimeoutError):
        return False


def attach(pid, calls, error, every, log):
    """strace, once it injects."""
    command = ["strace", "-f", "-o", log, "-e", f"trace={calls}", "-p", str(pid)]
    command += ["-e", f"inject={calls}:error={error}:when=1+{every}"] if error else []
    strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in strace.stderr:
        if "attached" in line:
            return strace
    return None


def detach(strace):
    strace.send_signal(signal.SIGINT)
    strace.communicate(timeout=30)


def can_attach():
    try:
        with subprocess.Popen(["sleep", "60"]) as sleeping, tempfile.TemporaryDirectory() as at:
            try:
                strace = attach(sleeping.pid, "read", None, 1, os.path.join(at, "log"))
                if strace:
                    detach(strace)
                return strace is not None
            finally:
                sleeping.kill()
    except FileNotFoundError:
        return False


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def run_fault(server, port, fault, log):
    calls, error, every, is_harmless = fault
    before = descriptors(server.pid)
    strace = attach(server.pid, calls, error, every, log)
    assert strace, "strace does not attach any more"
    # What could not be sent is waited for in vain.
    patience = 30 if is_harmless else 1
    served = sum(converse(port, patience) for _ in range(CONVERSATIONS))
    detach(strace)
    assert server.poll() is None, f"the server ended: {server.returncode}"
    injected = pathlib.Path(log).read_text().count("(INJECTED)")
    assert injected > 0, "no call of the server failed"
    assert not is_harmless or served == CONVERSATIONS, f"{served} of {CONVERSATIONS} served"
    # Without faults all is as it was.
    for _ in range(3):
        assert converse(port), "not served afterwards"
    ends = time.monotonic() + 30
    while descriptors(server.pid) > before:
        assert time.monotonic() < ends, f"{descriptors(server.pid)} descriptors, not {before}"
        time.sleep(0.05)
    return served, injected


def run(runtime, log):
    program = [TARGET / "debug" / "examples" / "echo", "--addr", "127.0.0.1:0", "--threads", "2"]
    server = subprocess.Popen(
        [*program, "--runtime", runtime], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    failed = []
    try:
        port = int(re.search(r":(\d+) ", server.stdout.readline())[1])
        # What threads open once.
        assert all(converse(port) for _ in range(CONVERSATIONS))
        for fault in FAULTS:
            name = f"{runtime}: {fault[0]} fails with {fault[1]}"
            try:
                served, injected = run_fault(server, port, fault, log)
                print(f"{name} {injected} times, {served} of {CONVERSATIONS} served", flush=True)
            except AssertionError as problem:
                failed.append(name)
                print(f"{name}: FAILED: {problem}", flush=True)
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=30) == 0, "the server does not end in order"
    finally:
        server.kill()
    return failed


def main():
    if not can_attach():
        print("SKIPPED: strace cannot attach to a process here, so no error can be injected")
        return
    with tempfile.TemporaryDirectory() as at:
        runtimes = sys.argv[1:] or RUNTIMES
        failed = [name for runtime in runtimes for name in run(runtime, os.path.join(at, "log"))]
    if failed:
        sys.exit(f"{len(failed)} failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
