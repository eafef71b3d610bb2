"""The asyncio client: its own interface, tasks, timeouts and cancellation. What it has in common with
the synchronous client is tested in test_client.py and test_pipeline.py. Loops: test_asyncio_loops.py."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import pathlib
import signal
import socket
import sys
import threading
import time

import pytest
import redis
from conftest import control
from loops import NEW_LOOP, Ticker, run_in

from rediscluster import InterruptedCall, InvalidError, QueueFullError
from rediscluster.asyncio import ClusterPipeline, RedisCluster
from rediscluster.asyncio._queue import Queue

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "examples"))
import asyncio_tasks


@pytest.fixture(params=sorted(NEW_LOOP), autouse=True)
def new_loop(request):
    return NEW_LOOP[request.param]


@pytest.fixture
def arc(url, rc):
    """A client of an empty cluster. It is not closed: its loop is, at the end of the test."""
    return RedisCluster.from_url(url, decode_responses=True)


async def until_blocked(arc: RedisCluster, key: str, count: int) -> None:
    """Waits until the primary of this key reports so many blocked clients."""
    port = control("primary-of", f"key:{key}")[0]
    while True:
        info = await arc.info("clients", target_nodes=f"127.0.0.1:{port}")
        if info["blocked_clients"] == count:
            return
        await asyncio.sleep(0.005)


# ---- Commands ------------------------------------------------------------------------------------


async def test_tasks_get_their_own_replies(arc):
    async def work(number: int) -> None:
        for i in range(20):
            key, value = f"key:{number}:{i}", f"{number}-{i}"
            assert await arc.set(key, value) is True
            assert await arc.get(key) == value
            assert await arc.pipeline().get(key).strlen(key).execute() == [value, len(value)]

    await asyncio.gather(*map(work, range(100)))


async def test_commands_of_one_slot_keep_their_order(arc):
    assert await asyncio.gather(*(arc.incr("n") for _ in range(200))) == list(range(1, 201))


async def test_commands_of_one_iteration_are_sent_by_one_run(arc, monkeypatch):
    await arc.initialize()
    runs = []
    original = Queue.run
    monkeypatch.setattr(Queue, "run", lambda queue: (runs.append(1), original(queue))[1])
    other = arc.with_options(timeout_ms=4000)  # its queue is made with the patch
    await other.get("key")
    runs.clear()
    await asyncio.gather(*(other.get("key") for _ in range(100)))
    # One run sends all, and the replies of a node come in a few pieces.
    assert len(runs) < 50


async def test_every_iterator_is_asynchronous(arc):
    keys = {f"key{i}" for i in range(100)}
    await arc.mset_nonatomic(dict.fromkeys(keys, 1))
    assert {key async for key in arc.scan_iter("key*", count=10)} == keys
    assert {key async for key in arc.scan_iter(target_nodes="primaries")} == keys
    some = {key async for key in arc.scan_iter(target_nodes=arc.get_primaries()[0])}
    assert 0 < len(some) < 100 and some < keys
    members = {f"m{i}" for i in range(1000)}
    await arc.hset("h", mapping=dict.fromkeys(members, "v"))
    await arc.sadd("s", *members)
    await arc.zadd("z", dict.fromkeys(members, 1))
    assert {pair async for pair in arc.hscan_iter("h")} == {(name, "v") for name in members}
    assert {member async for member in arc.sscan_iter("s")} == members
    assert {pair async for pair in arc.zscan_iter("z")} == {(name, 1.0) for name in members}


async def test_pipeline_is_asynchronous_context_manager(arc):
    async with arc.pipeline() as pipe:
        assert pipe.set("a", 1).get("a") is pipe and len(pipe) == 2 and pipe
        assert await pipe.execute() == [True, "1"] and len(pipe) == 0
        pipe.mset_nonatomic({"a": 2, "b": 3}).get("a")
        assert await pipe.execute() == [True, True, "2"]
        pipe.set("unsent", 1)
    assert await pipe.execute() == [] and await arc.get("unsent") is None
    assert await (await arc.pipeline()).get("a").execute() == ["2"]
    async with arc.pipeline(transaction=True) as pipe:
        assert await pipe.incr("{t}a").incr("{t}a").get("{t}a").execute() == [1, 2, "2"]
        pipe.incr("a").incr("b")
        with pytest.raises(redis.exceptions.RedisClusterException):
            await pipe.execute()


async def test_watched_pipeline_runs_commands_at_once(arc):
    await arc.set("n", 5)
    async with arc.pipeline() as pipe:
        assert await pipe.watch("n") is True
        value = int(await pipe.get("n"))
        pipe.multi()
        assert await pipe.set("n", value + 1).get("n").execute() == [True, "6"]
        await pipe.watch("n")
        await arc.set("n", 7)
        pipe.multi()
        with pytest.raises(redis.exceptions.WatchError):
            await pipe.incr("n").execute()
        await pipe.watch("n")
        await arc.set("n", 8)
        assert await pipe.unwatch() is True
        assert await pipe.incr("n").execute() == [9]


async def test_transaction_calls_function_or_coroutine_function(arc):
    await arc.set("n", 1)
    seen = []

    async def double(pipe: ClusterPipeline) -> str:
        seen.append(int(await pipe.get("n")))
        if len(seen) == 1:
            await arc.set("n", 10)
        pipe.multi()
        pipe.set("n", seen[-1] * 2)
        return "returned"

    assert await arc.transaction(double, "n") == [True]
    assert seen == [1, 10] and await arc.get("n") == "20"
    assert await arc.transaction(double, "n", value_from_callable=True) == "returned"
    assert await arc.transaction(lambda pipe: pipe.incr("n")) == [41]


async def test_concurrent_transactions_lose_no_increment(arc):
    async def increment(pipe: ClusterPipeline) -> None:
        value = int(await pipe.get("n") or 0)
        pipe.multi()
        pipe.set("n", value + 1)

    await asyncio.gather(*(arc.transaction(increment, "n") for _ in range(8)))
    assert await arc.get("n") == "8"


async def test_lock_and_script_are_asynchronous(arc):
    async with arc.lock("lock", timeout=10) as lock:
        assert await lock.owned() and not await arc.lock("lock", blocking=False).acquire()
    assert await arc.exists("lock") == 0
    script = arc.register_script("return {KEYS[1], ARGV[1]}")
    assert await script(keys=["a"], args=[1]) == ["a", "1"]


async def test_blocked_command_lets_others_run(arc):
    waiter = asyncio.create_task(arc.blpop("list", timeout=60))
    await until_blocked(arc, "list", 1)
    assert await asyncio.gather(*(arc.incr("n") for _ in range(10)))
    assert not waiter.done()
    await arc.rpush("list", "x")
    assert await waiter == ("list", "x")


async def test_target_nodes_and_merged_commands(arc):
    await arc.mset_nonatomic({f"key{i}": i for i in range(30)})
    assert await arc.dbsize() == 30 and len(await arc.keys("*")) == 30
    primaries = arc.get_primaries()
    sizes = await arc.dbsize(target_nodes="primaries")
    assert sizes == 30
    ports = {(await arc.info("server", target_nodes=node))["tcp_port"] for node in primaries}
    assert ports == {node.port for node in primaries}
    assert await arc.get_nodes_from_slot("SET", "SET", "key1", 1) == [arc.get_node_from_key("key1")]
    assert arc.set_default_node(primaries[1]) and arc.get_default_node() == primaries[1]
    assert (await arc.info("server"))["tcp_port"] == primaries[1].port


async def test_commands_at_chosen_nodes_use_no_thread(arc):
    await arc
    no_thread = concurrent.futures.ThreadPoolExecutor()
    no_thread.shutdown()
    asyncio.get_running_loop().set_default_executor(no_thread)
    with pytest.raises(RuntimeError):
        await arc.refresh()
    first, second = arc.get_primaries()[:2]
    names = {node.name for node in arc.get_nodes()}
    for target in ("all", arc.get_nodes()):
        ids = await arc.execute_command("CLUSTER MYID", target_nodes=target)
        assert ids.keys() == names and len(set(ids.values())) == len(names)
    both = asyncio.gather(
        arc.config_get("port", target_nodes=first), arc.config_get("port", target_nodes=second)
    )
    assert [int(found["port"]) for found in await both] == [first.port, second.port]
    assert await arc.info("clients") and await arc.memory_stats() is not None
    assert await arc.latency_latest() == []
    assert len(await arc.scan()) == 2


async def test_error_at_chosen_node_has_code_sent_and_node(arc):
    await arc.set("text", "x")
    primary = arc.get_node_from_key("text")
    with pytest.raises(redis.exceptions.ResponseError) as raised:
        await arc.execute_command("INCR", "text", target_nodes=primary)
    assert (raised.value.sent, raised.value.node) == (True, primary.name)
    for target in ("nowhere", ["primaries", "nowhere"]):
        with pytest.raises(InvalidError) as raised:
            await arc.execute_command("PING", target_nodes=target)
        assert raised.value.sent is False
    with pytest.raises(redis.exceptions.DataError):
        await arc.execute_command("PING", object(), target_nodes="all")


async def test_error_has_code_sent_and_node(arc):
    await arc.set("text", "x")
    with pytest.raises(redis.exceptions.ResponseError) as raised:
        await arc.incr("text")
    assert (raised.value.code, raised.value.sent) == ("SERVER", True)
    assert raised.value.node == arc.get_node_from_key("text").name
    with pytest.raises(redis.exceptions.RedisClusterException) as raised:
        await arc.rename("a", "b")
    assert (raised.value.code, raised.value.sent) == ("CROSSSLOT", False)
    with pytest.raises(redis.exceptions.DataError):
        await arc.set("a", object())
    found = await asyncio.gather(arc.incr("text"), arc.get("text"), return_exceptions=True)
    assert isinstance(found[0], redis.exceptions.ResponseError) and found[1] == "x"


async def test_coroutine_that_is_not_awaited_sends_nothing(arc):
    arc.set("a", 1).close()
    assert await arc.get("a") is None


async def test_queue_limit_refuses_further_commands(url, rc):
    limited = RedisCluster.from_url(url, queue_limit=10)
    await limited.initialize()
    results = await asyncio.gather(*(limited.incr("n") for _ in range(50)), return_exceptions=True)
    refused = [each for each in results if isinstance(each, QueueFullError)]
    assert len(refused) == 40
    assert {(each.code, each.sent) for each in refused} == {("QUEUE_FULL", False)}
    assert await limited.get("n") == b"10"


def test_example_prints_what_its_tasks_did(url, rc, new_loop, capsys):
    run_in(new_loop(), asyncio_tasks.main(url))
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["300 300 300 300", "1200", "1201 ResponseError", "['{jobs}:total']"]


# ---- Connecting ----------------------------------------------------------------------------------


def test_constructor_needs_no_loop_and_sends_nothing(url):
    client = RedisCluster.from_url(url, lazy=False)
    assert client.topology() == [] and client.stats()["connected"] == 0
    with pytest.raises(redis.exceptions.DataError):
        RedisCluster.from_url(url, read_from="the moon")


async def test_await_and_async_with_connect(url):
    first = await RedisCluster.from_url(url)
    assert len(first.get_nodes()) == 6 and await first is first
    async with RedisCluster.from_url(url) as second, second as same:
        assert same is second and len(second.get_primaries()) == 3
    with pytest.raises(redis.exceptions.ConnectionError):
        await second.get("a")
    together = RedisCluster.from_url(url)
    await asyncio.gather(*(together.initialize() for _ in range(10)))
    assert together.stats()["connected"] == 1


async def test_client_closes_at_the_end_of_its_last_block(url):
    client = RedisCluster.from_url(url)
    async with client:
        async with client:
            pass
        assert await client.get("absent") is None
    with pytest.raises(redis.exceptions.ConnectionError) as raised:
        await client.get("absent")
    assert (raised.value.code, raised.value.sent) == ("CLOSED", False)


async def test_unreachable_cluster_raises_redis_py_classes():
    client = RedisCluster("127.0.0.1", 1, timeout=0.2)
    for connect in (client.initialize, client.__aenter__):
        with pytest.raises(redis.exceptions.RedisClusterException) as raised:
            await connect()
        assert isinstance(raised.value, redis.exceptions.ConnectionError)
        assert (raised.value.code, raised.value.sent) == ("CONNECT", False)
    with pytest.raises(redis.exceptions.ConnectionError):
        await client.get("a")
    with pytest.raises(redis.exceptions.ConnectionError):
        await client.pipeline().get("a").execute()


async def test_connecting_does_not_block_the_loop():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = RedisCluster("127.0.0.1", silent.getsockname()[1], timeout=1.5)
        async with Ticker() as ticker:
            with pytest.raises(redis.exceptions.TimeoutError):
                await client
        assert ticker.longest < 0.75


async def test_wrong_password_raises_authentication_error(url):
    client = RedisCluster.from_url(url, username="nobody", password="secret")
    with pytest.raises(redis.exceptions.AuthenticationError) as raised:
        await client
    assert raised.value.code == "AUTH" and "secret" not in str(raised.value)


async def test_address_remap_is_applied_at_the_first_command(url):
    seen = []

    def remap(address: tuple[str, int]) -> tuple[str, int]:
        seen.append(address)
        return "localhost", address[1]

    client = RedisCluster.from_url(url, address_remap=remap)
    with pytest.raises(redis.exceptions.RedisClusterException):
        client.with_options(timeout_ms=100)
    assert await asyncio.gather(*(client.set(f"key{i}", i) for i in range(20))) == [True] * 20
    assert sorted(seen) == sorted((node.host, node.port) for node in client.get_nodes())
    assert await client.with_options(timeout_ms=4000).get("key1") == b"1"
    seen.clear()
    client = RedisCluster.from_url(url, address_remap=remap)
    assert await client.dbsize(target_nodes="primaries") >= 20
    assert len(seen) == len(client.get_nodes())


async def test_single_server_and_unix_socket_are_used_like_a_cluster():
    for client in (
        RedisCluster.from_url(os.environ["RDC_SINGLE_URL"] + "/3"),
        RedisCluster(unix_socket_path=os.environ["RDC_SINGLE_SOCKET"], db=4),
    ):
        async with client as rc:
            await rc.flushdb()
            assert await rc.mset({"a": 1, "b": 2}) and await rc.mget("a", "b") == [b"1", b"2"]
            pipe = rc.pipeline(transaction=True).incr("a").incr("b")
            assert await pipe.execute() == [2, 3]
            assert {key async for key in rc.scan_iter()} == {b"a", b"b"}


# ---- Timeouts and cancellation -------------------------------------------------------------------


async def test_timeout_of_task_cancels_command_at_the_server(arc):
    with pytest.raises(asyncio.TimeoutError) as raised:
        await asyncio.wait_for(arc.blpop("list", timeout=60), 0.1)
    if sys.version_info >= (3, 11):  # before, wait_for() raises from another CancelledError
        assert raised.value.__cause__.sent is True
    await until_blocked(arc, "list", 0)
    await arc.rpush("list", "x")
    assert await arc.lrange("list", 0, -1) == ["x"]


@pytest.mark.skipif(not hasattr(asyncio, "timeout"), reason="asyncio.timeout is new in 3.11")
async def test_asyncio_timeout_ends_commands_in_its_block(arc):
    began = time.monotonic()
    with pytest.raises(asyncio.TimeoutError):
        async with asyncio.timeout(0.1):
            await asyncio.gather(arc.blpop("a", timeout=60), arc.blpop("b", timeout=60))
    assert time.monotonic() - began < 5
    await until_blocked(arc, "a", 0)
    assert await arc.ping()


async def test_cancelling_ends_command_with_target_nodes(arc):
    node = (await arc).get_node_from_key("list")
    # Another node refuses the key with MOVED at once, so one command is complete and one waits.
    other = next(each for each in arc.get_primaries() if each != node)
    for end, targets in (("cancel", node), ("cancel", [other, node]), ("close", node)):
        task = asyncio.create_task(arc.execute_command("BLPOP", "list", 60, target_nodes=targets))
        await until_blocked(arc, "list", 1)
        if end == "cancel":
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as raised:
                await task
            assert raised.value.sent is True
            await until_blocked(arc, "list", 0)
        else:
            await arc.aclose()
            with pytest.raises(redis.exceptions.ConnectionError) as raised:
                await task
            assert raised.value.code == "CLOSED"


async def test_cancelled_task_is_told_whether_its_command_was_sent(arc, new_loop):
    await arc.initialize()
    told = []

    async def run(command) -> None:
        try:
            await command
        except asyncio.CancelledError as exception:
            told.append(exception.sent)
            raise

    unsent = asyncio.create_task(run(arc.set("unsent", 1)))
    await asyncio.sleep(0)  # until the command is submitted
    unsent.cancel()
    blocked = asyncio.create_task(run(arc.blpop("list", timeout=60)))
    await until_blocked(arc, "list", 1)
    blocked.cancel()
    for task in (unsent, blocked):
        with pytest.raises(asyncio.CancelledError):
            await task
    was_sent, waited = told
    assert waited is True
    if new_loop is asyncio.new_event_loop:
        # uvloop may send what is submitted before it resumes the cancelled task.
        assert was_sent is False
    assert was_sent or await arc.get("unsent") is None


async def test_late_reply_of_cancelled_command_reaches_nobody(arc):
    await arc.mset_nonatomic({f"key{i}": i for i in range(100)})
    for _ in range(20):
        doomed = [asyncio.create_task(arc.get(f"key{i}")) for i in range(50)]
        for _ in range(3):
            await asyncio.sleep(0)
        for task in doomed:
            task.cancel()
        found = await asyncio.gather(*(arc.get(f"key{i}") for i in range(50, 100)))
        assert found == [str(i) for i in range(50, 100)]
        await asyncio.gather(*doomed, return_exceptions=True)


async def test_cancelled_pipeline_leaves_client_working(arc):
    await arc.mset_nonatomic({"a": 1, "b": 2, "c": 3, "d": 4})
    port = control("primary-of", "key:a")[0]
    control("stop", port)
    try:
        tasks = [
            asyncio.create_task(arc.pipeline(transaction).get("a").get("a").execute())
            for transaction in (False, True)
        ]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    finally:
        control("cont", port)
        control("wait-healthy")
    assert await arc.pipeline().get("a").get("b").get("c").get("d").execute() == list("1234")


async def test_hung_node_delays_its_own_commands_only(url, rc):
    client = RedisCluster.from_url(url, timeout=1.5, socket_timeout=1.5)
    await client.set("hang", 0)
    port = control("primary-of", "key:hang")[0]
    other = next(f"k{i}" for i in range(99) if control("primary-of", f"key:k{i}")[0] != port)
    control("stop", port)
    try:
        async with Ticker() as ticker:
            hung = asyncio.create_task(client.set("hang", 1))
            for _ in range(50):
                assert await client.set(other, 1) is True
            assert not hung.done()
            with pytest.raises(redis.exceptions.TimeoutError, match="^TIMEOUT") as raised:
                await hung
        assert (raised.value.code, raised.value.sent) == ("TIMEOUT", True)
        assert raised.value.node == f"127.0.0.1:{port}"
        assert ticker.longest < 0.75
    finally:
        control("cont", port)
        control("wait-healthy")


async def test_killed_primary_commands_succeed_within_timeout(url, rc):
    client = RedisCluster.from_url(url, timeout=15.0)
    await client.set("failover", 0)
    control("wait-sync")
    port = control("primary-of", "key:failover")[0]
    control("kill", port)
    try:
        assert await asyncio.gather(client.get("failover"), client.get("failover")) == [b"0", b"0"]
        assert await client.set("failover", 1) is True
        pipe = client.pipeline().set("failover", 2).get("failover")
        assert await pipe.execute() == [True, b"2"]
    finally:
        control("restart", port)
        control("wait-healthy")


# ---- The end -------------------------------------------------------------------------------------


async def test_closing_ends_commands_in_progress(arc):
    waiting = [asyncio.create_task(arc.blpop(key, timeout=60)) for key in ("a", "b")]
    await until_blocked(arc, "a", 1)
    await arc.aclose()
    for task in waiting:
        with pytest.raises(redis.exceptions.ConnectionError) as raised:
            await task
        assert raised.value.code == "CLOSED"
    await arc.close()
    for run in (lambda: arc.get("a"), lambda: arc.pipeline().get("a").execute()):
        with pytest.raises(redis.exceptions.ConnectionError) as raised:
            await run()
        assert (raised.value.code, raised.value.sent) == ("CLOSED", False)


async def test_closed_pipeline_ends_its_watching_connection(arc):
    pipe = arc.pipeline()
    await pipe.watch("n")
    waiting = asyncio.create_task(pipe.blpop("n", 60))
    await until_blocked(arc, "n", 1)
    await pipe.aclose()
    with pytest.raises(redis.exceptions.ConnectionError):
        await waiting
    await until_blocked(arc, "n", 0)


@pytest.mark.skipif(not hasattr(asyncio, "Runner"), reason="asyncio.Runner is new in 3.11")
def test_ctrl_c_cancels_the_main_task(url, rc, new_loop):
    told = []

    async def main() -> None:
        client = RedisCluster.from_url(url)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            await client.blpop("list", timeout=60)
        except asyncio.CancelledError as exception:
            told.append(exception.sent)
            raise

    began = time.monotonic()
    # A shell starts background jobs with the signal ignored.
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(main())
    finally:
        signal.signal(signal.SIGINT, former)
    assert told == [True] and time.monotonic() - began < 10


def test_interrupted_call_is_not_raised_by_cancelling():
    # Cancelling raises asyncio's exception; this one belongs to interrupt() of the other client.
    assert not issubclass(InterruptedCall, asyncio.CancelledError)
    assert not hasattr(RedisCluster, "interrupt")
