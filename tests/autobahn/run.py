#!/usr/bin/env python3
"""Autobahn's fuzzing client against the echo example, on each runtime, or its fuzzing server
against the engine as a client.

    python3 tests/autobahn/run.py                        every case on every runtime
    python3 tests/autobahn/run.py --compression tokio    sections 12 and 13 on tokio only
    python3 tests/autobahn/run.py --client               every case, the other way around

Every case must be OK, but for three that are INFORMATIONAL. The ids of those that are not
are printed, and the full reports stay in target/autobahn/. `wstest` is PyPI's
autobahntestsuite 0.8.2, which needs Python 2.7; it is installed into target/autobahn/venv
unless the environment variable WSTEST names one.
"""

import argparse
import collections
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
WORK = TARGET / "autobahn"
RUNTIMES = ["tokio", "async-std", "smol"]
SUITE = "autobahntestsuite==0.8.2"


def find_python2():
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    found = sorted(pyenv.glob("versions/2.7*/bin/python2.7")) + [shutil.which("python2.7")]
    return next((str(path) for path in found if path), None)


def find_wstest():
    if "WSTEST" in os.environ:
        return os.environ["WSTEST"]
    venv = WORK / "venv"
    wstest = venv / "bin" / "wstest"
    if not wstest.exists():
        python2 = find_python2()
        if not python2:
            sys.exit(
                "Autobahn's wstest needs Python 2.7: install it (`pyenv install 2.7.18`), "
                f"or set WSTEST to a wstest of {SUITE}."
            )
        print(f"installing {SUITE} into {venv}", flush=True)
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([python2, "-m", "pip", "install", "virtualenv"], **quiet)
        subprocess.run([python2, "-m", "virtualenv", str(venv)], **quiet)
        subprocess.run([str(venv / "bin" / "pip"), "install", SUITE], **quiet)
    return str(wstest)


def run_suite(wstest, runtime, cases, exclude):
    """Starts a server and the suite against it; the suite runs on."""
    echo = subprocess.Popen(
        [TARGET / "release" / "examples" / "echo", "--compression"]
        + ["--runtime", runtime, "--addr", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    address = echo.stdout.readline().split("http://")[1].split()[0]
    folder = WORK / runtime
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    spec = {
        "outdir": str(folder / "reports"),
        "servers": [{"agent": runtime, "url": f"ws://{address}"}],
        "cases": cases,
        "exclude-cases": exclude,
        "exclude-agent-cases": {},
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    log = open(folder / "wstest.log", "w")
    suite = subprocess.Popen(
        [wstest, "-m", "fuzzingclient", "-s", folder / "spec.json"], stdout=log, stderr=log
    )
    return runtime, echo, suite, folder


def verdict(runtime, echo, suite, folder, expected):
    """Waits for the suite; whether all is as expected."""
    status = suite.wait()
    alive = echo.poll() is None
    echo.terminate()
    echo.wait()
    if not alive:
        print(f"{runtime}: the server did not survive")
    if status != 0:
        print(f"{runtime}: wstest failed, see {folder / 'wstest.log'}")
    return judge(runtime, folder, expected) and alive and status == 0


def judge(agent, folder, expected):
    """Whether the suite's report is as expected."""
    index = folder / "reports" / "index.json"
    if not index.exists():
        print(f"{agent}: there is no report, see {folder / 'wstest.log'}")
        return False
    results = json.loads(index.read_text())[agent]
    counts = collections.Counter(result["behavior"] for result in results.values())
    print(f"{agent}: " + ", ".join(f"{n} {name}" for name, n in sorted(counts.items())))
    good = len(results) == sum(expected.values())
    for case, result in results.items():
        allowed = ["OK", "INFORMATIONAL"] if case in INFORMATIONAL else ["OK"]
        behaviors = {result["behavior"], result["behaviorClose"]} - {"INFORMATIONAL", "OK"}
        if result["behavior"] not in allowed or behaviors:
            print(f"{agent}: case {case} is {result['behavior']} ({result['behaviorClose']})")
            good = False
    if dict(counts) != expected:
        print(f"{agent}: expected {expected}")
        good = False
    return good


def run_client(wstest, cases, expected):
    """The fuzzing server, and the client against it, from start to end."""
    agent = "client"
    folder = WORK / agent
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    address = free_address()
    spec = {
        "url": f"ws://{address}",
        "outdir": str(folder / "reports"),
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    with open(folder / "wstest.log", "w") as log:
        suite = subprocess.Popen(
            # Without its web server.
            [wstest, "-m", "fuzzingserver", "-s", folder / "spec.json", "-u", "0"],
            stdout=log, stderr=log,
        )
        try:
            if not wait_for(address, suite):
                print(f"{agent}: wstest does not listen, see {folder / 'wstest.log'}")
                return False
            client = TARGET / "release" / "examples" / "autobahn_client"
            status = subprocess.run([client, "--addr", address, "--agent", agent]).returncode
        finally:
            suite.terminate()
            suite.wait()
    if status != 0:
        print(f"{agent}: it did not survive")
    return judge(agent, folder, expected) and status == 0


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1:{}".format(probe.getsockname()[1])


def wait_for(address, process):
    """Whether something listens there before its process ends."""
    host, port = address.split(":")
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return True
        time.sleep(0.1)
    return False


EXPECTED = json.loads((HERE / "expected.json").read_text())
INFORMATIONAL = EXPECTED["informational"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--compression", metavar="RUNTIME", nargs="+", choices=RUNTIMES, default=RUNTIMES,
        help="run sections 12 and 13, most of the time it takes, on these only",
    )
    parser.add_argument(
        "--client", action="store_true", help="run the engine as a client instead",
    )
    args = parser.parse_args()
    example = "autobahn_client" if args.client else "echo"
    subprocess.run(
        ["cargo", "build", "--release", "--all-features", "--example", example],
        cwd=ROOT, check=True,
    )
    WORK.mkdir(parents=True, exist_ok=True)
    wstest = find_wstest()
    if args.client:
        sys.exit(0 if run_client(wstest, ["*"], EXPECTED["all"]) else 1)
    # Side by side: the suite mostly waits for itself.
    running = []
    for runtime in RUNTIMES:
        whole = runtime in args.compression
        exclude = [] if whole else ["12.*", "13.*"]
        expected = EXPECTED["all" if whole else "without_compression"]
        running.append((run_suite(wstest, runtime, ["*"], exclude), expected))
    good = [verdict(*run, expected) for run, expected in running]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
