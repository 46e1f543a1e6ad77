#!/usr/bin/env python3
"""Checks that the modules of axeom-ws-core import only what lies below them, and that none of its
files is longer than a reader can keep in mind.

    .ci/floors.py                prints a line for each offence, and fails if there are any
    .ci/floors.py --self-test    checks that the check fails when it should

A module may import from the floors below its own, and from within itself. It names the module that
an item comes from: through the crate's root, everything could reach everything unseen. What only
tests and loom models import does not count.
"""

import pathlib
import re
import sys

# From top to bottom. Modules on the same floor do not import each other.
FLOORS = [
    "server",
    "app",
    "connection",
    "hub",
    "link",
    "runtime handshake protocol",
    "event",
    "error",
    "options",
    "origin violation compression contained",
    "telemetry",
    "close json authority networks",
    "message",
    "utf8",
    "sync shrink",
]
MOST_LINES = 500
SRC = "axeom-ws-core/src/"
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}

ABOVE, SAME = ", which is above it", ", which is on the same floor"
ROOT = " through the crate root; name the module it comes from"

COMMENT = r"//[^\n]*|/\*.*?\*/"
STRING = r'\bb?r(#*)".*?"\1|"(?:\\.|[^"\\])*"'
CHAR = r"'(?:\\[^\n][^'\n]*|[^\\'\n])'"
NOT_CODE = re.compile(f"{COMMENT}|{STRING}|{CHAR}", re.DOTALL)


def tokens(text):
    """Every token of the code, with its line; then empty ones, for those who look ahead."""
    code = NOT_CODE.sub(lambda found: " " + "\n" * found[0].count("\n"), text)
    lines = enumerate(code.split("\n"), 1)
    found = [(token, n) for n, line in lines for token in re.findall(r"\w+|::|\S", line)]
    return found + [("", 0)] * 2


def paths(code, at, before=()):
    """The paths that a path or a tree of `use` spells out, and where it ends."""
    path = list(before)
    while code[at][0] != "{":
        path.append(code[at])
        if code[at + 1][0] != "::":
            return [path], at + 1
        at += 2
    found = []
    while code[at][0] != "}":
        at += 1
        if code[at][0] != "}":
            branch, at = paths(code, at, path)
            found += branch
        while code[at][0] not in (",", "}"):  # `as` another name
            at += 1
    return found, at + 1


def imports(text, depth):
    """What a file that is `depth` modules below the crate's root takes from there, with lines."""
    code, at, blocks = tokens(text), 0, []
    while code[at][0]:
        token = code[at][0]
        if token in ("crate", "super", "self") and code[at + 1][0] == "::":
            found, at = paths(code, at)
            for path in found if "tests" not in blocks else []:
                path = path[path[0][0] == "self" :]
                supers = next((n for n, (name, _) in enumerate(path) if name != "super"), 0)
                if path[0][0] == "crate":
                    yield path[1]
                elif supers == depth + blocks.count("mod"):
                    yield path[supers]
            continue
        if token == "{":
            before = "".join(token for token, _ in code[max(at - 9, 0) : at - 1])
            tests = before.endswith("#[cfg(test)]mod")
            blocks.append("tests" if tests else code[at - 2][0])
        elif token == "}":
            blocks.pop()
        at += 1


def check(files):
    """The offences of these files, which are named by their paths below src/."""
    modules = {path.split("/")[0].removesuffix(".rs") for path in files} - {"lib", "loom_support"}
    strangers = sorted(modules - set(FLOOR))
    offences = [f"{SRC}{name}: has no floor in .ci/floors.py" for name in strangers]
    offences += [f"{SRC}{name}: is not there" for name in FLOOR if name not in modules]
    for path, text in sorted(files.items()):
        lines = text.count("\n")
        if lines > MOST_LINES:
            offences.append(f"{SRC}{path}:{lines}: has {lines} lines, which is over {MOST_LINES}")
        names = path.removesuffix(".rs").removesuffix("/mod").split("/")
        own = names[0]
        if own not in FLOOR or "loom_model" in path:
            continue
        for name, line in dict.fromkeys(imports(text, len(names))):
            offence = f"{SRC}{path}:{line}: {own} imports {name}"
            if name not in modules | set(FLOOR) | {"loom_support"}:
                offences.append(offence + ROOT)
            elif name in FLOOR and name != own and FLOOR[name] <= FLOOR[own]:
                offences.append(offence + (ABOVE if FLOOR[name] < FLOOR[own] else SAME))
    return offences


def self_test():
    for path, text, *expected in [
        ("link/mod.rs", "use crate::{utf8::Text, sync};\nuse self::send::Send;"),
        (
            "link/mod.rs",
            "use crate::{\nsync, a::B as C,\nhub::{D, e::{F, G}},\n};",
            (2, "a", ROOT),
            (3, "hub", ABOVE),
        ),
        ("link/mod.rs", "fn f(h: u8) {\ncrate::app::f::<u8>() }", (2, "app", ABOVE)),
        ("link/mod.rs", "/*\n*/ pub(crate) use super::{sync, hub::Hub};", (2, "hub", ABOVE)),
        ("link/mod.rs", "use crate::{Closed, f};", (1, "Closed", ROOT), (1, "f", ROOT)),
        ("link/mod.rs", "crate::m!(1);\nuse super::*;", (1, "m", ROOT), (2, "*", ROOT)),
        ("link/a/mod.rs", "use super::hub;\nuse super::super::hub;", (2, "hub", ABOVE)),
        ("link/a.rs", "mod b { use super::super::c; }\nuse super::super::app;", (2, "app", ABOVE)),
        ("link/a.rs", "mod b {\nuse super::super::super::hub; }", (2, "hub", ABOVE)),
        ("runtime/mod.rs", "use crate::{protocol::Role, runtime::x};", (1, "protocol", SAME)),
        ("link/a.rs", "/// [`Ws`](crate::Ws)\n/* crate::app */ '\"' \"crate::hub\" // crate::hub"),
        ("link/a.rs", "#[cfg(test)]\nmod t { use crate::app; }\ncrate::hub;", (3, "hub", ABOVE)),
        ("link/loom_model.rs", "use crate::hub::Hub;"),
    ]:
        found = check({name + ".rs": "" for name in FLOOR} | {path: text})
        own = path.split("/")[0]
        lines = [f"{SRC}{path}:{line}: {own} imports {name}{why}" for line, name, why in expected]
        assert found == lines, f"{text}\nexpected {lines}\nbut found {found}"
    files = {name + ".rs": "" for name in FLOOR if name != "hub"}
    found = check(files | {"lib.rs": "\n" * 501, "new/mod.rs": ""})
    expected = ["new: has no floor in .ci/floors.py", "hub: is not there"]
    expected.append("lib.rs:501: has 501 lines, which is over 500")
    assert found == [SRC + line for line in expected], found


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    src = pathlib.Path(__file__).resolve().parent.parent / SRC
    files = {path.relative_to(src).as_posix(): path.read_text() for path in src.rglob("*.rs")}
    if offences := check(files):
        sys.exit("\n".join(offences))


if __name__ == "__main__":
    main()
