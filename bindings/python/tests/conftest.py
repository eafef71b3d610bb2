"""Fixtures. `cluster run` sets RDC_URL to the cluster and RDC_CONTROL to its control socket."""

from __future__ import annotations

import os
import socket

import pytest

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


@pytest.fixture
def rc(url):
    """A client of an empty cluster that returns bytes."""
    with RedisCluster.from_url(url) as client:
        client.flushall()
        yield client


@pytest.fixture
def text(url, rc):
    """A client of the same cluster that returns strings."""
    with RedisCluster.from_url(url, decode_responses=True) as client:
        yield client


@pytest.fixture
def readonly(url, rc):
    with RedisCluster.from_url(url, decode_responses=True, readonly_mode=True) as client:
        yield client
