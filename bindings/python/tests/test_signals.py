"""Signals while a call waits: handlers run at once, and an exception from one ends the call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from conftest import control

from rediscluster import RedisCluster

# The limit in seconds for a signal to take effect. A busy machine may exceed it in some tries.
AT_ONCE = 0.1
TRIES = 3


@contextmanager
def signal_handler(number: int, handler):
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def signal_after(seconds: float, number: int = signal.SIGINT):
    """Sends a signal to this process after a delay. Yields a list for the time of sending."""
    when: list[float] = []
    begun, over = threading.Event(), threading.Event()

    def send() -> None:
        begun.wait()
        if not over.wait(seconds):
            when.append(time.monotonic())
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        begun.set()
        yield when
    finally:
        over.set()
        thread.join()


@pytest.fixture
def stopped(url, rc):
    """A client with long timeouts, and the port of the stopped primary of the key "hang"."""
    rc.set("hang", "here")
    rc.get("other")
    port = control("primary-of", "key:hang")[0]
    with RedisCluster.from_url(url, timeout=20, socket_timeout=20, socket_connect_timeout=20) as it:
        it.get("hang")
        control("stop", port)
        try:
            yield it, port
        finally:
            control("cont", port)
            control("wait-healthy")


CALLS = {
    "read": lambda rc: rc.get("hang"),
    "write": lambda rc: rc.set("hang", 1),
    "of several nodes": lambda rc: rc.mget("hang", "a", "b", "c"),
    "pipeline": lambda rc: rc.pipeline().get("hang").get("a").get("b").get("c").execute(),
    "pipeline with errors": lambda rc: rc.pipeline().get("hang").execute(raise_on_error=False),
    "transaction": lambda rc: rc.pipeline(transaction=True).get("hang").execute(),
    "watch": lambda rc: rc.pipeline().watch("hang"),
    "target": lambda rc: rc.execute_command("TIME", target_nodes="primaries"),
}


def test_ctrl_c_ends_every_kind_of_call(stopped):
    client, port = stopped
    calls = {**CALLS, "constructor": lambda _: RedisCluster("127.0.0.1", port, timeout=20)}
    with signal_handler(signal.SIGINT, signal.default_int_handler):
        for name, call in calls.items():
            tries = []
            while len(tries) < TRIES and min(tries, default=1.0) >= AT_ONCE:
                with signal_after(0.05) as when, pytest.raises(KeyboardInterrupt):
                    call(client)
                tries.append(time.monotonic() - when[0])
                assert client.get("other") is None
            assert min(tries) < AT_ONCE, f"{name}: {tries}"


def test_ctrl_c_in_blocking_call_keeps_replies_apart(rc):
    with signal_handler(signal.SIGINT, signal.default_int_handler):
        tries = []
        for _ in range(TRIES):
            with signal_after(0.05) as when, pytest.raises(KeyboardInterrupt):
                rc.blpop("list", timeout=60)
            tries.append(time.monotonic() - when[0])
        assert min(tries) < AT_ONCE, tries
    assert rc.rpush("list", "x") == 1
    assert rc.blpop("list", timeout=60) == (b"list", b"x")


def test_raising_alarm_handler_ends_blocking_call(rc):
    class AlarmError(Exception):
        pass

    def late(*_: object) -> None:
        raise AlarmError

    with signal_handler(signal.SIGALRM, late):
        tries = []
        for _ in range(TRIES):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            began = time.monotonic()
            with pytest.raises(AlarmError):
                rc.blpop("list", timeout=60)
            tries.append(time.monotonic() - began - 0.05)
        assert min(tries) < AT_ONCE, tries
    assert rc.get("list") is None


def test_signal_handler_that_returns_does_not_end_call(url, rc):
    """Every command runs once, however often its wait is interrupted, also if the handler uses the
    client."""
    seen = []
    in_handler = threading.Lock()

    def handler(*_: object) -> None:
        # On a slow machine the next signal arrives while this one is handled.
        if in_handler.acquire(blocking=False):
            seen.append(rc.get("other"))
            in_handler.release()

    port = control("primary-of", "key:count")[0]
    rc.set("other", "value")
    with (
        RedisCluster.from_url(url, timeout=20, socket_timeout=20) as client,
        signal_handler(signal.SIGALRM, handler),
    ):
        client.set("count", 0)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            for i in range(1, 6):
                control("stop", port)
                thread = threading.Timer(0.05, control, ("cont", port))
                thread.start()
                if i % 2:
                    assert client.incr("count") == i
                else:
                    assert client.pipeline().incr("count").get("other").execute() == [i, b"value"]
                thread.join()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    assert len(seen) > 20 and set(seen) == {b"value"}


def test_signal_handler_runs_during_wait(rc):
    ran, sent = [], []
    with signal_handler(signal.SIGUSR1, lambda *_: ran.append(time.monotonic())):
        for _ in range(TRIES):
            with signal_after(0.05, signal.SIGUSR1) as when:
                assert rc.blpop("list", timeout=0.5) is None
            sent += when
    assert len(ran) == TRIES
    assert min(a - b for a, b in zip(ran, sent)) < AT_ONCE


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_child_forked_by_thread_is_interruptible(rc):
    done = run("""if True:
        import os, signal, threading, time
        from rediscluster import RedisCluster

        def child():
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            began = time.monotonic()
            try:
                rc.blpop("list", timeout=30)
            except KeyboardInterrupt:
                os._exit(0 if time.monotonic() - began < 1 else 2)
            os._exit(3)

        def fork():
            pid = os.fork()
            if pid == 0:
                child()
            status.append(os.waitpid(pid, 0)[1])

        signal.signal(signal.SIGALRM, signal.default_int_handler)
        rc, status = RedisCluster.from_url(os.environ["RDC_URL"]), []
        rc.ping()
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()
        print(status)
    """)
    assert (done.stdout, done.stderr) == ("[0]\n", "")


def test_interpreter_exits_with_threads_in_calls(rc):
    done = run("""if True:
        import os, threading, time
        from rediscluster import RedisCluster
        rc = RedisCluster.from_url(os.environ["RDC_URL"])
        node = rc.explain("GET", "list")["nodes"][0]
        for _ in range(4):
            threading.Thread(target=rc.blpop, args=("list", 0.3), daemon=True).start()
        while rc.info("clients", target_nodes=node)["blocked_clients"] < 4:
            pass
        print("end")
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_client_made_by_thread_is_interruptible_in_main_thread(rc):
    done = run("""if True:
        import os, signal, threading, time
        def work():
            global rc
            from rediscluster import RedisCluster
            rc = RedisCluster.from_url(os.environ["RDC_URL"])
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        began = time.monotonic()
        try:
            rc.blpop("list", timeout=30)
        except KeyboardInterrupt:
            print(time.monotonic() - began < 1)
    """)
    assert (done.stdout, done.stderr) == ("True\n", "")
