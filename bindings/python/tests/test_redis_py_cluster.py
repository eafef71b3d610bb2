"""Compatibility with programs for redis-py-cluster, whose module has the same name."""

from __future__ import annotations

import pytest
from conftest import control

import rediscluster
from rediscluster import RedisCluster, StrictRedisCluster
from rediscluster.exceptions import (
    ClusterDownException,
    DataError,
    RedisClusterError,
    RedisClusterException,
)


@pytest.fixture
def startup_nodes(url):
    pairs = [node.split(":") for node in url.removeprefix("redis://").split(",")]
    return [{"host": host, "port": port} for host, port in pairs]


@pytest.fixture
def old(startup_nodes, rc):
    with RedisCluster(startup_nodes=startup_nodes, decode_responses=True) as client:
        yield client


def test_all_node_commands_return_dict_per_node(old):
    every = {node.name for node in old.get_nodes()}
    primaries = {node.name for node in old.get_primaries()}
    old.set("a", 1)
    assert old.ping() == dict.fromkeys(every, True)
    assert old.echo("x") == dict.fromkeys(every, "x")
    assert {info["redis_mode"] for info in old.info().values()} == {"cluster"}
    assert set(old.info("server")) == set(old.time()) == set(old.cluster_info()) == every
    assert old.config_get("cluster-enabled") == dict.fromkeys(every, {"cluster-enabled": "yes"})
    assert sum(old.dbsize()[name] for name in primaries) == 1
    assert old.flushdb() == old.flushall() == dict.fromkeys(primaries, True)
    assert set(old.execute_command("CLIENT LIST")) == every


def test_merged_commands_return_one_value(old):
    assert old.mset({f"key{i}": i for i in range(50)}) is True
    assert old.mset_nonatomic({"a": 1, "b": 2}) == [True, True]
    assert old.mget("a", "b", "key7") == ["1", "2", "7"]
    assert sorted(old.keys("[ab]")) == ["a", "b"]
    assert old.randomkey() is not None
    digest = old.script_load("return 1")
    assert old.script_exists(digest) == [True] and old.evalsha(digest, 0) == 1
    assert old.script_flush() is True
    assert old.delete("a", "b", *(f"key{i}" for i in range(50))) == 52


def test_scan_returns_cursor_per_primary_and_scan_iter_all_keys(old):
    keys = {f"key{i}" for i in range(200)}
    old.mset(dict.fromkeys(keys, 1))
    found = old.scan(count=10)
    assert set(found) == {node.name for node in old.get_primaries()}
    assert all(isinstance(cursor, int) and set(some) <= keys for cursor, some in found.values())
    assert set(old.scan_iter(count=10)) == set(old.scan_iter("key*")) == keys


def test_target_nodes_return_dict_per_node(old):
    one, other, *_ = old.get_primaries()
    assert old.ping(target_nodes=one) == {one.name: True}
    assert old.dbsize(target_nodes=[one, other]) == {one.name: 0, other.name: 0}


def test_pipeline_returns_list_of_responses(old):
    with old.pipeline() as pipe:
        pipe.set("a", 1)
        pipe.incr("a")
        pipe.get("b")
        assert pipe.execute() == [True, 2, None]
    with pytest.raises(RedisClusterException):
        old.pipeline(shard_hint="x")


def test_pipeline_reads_from_replicas_on_request(old):
    old.set("a", 1)
    control("wait-sync")
    control("reset-stats")
    for _ in range(60):
        assert old.pipeline(read_from_replicas=True).get("a").execute() == ["1"]
    ports = control("replicas-of", "key:a") + control("primary-of", "key:a")
    # The probability that 60 fair choices of two nodes miss one is about 1 in 10^17.
    assert all(int(control("calls", port, "get")[0]) > 0 for port in ports)


def test_other_commands_of_nodes_go_where_redis_py_sends_them(old):
    assert old.client_pause(1) is True and old.client_unpause() is True
    assert old.client_unblock(2**40) == 0
    assert set(old.function_list()) == {node.name for node in old.get_primaries()}
    assert old.latency_latest() == [] and "peak.allocated" in old.memory_stats()


def test_refused_commands_raise_redis_cluster_exception(old):
    for command in ("GET",), ("CLIENT SETNAME", "x"), ("WAIT", 1, 1), ("MOVE", "a"):
        with pytest.raises(RedisClusterException) as raised:
            old.execute_command(*command)
        assert (raised.value.code, raised.value.sent) == ("INVALID", False)


def test_geoadd_accepts_flat_arguments(old):
    assert old.geoadd("g", 13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania") == 2
    assert old.geoadd("g", (13.5, 38.5, "Palermo"), ch=True) == 1
    assert old.geoadd("g", [13.5, 38.5, "Palermo"], True) == 0  # nx
    assert old.pipeline().geoadd("g", 1.0, 2.0, "x").execute() == [1]
    with pytest.raises(DataError, match="lon, lat and name"):
        old.geoadd("g", 13.361389, 38.115556)


def test_emulated_commands_of_several_slots_are_refused(old):
    old.sadd("a", 1)
    for call in (
        lambda: old.rename("a", "b"),
        lambda: old.renamenx("a", "b"),
        lambda: old.msetnx({"a": 1, "b": 2}),
        lambda: old.rpoplpush("a", "b"),
        lambda: old.brpoplpush("a", "b", 1),
        lambda: old.smove("a", "b", 1),
        lambda: old.sdiff("a", "b"),
        lambda: old.sdiffstore("{a}x", "a", "b"),
        lambda: old.sinter("a", "b"),
        lambda: old.sinterstore("{a}x", "a", "b"),
        lambda: old.sunion("a", "b"),
        lambda: old.sunionstore("{a}x", "a", "b"),
        lambda: old.pfmerge("{a}x", "b"),
    ):
        with pytest.raises(RedisClusterException) as raised:
            call()
        assert (raised.value.code, raised.value.sent) == ("CROSSSLOT", False)
    assert old.rename("a", "{a}b") is True and old.sunion("{a}b", "{a}c") == {"1"}


def test_result_callback_converts_responses_of_nodes(old):
    old.set_result_callback("DBSIZE", lambda _, responses: sum(responses.values()))
    old.set("a", 1)
    assert old.dbsize() == 2  # a primary and its replica


def test_per_node_mode_is_selected_by_arguments(url, startup_nodes):
    def per_node(client: RedisCluster) -> bool:
        with client:
            return isinstance(client.ping(), dict)

    first = startup_nodes[0]
    assert per_node(StrictRedisCluster(**first))
    assert per_node(StrictRedisCluster.from_url(url))
    for name in ("skip_full_coverage_check", "readonly_mode", "max_connections_per_node"):
        assert per_node(RedisCluster(**first, **{name: True}))
    assert per_node(RedisCluster(**first, host_port_remap=[]))
    assert per_node(RedisCluster(**first, per_node=True))
    assert not per_node(RedisCluster(**first))
    assert not per_node(RedisCluster(startup_nodes=startup_nodes, per_node=False))


def test_redis_py_cluster_arguments_are_accepted(startup_nodes):
    # Redis 7 has clusters with one database only. Valkey 9 has them with several.
    with pytest.raises(DataError, match="option database"):
        RedisCluster(startup_nodes=startup_nodes, db=1)
    with RedisCluster(startup_nodes=startup_nodes, db=0) as rc:
        assert rc.get("absent") is None
    with RedisCluster(startup_nodes=startup_nodes, host=None, port=None, max_connections=32) as rc:
        assert rc.get("absent") is None
    with pytest.raises(RedisClusterException, match="127.0.0.1:7000"):
        RedisCluster("127.0.0.1", None, address_map="127.0.0.1:7000=127.0.0.1:1")
    first = startup_nodes[0]
    remap = [
        {"from_host": "127.0.0.1", "to_host": "localhost"},
        {"from_host": "10.1.1.1", "from_port": 1, "to_host": "127.0.0.1", "to_port": first["port"]},
    ]
    nodes = [{"host": "10.1.1.1", "port": 1}]
    with RedisCluster(startup_nodes=nodes, host_port_remap=remap, socket_keepalive=False) as rc:
        assert rc.get("absent") is None


def test_redis_py_cluster_names_exist():
    assert rediscluster.VERSION >= (0, 1, 0)
    for name in (
        "AskError ClusterCrossSlotError ClusterDownError ClusterDownException ClusterError "
        "MasterDownError MovedError RedisClusterError RedisClusterException "
        "SlotNotCoveredError TryAgainError"
    ).split():
        assert name in rediscluster.__all__ and hasattr(rediscluster.exceptions, name)
    with pytest.raises(RedisClusterError):
        RedisCluster(startup_nodes=[{"host": "127.0.0.1", "port": 1}])
    assert issubclass(rediscluster.ClusterDownError, ClusterDownException)
