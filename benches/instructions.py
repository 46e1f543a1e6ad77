#!/usr/bin/env python3
"""How many instructions each operation takes, against the figures in instructions.json.

    benches/instructions.py            fails if one takes over 3 % more
    benches/instructions.py --store    takes what was measured for the new figures
    benches/instructions.py echo       the cases with this in their name

Instructions are counted by callgrind, which runs the program on a processor of its own making:
another machine with the toolchain of rust-toolchain.toml counts the same. A case does its operation
some thousand times, for what differs from run to run is where keys are in hash tables.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
STORED = ROOT / "benches" / "instructions.json"
TOLERANCE = 3.0


def build():
    command = ["cargo", "bench", "--bench", "instructions", "--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    messages = map(json.loads, built.stdout.splitlines())
    [program] = [
        message["executable"]
        for message in messages
        if message.get("executable") and message["target"]["name"] == "instructions"
    ]
    return program


# The environment is on the stack, and moves it. Without ERMS, libc copies with vector
# instructions, as many as on any machine: callgrind would count `rep movsb` byte by byte.
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-ERMS"}
VALGRIND = shutil.which("valgrind")


def measure(program, case, batches):
    """Instructions for each operation."""
    command = [VALGRIND, "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    # Only what happens in that function: neither the start of the program nor what a case sets up.
    command += ["--toggle-collect=*instructions*counted*", program, case, str(batches)]
    run = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    collected = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode != 0 or not collected or collected[1] == "0":
        sys.exit(f"{case} could not be measured:\n{run.stderr}")
    operations = int(run.stdout.split("\t")[0])
    return int(collected[1]) / (batches * operations)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", action="store_true", help="store the new figures")
    parser.add_argument("only", nargs="?", default="", help="part of the names of cases")
    args = parser.parse_args()

    if not VALGRIND:
        sys.exit("valgrind is not installed")
    program = build()
    listed = subprocess.run([program, "--list"], stdout=subprocess.PIPE, text=True, check=True)
    cases = [line.split("\t") for line in listed.stdout.splitlines()]
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}

    print(f"{'instructions an operation':<60} {'stored':>10} {'measured':>10} {'change':>8}")
    measured, dearer, cheaper, missing = {}, [], [], []
    for batches, case in cases:
        if args.only not in case:
            continue
        now = measure(program, case, int(batches))
        measured[case] = round(now) if now >= 1000 else round(now, 1)
        before = stored.get(case)
        change = ""
        if before is None:
            missing.append(case)
        else:
            percent = 100 * (now / before - 1)
            change = f"{percent:+.1f} %"
            if percent > TOLERANCE:
                dearer.append(case)
            elif percent < -TOLERANCE:
                cheaper.append(case)
        print(f"{case:<60} {before or '':>10} {measured[case]:>10} {change:>8}", flush=True)

    names = {case for _, case in cases}
    gone = [case for case in stored if case not in names]
    if args.store:
        kept = {case: figure for case, figure in stored.items() if case in names}
        figures = {**kept, **measured}
        figures = {case: figures[case] for _, case in cases if case in figures}
        STORED.write_text(json.dumps(figures, indent=2) + "\n")
        print(f"\nstored in {STORED.relative_to(ROOT)}")
        return
    if cheaper:
        print(f"\n{len(cheaper)} cheaper by over {TOLERANCE:g} %: benches/instructions.py --store keeps that")
    problems = [
        (f"dearer by over {TOLERANCE:g} %", dearer),
        ("without a stored figure", missing),
        ("stored, and not a case any more", gone),
    ]
    for problem, what in problems:
        if what:
            print(f"\n{problem}: {', '.join(what)}")
    if dearer or missing or gone:
        sys.exit("\nif that is as it should be: benches/instructions.py --store")


if __name__ == "__main__":
    main()
