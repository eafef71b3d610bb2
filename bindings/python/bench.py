"""Compares with redis-py's RedisCluster: the same calls in alternation, in the cluster of RDC_URL.

    cluster run -- python bench.py [ROUNDS] [--json]

Prints the medians of the times, and the median of the ratios of each round (below 1: this library
is faster). Other load on the machine affects the ratios less than the times.
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
    """Wall and CPU time of one of `count` operations, in microseconds."""
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
        print(
            f"redis-py {redis.__version__} with {parser}, {rounds} alternating rounds; medians in us"
        )
        print(f"{'':16}{'rediscluster':>22}{'redis-py':>22}{'ratio':>16}")
        print(f"{'':16}{'wall':>11}{'CPU':>11}{'wall':>11}{'CPU':>11}{'wall':>8}{'CPU':>8}")
    for name, work, operations in (("GET", single, 1), (f"pipeline of {DEPTH}", pipelined, DEPTH)):
        work(ours), work(theirs)
        pairs = []
        for i in range(rounds):
            if i % 2:
                second, first = work(theirs), work(ours)
            else:
                first, second = work(ours), work(theirs)
            pairs.append((first, second))
        row = [
            statistics.median(pair[client][clock] for pair in pairs)
            for client in (0, 1)
            for clock in (0, 1)
        ]
        row += [statistics.median(a[clock] / b[clock] for a, b in pairs) for clock in (0, 1)]
        if as_json:
            peer = f"redis-py {redis.__version__} ({parser})"
            values = dict(
                zip(("wall", "cpu", "their_wall", "their_cpu"), (x / operations for x in row))
            )
            ratio = statistics.median(b[0] / a[0] for a, b in pairs)
            print(json.dumps({"peer": peer, "work": name, **values, "ratio": ratio}))
            continue
        print(
            f"{name:16}{row[0]:11.1f}{row[1]:11.1f}{row[2]:11.1f}{row[3]:11.1f}{row[4]:8.2f}{row[5]:8.2f}"
        )


if __name__ == "__main__":
    args = [arg for arg in sys.argv[1:] if arg != "--json"]
    main(int(args[0]) if args else 15, "--json" in sys.argv)
