"""Programs for redis-py print the same with this package, with another import. They must not differ
otherwise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import redis

PROGRAMS = sorted(Path(__file__).with_name("programs").glob("*.py"))
IMPORTS = {
    "from redis.cluster import RedisCluster": "from rediscluster import RedisCluster",
    "from redis.asyncio import RedisCluster": "from rediscluster.asyncio import RedisCluster",
}


def output_of(program: str) -> list[str]:
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


@pytest.mark.skipif(
    not hasattr(redis.exceptions, "CrossSlotTransactionError"),
    reason="redis-py before version 6 has no transactions in clusters",
)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_program_prints_the_same(rc, program):
    text = program.read_text()
    changed = text
    for theirs, ours in IMPORTS.items():
        changed = changed.replace(theirs, ours)
    assert sum(a != b for a, b in zip(text.splitlines(), changed.splitlines())) == 1
    expected = output_of(text)
    rc.flushall()
    assert output_of(changed) == expected and len(expected) > 3


def test_there_are_five_programs():
    assert [path.stem for path in PROGRAMS] == [
        "cache", "leaderboard", "rate_limiter", "session_store", "work_queue",
    ]  # fmt: skip
