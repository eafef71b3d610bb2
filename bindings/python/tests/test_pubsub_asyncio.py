"""Subscribers of the asyncio client: tasks, cancellation and event loops."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref

import pytest
from loops import NEW_LOOP, Ticker, run_in

from rediscluster.asyncio import RedisCluster


@pytest.fixture(params=sorted(NEW_LOOP), autouse=True)
def new_loop(request):
    return NEW_LOOP[request.param]


# A message travels from node to node, and may arrive after the test that sent it has ended.
serial = itertools.count()


@pytest.fixture
def channel():
    """A channel that no other test uses."""
    return f"py:asyncio:{next(serial)}"


async def subscribed(p, *names):
    """Subscribes, and reads the confirmations."""
    await p.subscribe(*names)
    for _ in names:
        assert (await p.get_message(timeout=5))["type"] == "subscribe"


async def test_listen_in_one_task_and_publish_in_another(url, rc, channel):
    async with RedisCluster.from_url(url, decode_responses=True) as client, client.pubsub() as p:
        await p.ssubscribe(channel)
        assert (await p.get_message(timeout=5))["type"] == "ssubscribe"

        async def read():
            return [message["data"] async for message in p.listen()]

        task = asyncio.create_task(read())
        for i in range(100):
            assert await client.spublish(channel, i) == 1
        await asyncio.sleep(0.1)
        await p.sunsubscribe()
        data = await asyncio.wait_for(task, 5)
        assert data == [str(i) for i in range(100)] + [0]


async def test_waiting_blocks_no_other_task(url, rc, channel):
    async with RedisCluster.from_url(url) as client, client.pubsub() as p:
        async with Ticker() as ticker:
            await subscribed(p, channel)
            assert await p.get_message(timeout=0.3) is None
        assert ticker.longest < 0.2


async def test_cancelled_read_takes_no_message(url, rc, channel):
    async with RedisCluster.from_url(url) as client, client.pubsub() as p:
        await subscribed(p, channel)
        for _ in range(20):
            task = asyncio.create_task(p.get_message(timeout=None))
            await asyncio.sleep(0.002)
            await client.publish(channel, "x")
            task.cancel()
            try:
                message = await task
            except asyncio.CancelledError:
                message = await p.get_message(timeout=5)
            assert message["data"] == b"x"
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(p.get_message(timeout=None), 0.05)


async def test_task_subscribes_while_another_one_waits(url, rc, channel):
    async with RedisCluster.from_url(url) as client, client.pubsub() as p:
        await subscribed(p, channel)
        task = asyncio.create_task(p.get_message(timeout=None))
        await asyncio.sleep(0.01)
        await p.psubscribe("b*")
        assert (await asyncio.wait_for(task, 5))["type"] == "psubscribe"


async def test_close_ends_the_wait(url, rc, channel):
    async with RedisCluster.from_url(url) as client:
        p = client.pubsub()
        await subscribed(p, channel)

        async def read():
            return [message async for message in p.listen()]

        task = asyncio.create_task(read())
        await asyncio.sleep(0.01)
        await p.aclose()
        assert await asyncio.wait_for(task, 5) == []


async def test_run_calls_functions_and_coroutine_functions(url, rc, channel):
    async with RedisCluster.from_url(url) as client, client.pubsub() as p:
        seen, errors = [], []

        async def handler(message):
            await asyncio.sleep(0)
            seen.append(message["data"])
            raise ValueError("after it")

        def caught(exception, pubsub):
            errors.append(str(exception))

        await p.subscribe(
            **{channel: handler, "bar": lambda message: seen.append(message["data"])}
        )
        task = asyncio.create_task(p.run(exception_handler=caught))
        while dict(await client.pubsub_numsub(channel, "bar")) != {channel.encode(): 1, b"bar": 1}:
            await asyncio.sleep(0.005)
        await client.publish(channel, "1")
        await client.publish("bar", "2")
        while len(seen) < 2:
            await asyncio.sleep(0.005)
        assert sorted(seen) == [b"1", b"2"] and errors == ["after it"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_read_before_a_subscription_raises(url, rc):
    async with RedisCluster.from_url(url) as client:
        with pytest.raises(RuntimeError, match="connection not set"):
            await client.pubsub().get_message()


async def test_flood_of_messages_lets_other_tasks_run(url, rc, channel):
    async with RedisCluster.from_url(url) as client, client.pubsub() as p:
        await subscribed(p, channel)
        pipe = client.pipeline()
        for i in range(3000):
            pipe.publish(channel, i)
        await pipe.execute()
        turns = 0

        async def count():
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        other = asyncio.create_task(count())
        for _ in range(3000):
            assert await p.get_message(timeout=5) is not None
        assert turns >= 20
        other.cancel()


async def test_dropped_pubsub_leaves_the_loop(url, rc, channel):
    async with RedisCluster.from_url(url) as client:
        p = client.pubsub()
        await subscribed(p, channel)
        assert await p.get_message(timeout=0.01) is None  # the loop watches its descriptor
        reference = weakref.ref(p)
        del p
        gc.collect()
        assert reference() is None
        for _ in range(500):
            if (await client.pubsub_numsub(channel))[0][1] == 0:
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError("the connection is still open")


def test_one_client_has_subscribers_in_many_loops(url, rc, new_loop, channel):
    client = RedisCluster.from_url(url)

    async def use():
        async with client.pubsub() as p:
            await subscribed(p, channel)
            await client.publish(channel, "x")
            return (await p.get_message(timeout=5))["data"]

    for _ in range(5):
        assert run_in(new_loop(), use()) == b"x"


async def test_errors_of_run_do_not_stop_the_loop(url, rc, channel):
    errors = []
    async with RedisCluster.from_url(url) as client, client.pubsub() as p:
        await p.subscribe(**{channel: errors.append})

        async def fail(**_):
            raise ValueError("each time")

        p.get_message = fail
        task = asyncio.create_task(p.run(exception_handler=lambda error, _: errors.append(error)))
        # Each round, the loop serves its other tasks too.
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(errors) > 1 and str(errors[0]) == "each time"


async def test_reading_without_a_subscription_says_what_is_missing(url, rc):
    async with RedisCluster.from_url(url) as client:
        expected = r"connection not set: did you forget to call subscribe\(\) or psubscribe\(\)\?"
        with pytest.raises(RuntimeError, match=expected):
            await client.pubsub().get_message()
