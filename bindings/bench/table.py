"""Compares the bindings with other clients of their languages; writes docs/benchmarks/bindings.md.

    cluster run -- python bindings/bench/table.py PYTHON HIREDIS GO_BENCH [ROUNDS]

PYTHON is the interpreter to measure with, HIREDIS a folder with redis-py's parser in C, GO_BENCH the
compiled program of bindings/go/bench. Fails unless the Python binding is twice as fast as redis-py
for one GET, and five times as fast for a pipeline of 1000 and for 100 tasks of asyncio; one task of
asyncio must need half of its CPU time.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks" / "bindings.md"
GATES = {"GET": 2.0, "pipeline of 1000": 5.0, "GET by each of 100 tasks": 5.0}
CPU_GATES = {"GET by one task": 2.0}
WORK_NAMES = {
    "GET": "GET",
    "GET by each of 64 goroutines": "GET by each of 64 goroutines",
    "pipeline of 1000": "GET in a pipeline of 1000",
    "GET by one task": "GET by one task",
    "GET by each of 100 tasks": "GET by each of 100 tasks",
    "message": "message of a channel, 16 bytes",
}


def lines(*command: object, folder: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [str(arg) for arg in command],
        cwd=ROOT / "bindings" / folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def from_json(output: list[str], language: str) -> list[dict]:
    rows = [json.loads(line) for line in output if line.startswith("{")]
    return [
        {"language": language, **row, "work": row["work"].replace(" GETs", "")}
        for row in rows
        if row["work"].replace(" GETs", "") in WORK_NAMES
    ]


OPERATIONS = {
    "get": "GET",
    "pipeline": "GET in a pipeline of 1000",
    "lrange": "LRANGE of 10,000",
    "hgetall": "HGETALL of 10,000 fields",
}


def instructions(python: str, hiredis: str) -> dict[str, dict[str, float]]:
    """The instructions of operations of the Python package and of redis-py, by variant."""

    def measured(*client: str, path: str = ".", **environment: str) -> dict[str, float]:
        command = (python, "tests/cost_workload.py", "measure", *client)
        (line,) = lines(*command, folder="python", PYTHONPATH=path, **environment)
        return json.loads(line)

    return {
        "with the C extension": measured(),
        "without it": measured(RDC_PYTHON_EXTENSION="no"),
        "redis-py with hiredis": measured("redis-py", path=f".:{hiredis}"),
    }


RUBY_OPERATIONS = {
    "get": "GET",
    "get_beside_thread": "GET, beside another thread",
    **{name: title for name, title in OPERATIONS.items() if name != "get"},
}


def ruby_instructions() -> dict[str, dict[str, float]]:
    """The same of the Ruby gem and of redis-rb, whose pipelines are limited to one node."""

    def measured(*client: str, **environment: str) -> dict[str, float]:
        command = ("ruby", "-W0", "-Ilib", "test/cost_workload.rb", "measure", *client)
        (line,) = lines(*command, folder="ruby", **environment)
        return json.loads(line)

    return {
        "with the C extension": measured(),
        "without it": measured(RDC_RUBY_EXTENSION="no"),
        "redis-rb with hiredis": measured("redis-rb"),
    }


def rows_of_instructions(found: dict[str, dict[str, float]], operations: dict[str, str]) -> str:
    text = f"| | {' | '.join(found)} |\n|---|--:|--:|--:|\n"
    for name, title in operations.items():
        text += f"| {title} | {' | '.join(f'{each[name]:,.0f}' for each in found.values())} |\n"
    return text


def instructions_table(found: dict[str, dict[str, float]]) -> str:
    return f"""
## Instructions of the Python package

Instructions of the client process in user space for one operation, counted by callgrind with CPython
{sys.version_info[0]}.{sys.version_info[1]}. Keys have 11 bytes, values 16. The figures contain the interpreter's own for
the loop and for the calls. Lower is better; `tests/test_cost.py` of the package limits the first column.

{rows_of_instructions(found, OPERATIONS)}"""


def ruby_instructions_table(found: dict[str, dict[str, float]]) -> str:
    version = lines("ruby", "-e", "print RUBY_VERSION", folder="ruby")[0]
    return f"""
## Instructions of the Ruby gem

The same with Ruby {version}, averages of 20 long replies. These contain the work of the garbage collector, which varies: of
HGETALL with the extension, between 17 and 24 million were counted. The keys of
redis-rb's pipeline are in one slot. `test/cost_test.rb` of the gem limits the first column.

{rows_of_instructions(found, RUBY_OPERATIONS)}"""


def page(rows: list[dict], load: float) -> str:
    text = """# The bindings compared with other clients of their languages

Median time per command in microseconds, in a cluster of six nodes on the same machine. The two clients of a row run
alternately. "Times as fast" is the median of the ratios of their wall times within a turn; "by CPU" is the ratio of the
CPU times. `make bench-bindings` regenerates this page.

| | | binding: wall | CPU | other client: wall | CPU | times as fast | by CPU |
|---|---|---|---|---|---|---|---|
"""
    for row in rows:
        text += (
            f"| {row['language']} beside {row['peer']} | {WORK_NAMES[row['work']]} | {row['wall']:.1f} | {row['cpu']:.1f} "
            f"| {row['their_wall']:.1f} | {row['their_cpu']:.1f} | {row['ratio']:.1f} "
            f"| {row['their_cpu'] / row['cpu']:.1f} |\n"
        )
    text += f"""
Measured on {os.cpu_count()} processors; the load average at the start was {load:.1f}. The servers share the processors, so wall times are
those of a busy machine: compare CPU times and ratios. In Go, a single goroutine pays for each call into C and back,
which the other clients do not. Commands of concurrent goroutines are combined into one call into C.
"""
    return text


def main(python: str, hiredis: str, go_bench: str, rounds: int) -> None:
    load = os.getloadavg()[0]
    bench = (python, "bench.py", rounds, "--json")
    rows = from_json(lines(*bench, folder="python", PYTHONPATH="."), "Python")
    rows += from_json(lines(*bench, folder="python", PYTHONPATH=f".:{hiredis}"), "Python")
    rows += from_json(lines(go_bench, "-json", rounds, folder="go/bench"), "Go")
    rows += from_json(
        lines("ruby", "-W0", "-Ilib", "bench.rb", rounds, "--json", folder="ruby"), "Ruby"
    )
    python_table = instructions_table(instructions(python, hiredis))
    PAGE.write_text(page(rows, load) + python_table + ruby_instructions_table(ruby_instructions()))
    print(PAGE.read_text())
    for row in rows:
        if not row["peer"].endswith("(its own parser)"):
            continue
        fast, cpu = row["ratio"], row["their_cpu"] / row["cpu"]
        for gates, found, measure in ((GATES, fast, "times as fast as"), (CPU_GATES, cpu, "by CPU of")):
            gate = gates.get(row["work"], 0)
            if found < gate:
                sys.exit(f"{row['work']}: {found:.2f} {measure} {row['peer']}, less than {gate}")


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]) if len(sys.argv) > 4 else 15)
