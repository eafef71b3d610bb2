#!/usr/bin/env python3
"""Profiles the instructions of a workload, with callgrind on the program that `make gates` measures.

    cargo run -q -p support --bin cluster -- run -- tools/profile.py get 1000 [FUNCTION]

Run `make gates` first: it builds the program. tests/c/gates/workload.c contains the workloads. Inlined code counts for
the function that contains it; the source lines after the function show where it is. FUNCTION is (part of) a function's
name: the output then lists each of its lines that costs instructions.
"""

import collections
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
GATES = os.path.join(TARGET, "tmp", "gates")


def record(workload, times, out):
    program = os.path.join(GATES, "workload")
    run = ["valgrind", "-q", "--tool=callgrind", "--collect-atstart=no"]
    run += [f"--toggle-collect={workload}", f"--callgrind-out-file={out}", program]
    env = dict(os.environ, LD_LIBRARY_PATH=GATES)
    done = {"stdout": subprocess.DEVNULL, "check": True, "env": env}
    subprocess.run([program, "load", "1"], **done)
    subprocess.run([*run, workload, str(times)], **done)


def parse(path):
    """Self cost by function, self cost by (function, file, line), and calls by function."""
    own, lines, calls = collections.Counter(), collections.Counter(), collections.Counter()
    names = {}
    place = {"fn": None, "cfn": None, "file": None}
    number, of_call = 0, False
    with open(path, encoding="utf-8") as out:
        for text in out:
            text = text.rstrip("\n")
            if named := re.match(r"(c?fn|c?f[lie]|c?ob)=(?:\((\d+)\))?(?: ?(.*))?$", text):
                key, index, name = named.groups()
                kind = key.removeprefix("c")[:2] if "ob" in key or "fn" in key else "file"
                if name and index:
                    names[kind, index] = name
                name = name or names.get((kind, index), "?")
                if key in ("fn", "cfn"):
                    place[key] = name
                elif key in ("fl", "fi", "fe"):
                    place["file"] = name
            elif text.startswith("calls="):
                calls[place["cfn"]] += int(text[6:].split()[0])
                of_call = True
            elif place["fn"] and (cost := re.match(r"([+-]?)(\d+|\*) (\d+)$", text)):
                sign, at, count = cost.groups()
                if at != "*":
                    number = int(at) if not sign else number + int(sign + at)
                if of_call:
                    of_call = False  # inclusive cost, which the lines of the callee contain
                    continue
                own[place["fn"]] += int(count)
                lines[place["fn"], place["file"], number] += int(count)
    return own, lines, calls


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    workload, times = sys.argv[1], int(sys.argv[2])
    of = sys.argv[3] if len(sys.argv) == 4 else None
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.join(scratch, "callgrind.out")
        record(workload, times, out)
        own, lines, calls = parse(out)
    total = sum(own.values())
    print(f"{workload}: {total / times:.0f} instructions per operation")
    for (name, file, line), count in sorted(lines.items(), key=lambda at: at[0][1:]):
        if of and of in name and count >= times / 2:
            print(f"{count / times:12.1f}  {os.path.basename(file)}:{line}")
    for name, count in own.most_common(0 if of else 25):
        hottest = [(cost, *at[1:]) for at, cost in lines.items() if at[0] == name]
        hottest.sort(key=lambda of: of[0], reverse=True)
        where = ", ".join(f"{os.path.basename(file)}:{line}" for _, file, line in hottest[:3])
        short = name.replace("rediscluster::", "")
        share, each = 100 * count / total, calls[name] / times
        print(f"{count / times:12.1f} {share:5.1f} %  {each:9.2f} calls  {short}  ({where})")


main()
