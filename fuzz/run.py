#!/usr/bin/env python3
"""Runs fuzz targets one after another, and prints what each did.

    fuzz/run.py                                   every target, for a minute
    fuzz/run.py --seconds 600 driver              one of them, for ten
    fuzz/run.py --seconds 7200 --executions 50000000
                                                  every target, until one of the two is reached

What it learns is kept in fuzz/corpus, where the next run goes on. An input that breaks a target is
written to fuzz/artifacts; this fails then, after the other targets had their turn.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).resolve().parent
TARGETS = sorted(path.stem for path in (FUZZ / "fuzz_targets").glob("*.rs"))
# Longer inputs find no more, and take longer.
MOST_BYTES = 4096


def cargo_fuzz(command, *arguments):
    # Coverage needs flags of the compiler that are not stable.
    environment = {**os.environ, "RUSTC_BOOTSTRAP": "1"}
    line = ["cargo", "fuzz", command, "--sanitizer", "none", *arguments]
    return subprocess.Popen(
        line, cwd=FUZZ, env=environment, stderr=subprocess.PIPE, text=True, errors="replace"
    )


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(target, seconds, most_executions):
    """Runs a target. Returns how often it ran, and the input that broke it, if one did."""
    corpus = FUZZ / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    process = cargo_fuzz(
        "run", target, str(corpus), str(FUZZ / "seeds" / target), "--",
        f"-max_total_time={seconds}", f"-runs={most_executions}", f"-max_len={MOST_BYTES}", "-fork=0",
        "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=1",
    )  # fmt: skip
    executions, broken, lines = 0, None, []
    for line in process.stderr:
        lines.append(line)
        if found := re.match(r"stat::number_of_executed_units:\s*(\d+)", line):
            executions = int(found[1])
        if found := re.search(r"Test unit written to (\S+)", line):
            broken = found[1]
    if process.wait() != 0:
        broken = broken or "no input"
        first = next((n for n, line in enumerate(lines) if "panicked at" in line), -30)
        sys.stderr.writelines(lines[first:])
    return executions, broken


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target; the default is 60")
    parser.add_argument(
        "--executions", type=int, default=-1, help="the most for each target; the default is no limit"
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"there is no target {', '.join(sorted(unknown))}")
    failed = False
    for target in arguments.targets or TARGETS:
        before = cpu_seconds()
        executions, broken = run(target, arguments.seconds, arguments.executions)
        result = f"broken by {broken}" if broken else "nothing found"
        spent = cpu_seconds() - before
        print(f"{target:<14} {executions:>12,} executions, {spent:>6,.0f} s of CPU, {result}", flush=True)
        failed |= broken is not None
    sys.exit(failed)


if __name__ == "__main__":
    main()
