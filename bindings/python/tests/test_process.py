"""Failover, threads, forks and memory. Signals: test_signals.py."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import time
import tracemalloc

import pytest
from conftest import control

from rediscluster import InterruptedCall, RedisCluster, TimeoutError


def test_killed_primary_calls_succeed_within_timeout(url, rc):
    deadline = 15.0
    key = "failover"
    with RedisCluster.from_url(url, timeout=deadline) as client:
        client.set(key, 0)
        control("wait-sync")
        port = control("primary-of", f"key:{key}")[0]
        control("kill", port)
        try:
            began = time.monotonic()
            assert client.get(key) == b"0"
            assert client.set(key, 1) is True
            assert client.get(key) == b"1"
            assert client.pipeline().set(key, 2).get(key).execute() == [True, b"2"]
            assert time.monotonic() - began < deadline
            assert control("primary-of", f"key:{key}")[0] != port
        finally:
            control("restart", port)
            control("wait-healthy")


def test_hung_primary_write_ends_at_timeout(url, rc):
    with RedisCluster.from_url(url, timeout=0.4) as client:
        client.set("hang", 0)
        port = control("primary-of", "key:hang")[0]
        control("stop", port)
        try:
            began = time.monotonic()
            with pytest.raises(TimeoutError, match="^TIMEOUT") as raised:
                client.set("hang", 1)
            assert 0.3 < time.monotonic() - began < 2
            assert (raised.value.code, raised.value.sent) == ("TIMEOUT", True)
            assert raised.value.node == f"127.0.0.1:{port}"
        finally:
            control("cont", port)
            control("wait-healthy")


def test_threads_get_their_own_replies(rc):
    wrong = []

    def work(number: int) -> None:
        for i in range(200):
            key, value = f"key{number}", b"%d of %d" % (i, number)
            rc.set(key, value)
            found = [rc.get(key), *rc.pipeline().get(key).get("none").execute()]
            if found != [value, value, None]:
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def wait_until_blocked(rc: RedisCluster, key: str) -> None:
    """Waits until the primary of this key reports a blocked client."""
    node = f"127.0.0.1:{control('primary-of', f'key:{key}')[0]}"
    end = time.monotonic() + 10
    while not rc.info("clients", target_nodes=node)["blocked_clients"]:
        assert time.monotonic() < end, f"no client is blocked at {node}"


def test_blocked_call_lets_other_threads_run(rc):
    found = []
    waiter = threading.Thread(target=lambda: found.append(rc.blpop("list", timeout=60)))
    waiter.start()
    wait_until_blocked(rc, "list")
    rc.rpush("list", "x")
    waiter.join()
    assert found == [(b"list", b"x")]


def test_interrupt_ends_calls_of_other_threads(url, rc):
    found = []

    def wait() -> None:
        try:
            other.blpop("list", timeout=60)
        except InterruptedCall as error:
            found.append(error.code)

    with RedisCluster.from_url(url) as other:
        waiter = threading.Thread(target=wait)
        waiter.start()
        wait_until_blocked(rc, "list")
        other.interrupt()
        waiter.join()
        assert found == ["INTERRUPTED"] and other.ping()


def test_forked_child_uses_inherited_client(rc):
    rc.set("key", "parent")
    pipe = rc.pipeline().get("key")

    def child(results) -> None:
        found = [rc.get("key"), *pipe.execute(), rc.set("child", "was here")]
        rc.close()
        results.put(found)

    context = multiprocessing.get_context("fork")
    results = context.Queue()
    children = [context.Process(target=child, args=(results,)) for _ in range(3)]
    for process in children:
        process.start()
    for _ in range(50):
        assert rc.get("key") == b"parent"
    assert [results.get(timeout=30) for _ in children] == [[b"parent", b"parent", True]] * 3
    for process in children:
        process.join()
        assert process.exitcode == 0
    assert rc.get("child") == b"was here" and pipe.execute() == [b"parent"]


def resident() -> int:
    """The resident memory in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_of_20000_calls_is_freed(url, rc):
    rc.set("key", b"x" * 1000)
    rc.rpush("list", *range(100))

    def calls(count: int) -> None:
        for i in range(count):
            rc.get("key")
            if i % 10 == 0:
                rc.lrange("list", 0, -1)
                rc.execute_command("TIME", target_nodes="primaries")
                rc.pipeline().get("key").lpush("key", 1).execute(raise_on_error=False)
            if i % 1000 == 0:
                RedisCluster.from_url(url).close()

    calls(4000)
    gc.collect()
    tracemalloc.start()
    before, python = resident(), tracemalloc.get_traced_memory()[0]
    calls(20000)
    gc.collect()
    python = tracemalloc.get_traced_memory()[0] - python
    tracemalloc.stop()
    # One leaked reply of 1000 bytes per hundred calls would be 200 kB.
    assert python < 100_000
    assert resident() - before < 4_000_000
