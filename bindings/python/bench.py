"""Compares with redis-py's RedisCluster, of threads and of asyncio: the same calls in alternation, in
the cluster of RDC_URL.

    cluster run -- python bench.py [ROUNDS] [--json] [--uvloop]

Prints the medians of the times, and the median of the ratios of each round (below 1: this library
is faster). Other load on the machine affects the ratios less than the times.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec

import redis
import redis.asyncio

import rediscluster
import rediscluster.asyncio

GETS, PIPELINES, DEPTH, TASKS, MESSAGES = 1000, 10, 1000, 100, 10_000


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


def by_tasks(loop, tasks: int):
    """GETs of several tasks, each of which awaits one at a time."""

    async def task(client, count: int) -> None:
        for _ in range(count):
            await client.get("bench:key")

    async def work(client) -> None:
        await asyncio.gather(*(task(client, count // tasks) for _ in range(tasks)))

    count = GETS * min(tasks, 10)
    return lambda client: measured(lambda: loop.run_until_complete(work(client)), count)


def awaited_pipelines(loop):
    async def work(client) -> None:
        for _ in range(PIPELINES):
            async with client.pipeline() as pipe:
                for i in range(DEPTH):
                    pipe.get(f"bench:{i}")
                values = await pipe.execute()
            assert len(values) == DEPTH and values[-1] == VALUE

    return lambda client: measured(lambda: loop.run_until_complete(work(client)), PIPELINES)


VALUE = b"x" * 32
PAYLOAD = b"x" * 16

serial = itertools.count()


def publish(client, channel: str) -> None:
    """Publishes all messages of a turn. They wait in the socket of the subscriber."""
    for _ in range(MESSAGES // DEPTH):
        pipe = client.pipeline()
        for _ in range(DEPTH):
            pipe.publish(channel, PAYLOAD)
        pipe.execute()
    time.sleep(0.1)  # some have still to travel from node to node


def messages(publisher):
    """Messages that a thread takes."""

    def receive(pubsub) -> None:
        left = MESSAGES
        while left:
            if pubsub.get_message(timeout=1) is not None:
                left -= 1

    def turn(client) -> tuple[float, float]:
        channel = f"bench:messages:{next(serial)}"
        pubsub = client.pubsub()
        pubsub.subscribe(channel)
        while pubsub.get_message(timeout=1) is None:
            pass
        publish(publisher, channel)
        times = measured(lambda: receive(pubsub), MESSAGES)
        pubsub.close()
        return times

    return turn


def awaited_messages(loop, publisher):
    async def receive(pubsub) -> None:
        left = MESSAGES
        async for _ in pubsub.listen():
            left -= 1
            if left == 0:
                return

    async def begin(client, channel: str):
        pubsub = client.pubsub()
        await pubsub.subscribe(channel)
        while await pubsub.get_message(timeout=1) is None:
            pass
        return pubsub

    def turn(client) -> tuple[float, float]:
        channel = f"bench:messages:{next(serial)}"
        pubsub = loop.run_until_complete(begin(client, channel))
        publish(publisher, channel)
        times = measured(lambda: loop.run_until_complete(receive(pubsub)), MESSAGES)
        loop.run_until_complete(pubsub.aclose())
        return times

    return turn


def medians(work, ours, theirs, rounds: int, operations: int) -> dict[str, float]:
    """The medians of the times of an operation in alternating rounds, and of their ratios."""
    work(ours), work(theirs)
    pairs = []
    for i in range(rounds):
        if i % 2:
            second, first = work(theirs), work(ours)
        else:
            first, second = work(ours), work(theirs)
        pairs.append((first, second))
    row = [
        statistics.median(pair[client][clock] for pair in pairs) / operations
        for client in (0, 1)
        for clock in (0, 1)
    ]
    return {
        **dict(zip(("wall", "cpu", "their_wall", "their_cpu"), row)),
        "ratio": statistics.median(theirs[0] / ours[0] for ours, theirs in pairs),
        "cpu_ratio": statistics.median(theirs[1] / ours[1] for ours, theirs in pairs),
    }


def main(rounds: int, as_json: bool, loop: asyncio.AbstractEventLoop) -> None:
    url = os.environ["RDC_URL"]
    first = url.split(",")[0]
    blocking = (rediscluster.RedisCluster.from_url(url), redis.RedisCluster.from_url(first))
    awaited = (
        rediscluster.asyncio.RedisCluster.from_url(url),
        redis.asyncio.RedisCluster.from_url(first),
    )
    blocking[0].set("bench:key", VALUE)
    blocking[0].mset_nonatomic({f"bench:{i}": VALUE for i in range(DEPTH)})
    works = (
        ("Python", "GET", single, 1, blocking),
        ("Python", f"pipeline of {DEPTH}", pipelined, DEPTH, blocking),
        ("Python asyncio", "GET by one task", by_tasks(loop, 1), 1, awaited),
        ("Python asyncio", f"GET by each of {TASKS} tasks", by_tasks(loop, TASKS), 1, awaited),
        ("Python asyncio", f"pipeline of {DEPTH}", awaited_pipelines(loop), DEPTH, awaited),
        ("Python", "message", messages(blocking[0]), 1, blocking),
        ("Python asyncio", "message", awaited_messages(loop, blocking[0]), 1, awaited),
    )
    parser = "hiredis" if find_spec("hiredis") else "its own parser"
    peer = f"redis-py {redis.__version__} ({parser})"
    if not as_json:
        print(f"{peer}, {rounds} alternating rounds; medians in us per command")
        print(f"{'':42}{'rediscluster':>18}{'redis-py':>18}{'times as fast':>16}")
        print(f"{'':42}{'wall':>9}{'CPU':>9}{'wall':>9}{'CPU':>9}{'wall':>8}{'CPU':>8}")
    for language, name, work, operations, (ours, theirs) in works:
        row = medians(work, ours, theirs, rounds, operations)
        if as_json:
            print(json.dumps({"language": language, "peer": peer, "work": name, **row}))
            continue
        times = "".join(f"{row[key]:9.1f}" for key in ("wall", "cpu", "their_wall", "their_cpu"))
        title = f"{language}: {name}"
        print(f"{title:42}{times}{row['ratio']:8.1f}{row['cpu_ratio']:8.1f}")
    for client in awaited:
        loop.run_until_complete(client.aclose())
    loop.close()


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    if name == "asyncio":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


if __name__ == "__main__":
    args = [arg for arg in sys.argv[1:] if not arg.startswith("--")]
    main(
        int(args[0]) if args else 15,
        "--json" in sys.argv,
        new_loop("uvloop" if "--uvloop" in sys.argv else "asyncio"),
    )
