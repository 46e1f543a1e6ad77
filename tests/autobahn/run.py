#!/usr/bin/env python3
"""Autobahn's fuzzing client against the echo example, on each runtime.

    python3 tests/autobahn/run.py                        every case on every runtime
    python3 tests/autobahn/run.py --compression tokio    sections 12 and 13 on tokio only

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
import subprocess
import sys

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
    index = folder / "reports" / "index.json"
    if status != 0 or not index.exists():
        print(f"{runtime}: wstest failed, see {folder / 'wstest.log'}")
        return False
    results = json.loads(index.read_text())[runtime]
    counts = collections.Counter(result["behavior"] for result in results.values())
    print(f"{runtime}: " + ", ".join(f"{n} {name}" for name, n in sorted(counts.items())))
    good = alive and len(results) == sum(expected.values())
    if not alive:
        print(f"{runtime}: the server did not survive")
    for case, result in results.items():
        allowed = ["OK", "INFORMATIONAL"] if case in INFORMATIONAL else ["OK"]
        behaviors = {result["behavior"], result["behaviorClose"]} - {"INFORMATIONAL", "OK"}
        if result["behavior"] not in allowed or behaviors:
            print(f"{runtime}: case {case} is {result['behavior']} ({result['behaviorClose']})")
            good = False
    if dict(counts) != expected:
        print(f"{runtime}: expected {expected}")
        good = False
    return good


EXPECTED = json.loads((HERE / "expected.json").read_text())
INFORMATIONAL = EXPECTED["informational"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--compression", metavar="RUNTIME", nargs="+", choices=RUNTIMES, default=RUNTIMES,
        help="run sections 12 and 13, most of the time it takes, on these only",
    )
    compression = parser.parse_args().compression
    subprocess.run(
        ["cargo", "build", "--release", "--all-features", "--example", "echo"],
        cwd=ROOT, check=True,
    )
    WORK.mkdir(parents=True, exist_ok=True)
    wstest = find_wstest()
    # Side by side: the suite mostly waits for itself.
    running = []
    for runtime in RUNTIMES:
        whole = runtime in compression
        exclude = [] if whole else ["12.*", "13.*"]
        expected = EXPECTED["all" if whole else "without_compression"]
        running.append((run_suite(wstest, runtime, ["*"], exclude), expected))
    good = [verdict(*run, expected) for run, expected in running]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
