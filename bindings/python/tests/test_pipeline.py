"""Pipelines, transactions and watched keys."""

from __future__ import annotations

import pytest
import redis
from conftest import control


def test_1000_commands_keep_order(rc):
    with rc.pipeline() as pipe:
        for i in range(1000):
            pipe.set(f"key{i}", i)
        assert len(pipe) == 1000
        assert pipe.execute() == [True] * 1000
        assert len(pipe) == 0
        for i in range(1000):
            pipe.get(f"key{i}")
        assert pipe.execute() == [b"%d" % i for i in range(1000)]


def test_pipeline_responses_are_converted(text):
    pipe = text.pipeline()
    pipe.set("{t}a", 1).get("{t}a").incr("{t}a").get("{t}none")
    pipe.hset("{t}h", mapping={"f": 1}).hgetall("{t}h").zadd("{t}z", {"m": 2})
    pipe.zrange("{t}z", 0, -1, withscores=True).execute_command("CONFIG GET", "maxmemory")
    assert pipe.execute() == [
        True, "1", 2, None, 1, {"f": "1"}, 1, [("m", 2.0)], {"maxmemory": "0"},
    ]  # fmt: skip
    dumped, value = text.pipeline().dump("{t}a").get("{t}a").execute()
    assert isinstance(dumped, bytes) and value == "2"


def test_empty_pipeline_returns_empty_list(rc):
    assert rc.pipeline().execute() == []
    assert bool(rc.pipeline()) is True


def test_first_error_is_raised_and_other_commands_run(rc):
    pipe = rc.pipeline().set("a", "x").lpush("a", 1).set("b", "y")
    with pytest.raises(redis.exceptions.ResponseError) as raised:
        pipe.execute()
    assert str(raised.value).startswith("Command # 2 (LPUSH a) of pipeline: WRONGTYPE")
    assert rc.get("b") == b"y"
    found = pipe.lpush("a", 1).get("b").execute(raise_on_error=False)
    assert isinstance(found[0], redis.exceptions.ResponseError) and found[0].sent is True
    assert found[1] == b"y"


def test_wrong_argument_type_is_refused_when_appended(rc):
    pipe = rc.pipeline().set("a", 1)
    with pytest.raises(redis.exceptions.DataError):
        pipe.set("b", None)
    assert pipe.execute() == [True]


def test_pipeline_exit_drops_unexecuted_commands(rc):
    with rc.pipeline() as pipe:
        pipe.set("a", 1)
    assert len(pipe) == 0 and rc.get("a") is None


def test_readonly_pipeline_with_write_sends_nothing(rc, readonly):
    rc.set("foo", "bar")
    control("wait-sync")
    with readonly.pipeline() as pipe:
        assert pipe.get("foo").get("foo").execute() == ["bar", "bar"]
        with pytest.raises(redis.exceptions.ReadOnlyError, match="# 1 .GET foo.") as raised:
            pipe.get("foo").set("foo", "no").execute()
        assert raised.value.sent is False
        found = pipe.get("foo").set("foo", "no").execute(raise_on_error=False)
        assert all(isinstance(each, redis.exceptions.ReadOnlyError) for each in found)
    assert rc.get("foo") == b"bar"


def test_transaction_requires_one_slot(text):
    with text.pipeline(transaction=True) as pipe:
        assert pipe.set("{t}a", 1).incr("{t}a").mget("{t}a", "{t}b").execute() == [
            True,
            2,
            ["2", None],
        ]
        with pytest.raises(redis.exceptions.ClusterCrossSlotError):
            pipe.set("a", 1).set("b", 2).execute()
        with pytest.raises(redis.exceptions.ResponseError):
            pipe.set("{t}a", "x").incr("{t}a").execute()


def test_changed_watched_key_aborts_transaction(text):
    text.set("{t}n", 1)
    with text.pipeline() as pipe:
        pipe.watch("{t}n")
        assert pipe.get("{t}n") == "1"
        text.set("{t}n", 5)
        pipe.multi()
        pipe.set("{t}n", 2)
        with pytest.raises(redis.exceptions.WatchError):
            pipe.execute()
        assert text.get("{t}n") == "5"
        pipe.watch("{t}n")
        pipe.multi()
        assert pipe.incr("{t}n").dump("{t}n").get("{t}n").execute()[::2] == [6, "6"]
        # Afterwards it is an ordinary pipeline again.
        assert pipe.get("{t}n").get("other").execute() == ["6", None]


def test_error_under_watch_leaves_pipeline_working(text):
    with text.pipeline() as pipe:
        pipe.watch("key")
        pipe.multi()
        with pytest.raises(redis.exceptions.ResponseError):
            pipe.execute_command("SETEX", "key", "x", "y").get("key").execute()
        assert pipe.get("key").execute() == [None]
        with pytest.raises(redis.exceptions.RedisError):
            pipe.get("key").watch("key")


def test_transaction_is_retried_after_watch_error(text):
    text.set("n", 1)
    seen = []

    def double(pipe):
        value = int(pipe.get("n"))
        if not seen:
            text.set("n", 10)
        seen.append(value)
        pipe.multi()
        pipe.set("n", value * 2)

    assert text.transaction(double, "n") == [True]
    assert seen == [1, 10] and text.get("n") == "20"


def test_pipeline_refuses_target_nodes(rc):
    with pytest.raises(redis.exceptions.RedisError, match="target_nodes"):
        rc.pipeline().ping(target_nodes="all")
    found = rc.pipeline().info("server").dbsize().execute()
    assert all(each["redis_mode"] == "cluster" for each in found[0].values()) and found[1] == 0
