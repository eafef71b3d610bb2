"""Beside redis-py's RedisCluster: the same calls by turns, in the cluster that RDC_URL names.

    cluster run -- python bench.py [ROUNDS] [--json]

Prints the median of each and of the ratios within a round (below 1: this library is faster), which
other load on the machine disturbs less than the times themselves.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec

import redis

import rediscluster

GETS, PIPELINES, DEPTH = 1000, 10, 1000


def measured(work: Callable[[], object], count: int) -> tuple[float, float]:
    """Microseconds of wall and of CPU time, for one of `count`."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return (
        (time.perf_counter() - wall) / count * 1e6,
        (time.process_time() - cpu) / count * 1e6,
    )


def single(client) -> tuple[float, float]:
    get = client.get

    def work() -> None:
        for _ in range(GETS):
            get("bench:key")

    return measured(work, GETS)


def pipelined(client) -> tuple[float, float]:
    def work() -> None:
        for _ in range(PIPELINES):
            with client.pipeline() as pipe:
                for i in range(DEPTH):
                    pipe.get(f"bench:{i}")
                values = pipe.execute()
            assert len(values) == DEPTH and values[-1] == VALUE

    return measured(work, PIPELINES)


VALUE = b"x" * 32


def main(rounds: int, as_json: bool) -> None:
    url = os.environ["RDC_URL"]
    ours = rediscluster.RedisCluster.from_url(url)
    theirs = redis.RedisCluster.from_url(url.split(",")[0])
    parser = "hiredis" if find_spec("hiredis") else "its own parser"
    ours.set("bench:key", VALUE)
    ours.mset_nonatomic({f"bench:{i}": VALUE for i in range(DEPTH)})
    if not as_json:
        print(f"redis-py {redis.__version__} with {parser}, {rounds} rounds by turns; us, medians")
        print(f"{'':16}{'rediscluster':>22}{'redis-py':>22}{'ratio':>16}")
        print(f"{'':16}{'wall':>11}{'CPU':>11}{'wall':>11}{'CPU':>11}{'wall':>8}{'CPU':>8}")
    for name, work, each in (("GET", single, 1), (f"pipeline of {DEPTH}", pipelined, DEPTH)):
        work(ours), work(theirs)
        pairs = []
        for i in range(rounds):
            if i % 2:
                second, first = work(theirs), work(ours)
            else:
                first, second = work(ours), work(theirs)
            pairs.append((first, second))
        row = [
            statistics.median(pair[who][what] for pair in pairs)
            for who in (0, 1)
            for what in (0, 1)
        ]
        row += [statistics.median(a[what] / b[what] for a, b in pairs) for what in (0, 1)]
        if as_json:
            peer = f"redis-py {redis.__version__} ({parser})"
            values = dict(zip(("wall", "cpu", "their_wall", "their_cpu"), (x / each for x in row)))
            ratio = statistics.median(b[0] / a[0] for a, b in pairs)
            print(json.dumps({"peer": peer, "work": name, **values, "ratio": ratio}))
            continue
        print(
            f"{name:16}{row[0]:11.1f}{row[1]:11.1f}{row[2]:11.1f}{row[3]:11.1f}{row[4]:8.2f}{row[5]:8.2f}"
        )


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--json"]
    main(int(words[0]) if words else 15, "--json" in sys.argv)
