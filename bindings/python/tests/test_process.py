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


def test_a_primary_dies_and_calls_go_on_within_their_deadline(url, rc):
    deadline = 15.0
    key = "failover"
    with RedisCluster.from_url(url, timeout=deadline) as survivor:
        survivor.set(key, 0)
        control("wait-sync")
        port = control("primary-of", f"key:{key}")[0]
        control("kill", port)
        try:
            began = time.monotonic()
            assert survivor.get(key) == b"0"
            assert survivor.set(key, 1) is True
            assert survivor.get(key) == b"1"
            assert survivor.pipeline().set(key, 2).get(key).execute() == [True, b"2"]
            assert time.monotonic() - began < deadline
            assert control("primary-of", f"key:{key}")[0] != port
        finally:
            control("restart", port)
            control("wait-healthy")


def test_a_primary_hangs_and_a_write_ends_within_its_timeout(url, rc):
    with RedisCluster.from_url(url, timeout=0.4) as impatient:
        impatient.set("hang", 0)
        port = control("primary-of", "key:hang")[0]
        control("stop", port)
        try:
            began = time.monotonic()
            with pytest.raises(TimeoutError, match="^TIMEOUT") as raised:
                impatient.set("hang", 1)
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
    """Until a client waits for this key, as its node says."""
    node = f"127.0.0.1:{control('primary-of', f'key:{key}')[0]}"
    while not rc.info("clients", target_nodes=node)["blocked_clients"]:
        pass


def test_other_threads_run_while_one_waits(rc):
    found = []
    waiter = threading.Thread(target=lambda: found.append(rc.blpop("list", timeout=60)))
    waiter.start()
    wait_until_blocked(rc, "list")
    rc.rpush("list", "x")
    waiter.join()
    assert found == [(b"list", b"x")]


def test_interrupt_ends_the_calls_of_other_threads(url, rc):
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


def test_a_forked_child_goes_on_with_the_client_it_inherited(rc):
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
    """Bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_twenty_thousand_calls_leave_nothing_behind(url, rc):
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
    # One reply of 1000 bytes lost in a hundred calls would be 200 kB.
    assert python < 100_000
    assert resident() - before < 4_000_000
