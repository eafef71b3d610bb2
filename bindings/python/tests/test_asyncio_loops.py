"""The asyncio client in several event loops, threads and processes, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import threading
import tracemalloc
import warnings
import weakref

import pytest
import redis
from loops import NEW_LOOP, run_in
from test_process import resident

from rediscluster.asyncio import RedisCluster
from rediscluster.asyncio._queue import Queue


@pytest.fixture(params=sorted(NEW_LOOP), autouse=True)
def new_loop(request):
    return NEW_LOOP[request.param]


def queues_of(client: RedisCluster) -> list[Queue]:
    return [queue for queue in (each() for each in client._queues.values()) if queue is not None]


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_client_is_used_by_loops_one_after_another(url, rc, new_loop):
    client = RedisCluster.from_url(url)
    for i in range(20):
        assert run_in(new_loop(), client.incr("n")) == i + 1
    gc.collect()
    assert queues_of(client) == []


def test_queue_is_freed_when_its_loop_closes(url, rc, new_loop):
    client = RedisCluster.from_url(url)
    loop = new_loop()
    assert loop.run_until_complete(client.get("absent")) is None
    (queue,) = queues_of(client)
    descriptor, reference = queue._descriptor, weakref.ref(queue)
    assert is_open(descriptor)
    del queue
    loop.close()
    del loop
    gc.collect()
    assert reference() is None and not is_open(descriptor)


async def test_queue_is_freed_with_its_client(url, rc):
    client = RedisCluster.from_url(url)
    assert await client.get("absent") is None
    (queue,) = queues_of(client)
    descriptor, reference = queue._descriptor, weakref.ref(queue)
    del queue, client
    gc.collect()
    for _ in range(3):  # it is removed from the loop in the loop
        await asyncio.sleep(0)
    gc.collect()
    assert reference() is None and not is_open(descriptor)


async def test_derived_clients_and_closed_ones_leave_no_descriptors(url, rc):
    client = RedisCluster.from_url(url)
    await client.get("absent")

    async def use() -> int:
        for _ in range(5):
            assert await client.with_options(timeout_ms=900).get("absent") is None
            async with RedisCluster.from_url(url) as other:
                await other.get("absent")
            async with client.pipeline() as pipe:
                await pipe.watch("absent")
        gc.collect()
        await asyncio.sleep(0.01)
        return len(os.listdir("/proc/self/fd"))

    before = await use()
    assert await use() <= before + 2  # connections of one node or another


def test_loops_in_threads_use_one_client(url, rc, new_loop):
    client = RedisCluster.from_url(url)
    wrong: list[object] = []

    async def work(thread: int) -> None:
        async def one(task: int) -> None:
            for i in range(20):
                key = f"{thread}:{task}:{i}"
                if not await client.set(key, key) or await client.get(key) != key.encode():
                    wrong.append(key)

        await asyncio.gather(*map(one, range(10)))

    def run(thread: int) -> None:
        try:
            for _ in range(3):
                run_in(new_loop(), work(thread))
        except Exception as exception:
            wrong.append(exception)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_closing_ends_commands_of_other_loops(url, rc, new_loop):
    client = RedisCluster.from_url(url)
    blocked = threading.Event()
    raised: list[str] = []

    async def wait() -> None:
        waiting = asyncio.create_task(client.blpop("list", timeout=60))
        while not sum(
            info["blocked_clients"]
            for info in [
                await client.info("clients", target_nodes=client.get_node_from_key("list"))
            ]
        ):
            await asyncio.sleep(0.005)
        blocked.set()
        try:
            await waiting
        except redis.exceptions.ConnectionError as exception:
            raised.append(exception.code)

    async def prepare() -> None:
        await client.initialize()

    run_in(new_loop(), prepare())
    thread = threading.Thread(target=lambda: run_in(new_loop(), wait()))
    thread.start()
    assert blocked.wait(30)
    run_in(new_loop(), client.aclose())
    thread.join(30)
    assert not thread.is_alive() and raised == ["CLOSED"]


def test_client_is_finalized_in_another_thread(url, rc, new_loop):
    holder = [RedisCluster.from_url(url)]
    used, dropped = threading.Event(), threading.Event()
    descriptors: list[int] = []

    async def use() -> None:
        await holder[0].get("absent")
        descriptors.append(queues_of(holder[0])[0]._descriptor)
        used.set()
        while not dropped.is_set():
            await asyncio.sleep(0.001)
        while is_open(descriptors[0]):
            await asyncio.sleep(0.001)

    thread = threading.Thread(target=lambda: run_in(new_loop(), use()))
    thread.start()
    assert used.wait(30)
    holder.clear()
    gc.collect()
    dropped.set()
    thread.join(30)
    assert not thread.is_alive()


def test_forked_child_uses_inherited_client_in_its_own_loop(url, rc, new_loop):
    client = RedisCluster.from_url(url)
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    def child() -> None:
        async def use() -> None:
            pipe = client.pipeline().get("key").get("key")
            results.put([await client.get("key"), *await pipe.execute()])

        run_in(new_loop(), use())

    async def main() -> None:
        await client.set("key", "parent")
        waiting = asyncio.create_task(client.blpop("list", timeout=60))
        children = [context.Process(target=child) for _ in range(3)]
        with warnings.catch_warnings():
            # Python 3.12 warns of fork() in a process with threads.
            warnings.simplefilter("ignore", DeprecationWarning)
            for process in children:
                process.start()
        for _ in range(50):
            assert await client.get("key") == b"parent"
        loop = asyncio.get_running_loop()
        for process in children:
            assert await loop.run_in_executor(None, results.get, True, 30) == [b"parent"] * 3
            await loop.run_in_executor(None, process.join, 30)
            assert process.exitcode == 0
        await client.rpush("list", "x")
        assert await waiting == (b"list", b"x")

    run_in(new_loop(), main())


def test_memory_of_20000_commands_is_freed(url, rc, new_loop):
    rc.set("key", b"x" * 1000)
    rc.rpush("list", *range(100))

    async def one(client: RedisCluster, i: int) -> None:
        await client.get("key")
        if i % 10 == 0:
            await client.lrange("list", 0, -1)
            await client.pipeline().get("key").lpush("key", 1).execute(raise_on_error=False)
        if i % 100 == 0:
            task = asyncio.create_task(client.get("key"))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def commands(count: int) -> None:
        client = RedisCluster.from_url(url)
        await client.initialize()
        for first in range(0, count, 50):
            await asyncio.gather(*(one(client, first + i) for i in range(50)))

    run_in(new_loop(), commands(4000))
    gc.collect()
    tracemalloc.start()
    before, python = resident(), tracemalloc.get_traced_memory()[0]
    for _ in range(4):
        run_in(new_loop(), commands(5000))
    gc.collect()
    python = tracemalloc.get_traced_memory()[0] - python
    tracemalloc.stop()
    # One leaked reply of 1000 bytes per hundred commands would be 200 kB.
    assert python < 100_000
    assert resident() - before < 4_000_000
