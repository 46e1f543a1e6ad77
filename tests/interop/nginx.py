#!/usr/bin/env python3
"""The example `behind_proxy` behind a real nginx, with Python's `websockets` as the client.

    cargo build --all-features --example behind_proxy
    python3 tests/interop/nginx.py

nginx ends TLS and passes requests on with X-Forwarded-For and its kin; on another port it passes
streams on with the PROXY protocol. A client that makes these headers up is not believed. nginx is
reloaded while connections are open, and none of them is lost.

Needs PyPI's `websockets`, and Debian's nginx, libnginx-mod-stream and openssl.
"""

import asyncio
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile

try:
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus
except ImportError:
    sys.exit("This needs websockets 13 or newer: python3 -m pip install 'websockets>=13'")

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

CONFIG = """
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{https} ssl;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        location / {{
            proxy_pass http://{plain};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host inside.example;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
        }}
    }}
}}
stream {{
    server {{
        listen 127.0.0.1:{stream};
        proxy_pass {announced};
        proxy_protocol on;
    }}
}}
"""


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


async def until_open(port):
    while True:
        try:
            (await asyncio.open_connection("127.0.0.1", port))[1].close()
            return
        except OSError:
            await asyncio.sleep(0.02)


async def check(folder, https, stream, nginx):
    await until_open(https)
    trust = ssl.create_default_context(cafile=folder / "certificate.pem")
    trust.check_hostname = False
    secure = lambda **options: connect(f"wss://127.0.0.1:{https}/", ssl=trust, **options)

    # The client is 127.0.0.1, which is trusted as a proxy too: what it says itself is believed, as
    # if another proxy had said it; but the host is the one that nginx was asked for.
    made_up = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Host": "evil.example"}
    async with secure(additional_headers=made_up) as client:
        assert await client.recv() == f"you are 192.0.2.7:0 and asked for 127.0.0.1:{https}"
    forwarded = {"Forwarded": "for=192.0.2.7;host=evil.example"}
    async with secure(additional_headers=forwarded) as client:
        assert await client.recv() == f"you are 127.0.0.1:0 and asked for 127.0.0.1:{https}"

    # The origin is compared with what the client asked nginx for, and how.
    async with secure(origin=f"https://127.0.0.1:{https}") as client:
        await client.recv()
    for origin in (f"http://127.0.0.1:{https}", "https://inside.example", "https://evil.example"):
        try:
            async with secure(origin=origin):
                raise AssertionError(f"{origin} may connect")
        except InvalidStatus as refused:
            assert refused.response.status_code == 403, refused

    async with connect(f"ws://127.0.0.1:{stream}/") as client:
        port = client.local_address[1]
        hello = await client.recv()
        assert hello == f"you are 127.0.0.1:{port} and asked for 127.0.0.1:{stream}", hello

        # A reload: workers with open connections stay until those are over.
        async with secure() as other:
            await other.recv()
            nginx.send_signal(signal.SIGHUP)
            for n in range(20):
                for one in (client, other):
                    await one.send(f"{n}")
                    assert await one.recv() == f"{n}"
                async with secure() as new:
                    await new.recv()


def main():
    example = TARGET / "debug/examples/behind_proxy"
    if not example.exists():
        sys.exit(f"{example} is not built: cargo build --all-features --example behind_proxy")
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        sys.exit("This needs nginx: apt-get install nginx libnginx-mod-stream")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
             "-subj", "/CN=localhost", "-keyout", folder / "key.pem",
             "-out", folder / "certificate.pem"],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        server = subprocess.Popen(
            [example, "--addr", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
        )
        running = None
        try:
            plain, announced = (
                re.search(r"http://(\S+)", server.stdout.readline())[1] for _ in range(2)
            )
            https, stream = free_port(), free_port()
            config = folder / "nginx.conf"
            config.write_text(
                CONFIG.format(
                    folder=folder, https=https, stream=stream, plain=plain, announced=announced
                )
            )
            running = subprocess.Popen([nginx, "-c", config, "-e", folder / "error.log"])
            asyncio.run(asyncio.wait_for(check(folder, https, stream, running), 60))
            server.send_signal(signal.SIGINT)
            assert server.wait(20) == 0
        except BaseException:
            print((folder / "error.log").read_text() if (folder / "error.log").exists() else "")
            raise
        finally:
            for process in filter(None, (running, server)):
                process.terminate()
                process.wait()
    print("nginx: X-Forwarded-For over TLS, the PROXY protocol, and a reload")


if __name__ == "__main__":
    main()
