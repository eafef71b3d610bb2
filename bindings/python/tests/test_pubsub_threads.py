"""Subscribers in threads, with signals, and after a fork."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import threading
import time

import pytest
from redis.exceptions import PubSubError

from test_process import resident

from rediscluster import RedisCluster


# A message travels from node to node, and may arrive after the test that sent it has ended.
serial = itertools.count()


@pytest.fixture
def channel():
    """A channel that no other test uses."""
    return f"py:thread:{next(serial)}"


def eventually(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_worker_thread_calls_handlers_until_stopped(rc, channel):
    seen = []
    p = rc.pubsub()
    p.subscribe(**{channel: seen.append})
    thread = p.run_in_thread(sleep_time=0.01, daemon=True)
    eventually(lambda: rc.pubsub_numsub(channel)[0][1] == 1)
    rc.publish(channel, "x")
    eventually(lambda: seen)
    assert seen[0]["data"] == b"x"
    began = time.monotonic()
    thread.stop()
    thread.join(5)
    assert not thread.is_alive() and time.monotonic() - began < 1
    assert p.subscribed is False  # it is closed


def test_stop_ends_a_thread_without_messages_and_subscriptions(rc, channel):
    for subscribe in (False, True):
        p = rc.pubsub()
        if subscribe:
            p.subscribe(**{channel: print})
        thread = p.run_in_thread(daemon=True)
        time.sleep(0.05)
        thread.stop()
        thread.join(5)
        assert not thread.is_alive()


def test_worker_thread_needs_handlers(rc):
    p = rc.pubsub()
    for subscribe, what in (
        (p.subscribe, "Channel"), (p.psubscribe, "Pattern"), (p.ssubscribe, "Sharded channel"),
    ):  # fmt: skip
        subscribe("foo")
        with pytest.raises(PubSubError, match=f"{what}: b'foo' has no handler"):
            p.run_in_thread()
        p.close()


def test_exception_handler_gets_exceptions_of_handlers(rc, channel):
    def bad(_):
        raise ValueError("bad handler")

    caught = []

    def handle(exception, pubsub, thread):
        caught.append((exception, pubsub))
        thread.stop()

    p = rc.pubsub()
    p.subscribe(**{channel: bad})
    thread = p.run_in_thread(daemon=True, exception_handler=handle)
    eventually(lambda: rc.pubsub_numsub(channel)[0][1] == 1)
    rc.publish(channel, "x")
    thread.join(5)
    assert not thread.is_alive()
    assert str(caught[0][0]) == "bad handler" and caught[0][1] is p


def test_other_threads_subscribe_while_one_reads(rc):
    seen = []
    p = rc.pubsub()
    p.subscribe(first=seen.append)
    thread = p.run_in_thread(daemon=True)
    for i in range(20):
        began = time.monotonic()
        p.subscribe(**{f"more:{i}": seen.append})
        assert time.monotonic() - began < 1
    eventually(lambda: len(rc.pubsub_channels("more:*")) == 20)
    for i in range(20):
        rc.publish(f"more:{i}", i)
    eventually(lambda: len(seen) == 20)
    p.unsubscribe("first")
    eventually(lambda: rc.pubsub_numsub("first")[0][1] == 0)
    thread.stop()
    thread.join(5)


def test_read_waits_for_the_first_subscription(rc, channel):
    p = rc.pubsub()
    assert p.get_message() is None and p.get_message(timeout=0.05) is None
    timer = threading.Timer(0.1, p.subscribe, [channel])
    timer.start()
    began = time.monotonic()
    assert p.get_message(timeout=5)["type"] == "subscribe"
    # It is returned at once, whichever thread has received it.
    assert time.monotonic() - began < 4
    timer.join()
    p.close()


def test_close_ends_a_read_in_another_thread(rc, channel):
    p = rc.pubsub(ignore_subscribe_messages=True)
    p.subscribe(channel)
    got = []
    thread = threading.Thread(target=lambda: got.extend(p.listen()), daemon=True)
    thread.start()
    eventually(lambda: rc.pubsub_numsub(channel)[0][1] == 1)
    p.close()
    thread.join(5)
    assert not thread.is_alive() and got == []


def test_signal_handler_that_raises_ends_the_read_and_the_next_goes_on(rc, channel):
    class Alarm(Exception):
        pass

    def on_alarm(*_):
        raise Alarm

    p = rc.pubsub()
    p.subscribe(channel)
    assert p.get_message(timeout=5)["type"] == "subscribe"
    before = signal.signal(signal.SIGALRM, on_alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Alarm):
            p.get_message(timeout=None)
    finally:
        signal.signal(signal.SIGALRM, before)
    rc.publish(channel, "x")
    assert p.get_message(timeout=5)["data"] == b"x"
    p.close()


def test_exceptions_of_signal_handlers_lose_no_message_without_a_gap(rc, channel):
    class Alarm(Exception):
        pass

    def on_alarm(*_):
        raise Alarm

    def publish():
        for number in range(1000):
            rc.spublish(channel, number)
            time.sleep(0.001)

    p = rc.pubsub()
    p.ssubscribe(channel)
    assert p.get_message(timeout=5)["type"] == "ssubscribe"
    thread = threading.Thread(target=publish)
    thread.start()
    before = signal.signal(signal.SIGALRM, on_alarm)
    last, has_gap, alarms, silent = -1, False, 0, []
    try:
        while last < 999 and (thread.is_alive() or not has_gap):
            message = None
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.002))
                message = p.get_message(timeout=0.5)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Alarm:
                alarms += 1
            if message is None:
                continue
            if message["type"] == "gap":
                assert message["data"] == b"interrupted"
                has_gap = True
                continue
            if int(message["data"]) != last + 1 and not has_gap:
                silent.append((last, message["data"]))
            last, has_gap = int(message["data"]), False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        thread.join()
        p.close()
    assert alarms > 10 and silent == []


def test_signal_handler_may_close_the_pubsub_that_it_interrupts(rc, channel):
    p = rc.pubsub(ignore_subscribe_messages=True)
    p.subscribe(channel)
    before = signal.signal(signal.SIGALRM, lambda *_: p.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        assert list(p.listen()) == []
    finally:
        signal.signal(signal.SIGALRM, before)
    assert p.subscribed is False


def test_memory_of_messages_and_subscribers_is_freed(rc, channel):
    payload = b"x" * 1000

    def rounds(count: int) -> None:
        for _ in range(count):
            with rc.pubsub() as p:
                p.ssubscribe(channel)
                assert p.get_message(timeout=5)["type"] == "ssubscribe"
                pipe = rc.pipeline()
                for _ in range(200):
                    pipe.spublish(channel, payload)
                pipe.execute()
                for _ in range(150):  # the others are dropped
                    assert p.get_message(timeout=5)["data"] == payload

    rounds(20)
    before = resident()
    rounds(100)
    # Each round has 200 kB of messages.
    assert resident() - before < 4_000_000


def in_child(url, queue):
    with RedisCluster.from_url(url) as rc:
        p = rc.pubsub()
        p.subscribe("fork")
        p.get_message(timeout=5)
        pid = os.fork()
        if pid == 0:
            try:
                with rc.pubsub() as own:
                    own.subscribe("fork:own")
                    ok = own.get_message(timeout=5)["type"] == "subscribe"
            except BaseException:
                ok = False
            os._exit(0 if ok else 1)
        _, status = os.waitpid(pid, 0)
        rc.publish("fork", "x")
        queue.put((status, p.get_message(timeout=5)["data"]))


def test_forked_child_has_subscribers_of_its_own(url, rc):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=in_child, args=(url, queue))
    process.start()
    assert queue.get(timeout=20) == (0, b"x")
    process.join(5)
