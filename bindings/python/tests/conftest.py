"""Every test runs in a cluster of `cluster run`, which RDC_URL names and RDC_CONTROL breaks."""

from __future__ import annotations

import os
import socket

import pytest

from rediscluster import RedisCluster


def control(*words: str) -> list[str]:
    """Lines of the cluster's control socket, as `cluster ctl` prints them."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(os.environ["RDC_CONTROL"])
        stream.sendall(" ".join(words).encode() + b"\n")
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
    """A client of an empty cluster: bytes."""
    with RedisCluster.from_url(url) as client:
        client.flushall()
        yield client


@pytest.fixture
def text(url, rc):
    """The same cluster: strings."""
    with RedisCluster.from_url(url, decode_responses=True) as client:
        yield client


@pytest.fixture
def readonly(url, rc):
    with RedisCluster.from_url(url, decode_responses=True, readonly_mode=True) as client:
        yield client
