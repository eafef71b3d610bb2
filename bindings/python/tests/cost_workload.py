"""Counts the instructions of operations in user space, by callgrind.

    python cost_workload.py measure [redis-py]     prints them as JSON: ours, or those of redis-py
    python cost_workload.py load|run [redis-py]    what it measures

They include the interpreter's own for the loop and for the calls. The process calls getppid() before
and after each operation, and callgrind writes its counters at these calls.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

VALUE = b"0123456789abcdef"
KEYS = [f"key:{i:07}" for i in range(1000)]
ELEMENTS = 10_000


def connect(client: str) -> Any:
    if client == "redis-py":
        from redis.cluster import RedisCluster

        return RedisCluster.from_url(os.environ["RDC_URL"].split(",")[0])
    import rediscluster

    return rediscluster.RedisCluster.from_url(os.environ["RDC_URL"])


def load(rc: Any) -> None:
    for key in KEYS:
        rc.set(key, VALUE)
    rc.delete("biglist")
    rc.delete("bighash")
    rc.rpush("biglist", *[VALUE] * ELEMENTS)
    rc.hset("bighash", mapping={f"field:{i}": VALUE for i in range(ELEMENTS)})


def get(rc: Any) -> None:
    for key in KEYS:
        rc.get(key)


def pipeline(rc: Any) -> None:
    pipe = rc.pipeline()
    for key in KEYS:
        pipe.get(key)
    assert pipe.execute()[-1] == VALUE


def lrange(rc: Any) -> None:
    assert rc.lrange("biglist", 0, -1)[-1] == VALUE


def hgetall(rc: Any) -> None:
    assert len(rc.hgetall("bighash")) == ELEMENTS


# How often each function does what is counted.
OPERATIONS = {get: len(KEYS), pipeline: len(KEYS), lrange: 1, hgetall: 1}


def run(rc: Any) -> None:
    for operation in OPERATIONS:
        # The first time connects and grows buffers: it is not counted.
        operation(rc)
        os.getppid()
        operation(rc)
        os.getppid()


def measure(client: str = "") -> dict[str, float]:
    """The instructions of one operation of each kind."""
    workload = [sys.executable, __file__]
    subprocess.run([*workload, "load"], check=True, timeout=60)
    with tempfile.TemporaryDirectory() as folder:
        tool = ["valgrind", "--quiet", "--tool=callgrind", "--dump-before=getppid"]
        command = [*tool, f"--callgrind-out-file={folder}/out", *workload, "run", client]
        subprocess.run(command, check=True, timeout=180)
        found = {}
        for i, (operation, times) in enumerate(OPERATIONS.items()):
            # Each second part is between two calls of getppid() around an operation.
            text = Path(folder, f"out.{2 * i + 2}").read_text()
            total = re.search(r"^(?:summary|totals): (\d+)$", text, re.M)
            assert total is not None, text[:500]
            found[operation.__name__] = int(total[1]) / times
    return found


if __name__ == "__main__":
    what, client = sys.argv[1], "".join(sys.argv[2:])
    if what == "measure":
        print(json.dumps(measure(client)))
    else:
        {"load": load, "run": run}[what](connect(client))
