"""Runs the workloads of loop_worker.c with the asynchronous clients in Python, on asyncio.

    python peers_async.py glide|redis-py|rediscluster HOST:PORT,HOST:PORT,...
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import Awaitable, Callable

KEYS = 100_000
VALUE = b"0123456789abcdef"

Get = Callable[[str], Awaitable[bytes]]


async def connect(name: str, seeds: list[tuple[str, int]]) -> Get:
    if name == "glide":
        from glide import GlideClusterClient, GlideClusterClientConfiguration, NodeAddress

        nodes = [NodeAddress(host, port) for host, port in seeds]
        config = GlideClusterClientConfiguration(nodes, request_timeout=5000)
        return (await GlideClusterClient.create(config)).get
    if name == "rediscluster":
        import rediscluster.asyncio

        url = "redis://" + ",".join(f"{host}:{port}" for host, port in seeds)
        return rediscluster.asyncio.RedisCluster.from_url(url).get
    from redis.asyncio.cluster import ClusterNode, RedisCluster

    nodes = [ClusterNode(host, port) for host, port in seeds]
    # Each command in flight has a connection of its own.
    client = RedisCluster(startup_nodes=nodes, max_connections=10_000)
    return (await client.initialize()).get


class Keys:
    def __init__(self) -> None:
        self.state = 0

    def next(self) -> str:
        self.state = (self.state + 7919) % KEYS
        return f"key:{self.state}"


def cpu_ns() -> int:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return int((used.ru_utime + used.ru_stime) * 1e9)


async def checked(get: Get, key: str) -> None:
    if await get(key) != VALUE:
        raise ValueError("unexpected reply")


class Turns:
    """The times of turns, without the first ones."""

    def __init__(self, budget_ms: int, operations: int) -> None:
        self.budget, self.operations = budget_ms * 1_000_000, operations
        self.turns: list[int] = []
        self.warm_up = 3
        self.at = self.began = time.perf_counter_ns()
        self.cpu = cpu_ns()

    def end_turn(self) -> bool:
        """Returns whether another turn follows."""
        now = time.perf_counter_ns()
        if self.warm_up:
            self.warm_up -= 1
            self.began, self.cpu = now, cpu_ns()
        else:
            self.turns.append(now - self.at)
        self.at = now
        return now - self.began < self.budget

    def line(self) -> str:
        used, turns = cpu_ns() - self.cpu, sorted(self.turns)
        n = len(turns)
        return (
            f"ok {n * self.operations} {self.at - self.began} {used}"
            f" {turns[n // 2]} {turns[n - 1 - n // 100]}"
        )


async def batches(get: Get, budget_ms: int, n: int) -> str:
    keys, turns = Keys(), Turns(budget_ms, n)
    goes_on = True
    while goes_on:
        if n == 1:
            await checked(get, keys.next())
        else:
            await asyncio.gather(*(checked(get, keys.next()) for _ in range(n)))
        goes_on = turns.end_turn()
    return turns.line()


async def in_flight(get: Get, budget_ms: int, n: int) -> str:
    keys, turns = Keys(), Turns(budget_ms, n)
    complete, goes_on, line = 0, True, ""

    async def one() -> None:
        nonlocal complete, goes_on, line
        while goes_on:
            await checked(get, keys.next())
            complete += 1
            if complete == n and goes_on:
                complete, goes_on = 0, turns.end_turn()
                if not goes_on:
                    line = turns.line()

    await asyncio.gather(*(one() for _ in range(n)))
    return line


async def main(name: str, seeds: str) -> None:
    get = await connect(
        name, [(host, int(port)) for host, port in (s.rsplit(":", 1) for s in seeds.split(","))]
    )
    for line in sys.stdin:
        workload, budget_ms, arg = line.split()
        try:
            match workload:
                case "batch":
                    answer = await batches(get, int(budget_ms), int(arg))
                case "in_flight":
                    answer = await in_flight(get, int(budget_ms), int(arg))
                case _:
                    answer = "unsupported"
        except Exception as error:  # the reason why there is no result
            answer = f"{type(error).__name__}: {error}".replace("\n", " ")
        print(answer, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
