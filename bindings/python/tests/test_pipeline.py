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
    assert str(raised.value).startswith("Command # 2 (LPUSH a) of pipeline caused error: WRONGTYPE")
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


@pytest.fixture
def text_and_bytes(text, rc):
    """A client that decodes, with a value that cannot be decoded in the list {t}bad."""
    text.set("{t}good", "ü")
    rc.rpush("{t}bad", b"\xff")
    return text


def test_undecodable_value_keeps_other_responses(text_and_bytes):
    for transaction in (False, True):
        pipe = text_and_bytes.pipeline(transaction=transaction)
        pipe.get("{t}good").lrange("{t}bad", 0, -1).incr("{t}n").dump("{t}good")
        good, bad, number, dumped = pipe.execute(raise_on_error=False)
        assert (good, number) == ("ü", 1 + transaction) and isinstance(dumped, bytes)
        assert isinstance(bad, UnicodeDecodeError) and bad.object == b"\xff"
        with pytest.raises(UnicodeDecodeError):
            pipe.get("{t}good").lrange("{t}bad", 0, -1).execute()
    with text_and_bytes.pipeline() as pipe:
        pipe.watch("{t}n")
        pipe.multi()
        found = pipe.lrange("{t}bad", 0, -1).incr("{t}n").execute(raise_on_error=False)
        assert isinstance(found[0], UnicodeDecodeError) and found[1] == 3


def test_failing_response_callback_keeps_other_responses(rc):
    def fail(_, **__):
        raise ValueError("not this")

    rc.set_response_callback("GET", fail)
    pipe = rc.pipeline().set("a", 1).get("a").incr("a")
    done, failed, number = pipe.execute(raise_on_error=False)
    assert (done, number) == (True, 2) and isinstance(failed, ValueError)
    with pytest.raises(ValueError, match="not this"):
        pipe.get("a").execute()


def test_commands_without_keys_keep_their_places(rc):
    for transaction in (False, True):
        pipe = rc.pipeline(transaction=transaction)
        pipe.mget([]).set("a", 1).delete().mget("a").exists().unlink().touch()
        assert len(pipe) == 7
        assert pipe.execute() == [[], True, 0, [b"1"], 0, 0, 0]
        assert pipe.mget([]).execute() == [[]]
    with rc.pipeline() as pipe:
        pipe.watch("a")
        assert pipe.mget([]) == [] and pipe.mget("a") == [b"1"]
        pipe.multi()
        assert pipe.mget([]).get("a").delete().execute() == [[], b"1", 0]


def test_transaction_without_commands_notices_changed_key(text):
    text.set("n", 1)
    with text.pipeline() as pipe:
        pipe.watch("n")
        pipe.multi()
        assert pipe.execute() == []
        pipe.watch("n")
        text.incr("n")
        with pytest.raises(redis.exceptions.WatchError):
            pipe.execute()
    seen = []

    def read(pipe):
        seen.append(pipe.get("n"))
        if len(seen) == 1:
            text.incr("n")

    text.transaction(read, "n")
    assert seen == ["2", "3"]


class MovingSlot:
    """A key, and its slot, which each call moves to another primary and back. Each test has its
    own: servers may take long to agree on a slot that moves often."""

    def __init__(self, text, key: str) -> None:
        self.key = key
        self.slot = str(text.keyslot(key))
        self.home = control("primary-of", self.slot)[0]
        others = (str(node.port) for node in text.get_primaries())
        self.away = next(port for port in others if port != self.home)

    def is_home(self) -> bool:
        return control("primary-of", self.slot)[0] == self.home

    def __call__(self) -> None:
        control("migrate", self.slot, self.away if self.is_home() else self.home)


@pytest.fixture
def moving(request, text):
    slot = MovingSlot(text, request.node.name)
    yield slot
    if not slot.is_home():
        slot()


def test_watch_follows_moved_slot(text, moving):
    text.set(moving.key, 1)
    moving()
    with text.pipeline() as pipe:
        pipe.watch(moving.key)
        assert pipe.get(moving.key) == "1"
        pipe.multi()
        assert pipe.incr(moving.key).execute() == [2]
    moving()
    read = text.transaction(lambda pipe: pipe.get(moving.key), moving.key, value_from_callable=True)
    assert read == "2"


def test_slot_moved_during_watch_raises_watch_error(text, moving):
    text.set(moving.key, 1)

    def read(pipe):
        moving()
        pipe.get(moving.key)

    def queue(pipe):
        pipe.multi()
        moving()
        pipe.incr(moving.key).execute()

    def execute(pipe):
        pipe.multi()
        pipe.incr(moving.key)
        moving()
        pipe.execute()

    for step in (read, queue, execute):
        with text.pipeline() as pipe:
            pipe.watch(moving.key)
            assert pipe.get(moving.key) == "1"
            with pytest.raises(redis.exceptions.WatchError) as raised:
                step(pipe)
            assert raised.value.sent is False
            # Afterwards it is an ordinary pipeline again.
            pipe.reset()
            assert pipe.get(moving.key).execute() == ["1"]


def test_transaction_is_repeated_when_slot_moves(text, moving):
    text.set(moving.key, 1)
    seen = []

    def double(pipe):
        seen.append(int(pipe.get(moving.key)))
        pipe.multi()
        if len(seen) < 3:
            moving()
        pipe.set(moving.key, seen[-1] * 2)

    assert text.transaction(double, moving.key) == [True]
    assert seen == [1, 1, 1] and text.get(moving.key) == "2"


def test_connection_lost_during_watch_raises_watch_error(rc, text):
    text.set("key", 1)
    seen = []

    def double(pipe):
        value = int(pipe.get("key"))
        if not seen:
            node = rc.get_node_from_key("key")
            for client in rc.client_list(target_nodes=node):
                if client["cmd"] == "get":
                    rc.execute_command("CLIENT KILL", "ID", client["id"], target_nodes=node)
        seen.append(value)
        pipe.multi()
        pipe.set("key", value * 2)

    assert text.transaction(double, "key") == [True]
    assert seen == [1, 1] and text.get("key") == "2"
