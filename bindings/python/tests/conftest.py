"""Fixtures. `cluster run` sets RDC_URL to the cluster and RDC_CONTROL to its control socket."""

from __future__ import annotations

import inspect
import os
import socket

import pytest
from blocking import LoopThread
from loops import run_in

from rediscluster import RedisCluster


def control(*args: str) -> list[str]:
    """Runs a command of the control socket and returns the lines that `cluster ctl` would print."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(os.environ["RDC_CONTROL"])
        stream.sendall(" ".join(args).encode() + b"\n")
        lines = []
        for line in stream.makefile():
            line = line.rstrip("\n")
            if line == "ok":
                return lines
            if line.startswith("error "):
                raise RuntimeError(line)
            lines.append(line)
    raise RuntimeError("the control socket closed")


@pytest.fixture(scope="session")
def url() -> str:
    return os.environ["RDC_URL"]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs a test that is a coroutine function, in the event loop of the fixture new_loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    test = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    run_in(pyfuncitem.funcargs["new_loop"](), test)
    return True


# The modules whose tests run with both clients.
BOTH_CLIENTS = ("test_client", "test_pipeline", "test_pubsub")


def pytest_generate_tests(metafunc):
    if metafunc.module.__name__ in BOTH_CLIENTS and "connect" in metafunc.fixturenames:
        metafunc.parametrize("kind", ("blocking", "asyncio"))


@pytest.fixture
def kind() -> str:
    return "blocking"


@pytest.fixture
def connect(kind):
    """Makes clients of this kind, with the interface of the synchronous one."""
    if kind == "blocking":
        yield RedisCluster.from_url
    else:
        with LoopThread() as loop:
            yield loop.client


@pytest.fixture
def rc(url, connect):
    """A client of an empty cluster that returns bytes."""
    with connect(url) as client:
        client.flushall()
        yield client


@pytest.fixture
def text(url, rc, connect):
    """A client of the same cluster that returns strings."""
    with connect(url, decode_responses=True) as client:
        yield client


@pytest.fixture
def readonly(url, rc, connect):
    with connect(url, decode_responses=True, readonly_mode=True) as client:
        yield client
