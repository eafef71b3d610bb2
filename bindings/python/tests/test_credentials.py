"""Credentials that change, and the example for tokens that expire."""

from __future__ import annotations

import pathlib
import sys
import threading

import pytest

from rediscluster import InvalidError, RedisCluster

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "examples"))
import expiring_token


@pytest.fixture
def user(rc):
    name = "py-user"
    rc.execute_command("ACL", "SETUSER", name, "reset", "on", ">one", ">two", "~*", "&*", "+@all")
    yield name
    rc.execute_command("ACL", "DELUSER", name)


def test_open_connections_use_new_credentials(url, user):
    with RedisCluster.from_url(url, decode_responses=True) as rc:
        rc.set("k", "v")
        rc.set_credentials(user, "one")
        assert rc.get("k") == "v"
        rc.set_credentials(user, "wrong")
        assert rc.set("k", "w"), "the open connection keeps its user"
        for username, password in [(user, None), ("a\nb", "p"), (None, "a\0b"), ("u", "p" * 70000)]:
            with pytest.raises(InvalidError):
                rc.set_credentials(username, password)
        rc.set_credentials(None, None)
    with pytest.raises(InvalidError, match="closed"):
        rc.set_credentials(user, "one")


def test_example_renews_expiring_token(url, user):
    made, stop = threading.Semaphore(0), threading.Event()
    tokens = iter(["one", "two", "one", "two"])

    def make_token():
        made.release()
        return next(tokens, "one"), 0.05

    with expiring_token.connect(url, user, make_token, stop) as rc:
        for n in range(200):
            assert rc.set(f"token:{n}", "v")
        for _ in range(4):
            assert made.acquire(timeout=10)
        assert rc.get("token:1") == b"v"
        stop.set()
