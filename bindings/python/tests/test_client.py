"""Commands, their results, and errors."""

from __future__ import annotations

import ast
import inspect
import math
import os
import socket
import sys
from pathlib import Path

import pytest
import redis
import redis.asyncio
from conftest import control

import rediscluster
import rediscluster.asyncio
from rediscluster import ClusterNode, ClusterPipeline, RedisCluster, StrictRedisCluster

BINARY = bytes(range(256))


def nodes(url: str) -> list[str]:
    return url.removeprefix("redis://").split(",")


def test_constructor_accepts_every_form_of_nodes(url):
    host, port = nodes(url)[0].split(":")
    for client in (
        RedisCluster(host, port),
        RedisCluster(host=host, port=int(port)),
        RedisCluster(startup_nodes=[{"host": host, "port": port}]),
        RedisCluster(startup_nodes=[ClusterNode(host, int(port))]),
        RedisCluster(startup_nodes=["127.0.0.1:1", f"{host}:{port}"]),
        RedisCluster(url=url),
        RedisCluster.from_url(url),
        StrictRedisCluster(startup_nodes=[{"host": host, "port": int(port)}]),
    ):
        with client as rc:
            # One value, or a dict per node for the arguments of redis-py-cluster.
            assert rc.ping() in (True, dict.fromkeys((node.name for node in rc.get_nodes()), True))
            assert rc.get("absent") is None


def test_lazy_client_connects_in_its_first_call(url):
    with RedisCluster("127.0.0.1", 1, lazy=True, timeout=0.3) as nowhere:
        assert nowhere.stats()["connected"] == 0
        with pytest.raises(redis.exceptions.ConnectionError):
            nowhere.get("key")
        with pytest.raises(redis.exceptions.ConnectionError):
            nowhere.get_nodes()
    for first in (
        lambda rc: rc.set("lazy", 1),
        lambda rc: rc.get_random_node(),
        lambda rc: rc.get_node_from_key("lazy"),
        lambda rc: rc.get_nodes_from_slot("GET", "GET", "lazy")[0],
        lambda rc: rc.pipeline().get("lazy").execute() == [b"1"],
    ):
        with RedisCluster.from_url(url, lazy=True) as rc:
            assert rc.topology() == []
            assert first(rc)
            assert rc.stats()["connected"] == 1


def test_constructor_without_node_raises():
    with pytest.raises(redis.exceptions.RedisClusterException, match="startup_nodes"):
        RedisCluster()


def test_unreachable_cluster_raises_redis_py_classes_with_code():
    with pytest.raises(redis.exceptions.RedisClusterException) as raised:
        RedisCluster("127.0.0.1", 1, timeout=0.3)
    assert isinstance(raised.value, redis.exceptions.ConnectionError)
    assert raised.value.code == "CONNECT"
    assert raised.value.sent is False
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(redis.exceptions.RedisClusterException) as raised:
            RedisCluster("127.0.0.1", silent.getsockname()[1], timeout=0.1)
    assert isinstance(raised.value, redis.exceptions.TimeoutError)
    assert (raised.value.code, raised.value.sent) == ("TIMEOUT", False)


def test_unknown_option_error_names_option(url):
    with pytest.raises(redis.exceptions.DataError, match="timeuot"):
        RedisCluster.from_url(url, timeuot=3)


def test_redis_py_arguments_with_the_meaning_of_the_library_are_accepted(url):
    with RedisCluster.from_url(
        url, skip_full_coverage_check=True, retry_on_timeout=True, max_connections=4
    ) as rc:
        assert rc.ping()


def test_encoding_is_that_of_keys_and_values_and_not_of_names(url, rc):
    with RedisCluster.from_url(url, encoding="utf-16-le") as wide:
        assert wide.set("key", "é") is True and wide.get("key") == "é".encode("utf-16-le")
        assert wide.execute_command("OBJECT ENCODING", "key") == b"embstr"
        assert wide.pipeline().append("key", "x").strlen("key").execute() == [4, 4]
        assert wide.execute_command("PING", target_nodes="random") is True
    assert rc.get("key") is None and rc.get("key".encode("utf-16-le")) == "éx".encode("utf-16-le")


def test_decode_responses_and_encoding(rc, text):
    assert rc.set("key", "välue") is True
    assert rc.get("key") == "välue".encode()
    assert text.get("key") == "välue"
    assert rc.get("absent") is None
    latin = RedisCluster.from_url(os.environ["RDC_URL"], encoding="latin-1", decode_responses=True)
    assert latin.set("latin", "ü") and latin.get("latin") == "ü"
    assert rc.get("latin") == b"\xfc"


def test_keys_and_values_are_binary_safe(rc):
    assert rc.set(BINARY, BINARY)
    assert rc.get(BINARY) == BINARY
    assert rc.exists(BINARY) == 1
    assert rc.set(b"", b"") and rc.get(b"") == b""
    assert rc.set(bytearray(b"a\0b"), memoryview(b"\r\n")) and rc.get(b"a\0b") == b"\r\n"
    large = BINARY * 8192
    assert rc.set("large", large) and rc.get("large") == large


def test_wrong_argument_types_are_refused(rc):
    assert rc.set("n", 7) and rc.get("n") == b"7"
    assert rc.set("n", 0.1) and rc.get("n") == b"0.1"
    for wrong in (None, True, [], {}):
        with pytest.raises(redis.exceptions.DataError, match="Invalid input of type"):
            rc.set("n", wrong)


def test_response_types_match_redis_py(text):
    assert text.hset("h", mapping={"a": 1, "b": 2}) == 2
    assert text.hgetall("h") == {"a": "1", "b": "2"}
    assert text.sadd("s", "x") == 1 and text.smembers("s") == {"x"}
    assert text.zadd("z", {"m": 1.5}) == 1
    assert text.zrange("z", 0, -1, withscores=True) == [("m", 1.5)]
    assert text.zscore("z", "m") == 1.5
    assert text.rpush("l", *"abc") == 3 and text.lrange("l", 0, -1) == ["a", "b", "c"]
    assert text.expire("l", 100) is True and 0 < text.ttl("l") <= 100
    assert text.set("once", 1, nx=True, ex=100) is True
    assert text.set("once", 2, nx=True) is None
    assert isinstance(text.time(), tuple)
    assert text.info()["redis_mode"] == "cluster"
    assert text.xread({"stream": 0}) in ([], {})
    assert text.type("h") == "hash"
    assert text.incrbyfloat("f", 1.5) == 1.5


def test_dump_is_bytes_with_decode_responses(text):
    text.set("key", "value")
    dumped = text.dump("key")
    assert isinstance(dumped, bytes)
    assert text.restore("copy", 0, dumped) and text.get("copy") == "value"


def test_commands_of_any_length_and_name_are_encoded(rc):
    for count in (1, 2, 3, 14, 15, 16, 17, 18, 100):
        values = [b"%d%%\r\n" % i for i in range(count)]
        assert rc.delete("l") in (0, 1)
        assert rc.execute_command("RPUSH", "l", *values) == count
        assert rc.lrange("l", 0, -1) == values
    for name in ("NO%SUCH", "%d%b", "NO SUCH %"):
        with pytest.raises(redis.exceptions.ResponseError, match="unknown command"):
            rc.execute_command(name, "l", "x%d")


def test_nodes_are_found_by_name_and_key(rc):
    first = rc.get_primaries()[0]
    assert rc.get_node(first.host, first.port).name == first.name
    assert rc.get_node(node_name=first.name).server_type == "primary"
    assert rc.get_node("127.0.0.1", 1) is None
    assert rc.get_random_node().name in {node.name for node in rc.get_nodes()}
    assert rc.get_default_node().name == first.name
    port = int(control("primary-of", "key:foo")[0])
    assert rc.get_node_from_key("foo").port == port
    replica = rc.get_node_from_key(b"{foo}bar", replica=True)
    assert [str(replica.port)] == control("replicas-of", "key:foo")
    assert rc.ping(target_nodes=replica) is True


def test_multi_slot_commands_are_split_except_mset(rc):
    assert rc.mset_nonatomic({f"key{i}": i for i in range(50)}) == [True] * 50
    keys = [f"key{i}" for i in range(50)]
    assert rc.mget(keys) == [b"%d" % i for i in range(50)]
    assert rc.mget_nonatomic(keys) == rc.mget(*keys)
    assert rc.exists(*keys) == 50
    assert rc.dbsize() == 50
    assert sorted(rc.keys()) == sorted(k.encode() for k in keys)
    assert rc.unlink(*keys[:20]) == 20 and rc.delete(*keys) == 30
    with pytest.raises(redis.exceptions.ClusterCrossSlotError) as raised:
        rc.mset({"a": 1, "b": 2})
    assert raised.value.code == "CROSSSLOT" and raised.value.sent is False
    assert isinstance(raised.value, redis.exceptions.RedisClusterException)


def test_commands_without_keys_return_empty_response(rc):
    assert rc.mget([]) == rc.mget_nonatomic([]) == rc.mset_nonatomic({}) == []
    assert rc.delete() == rc.exists() == rc.touch() == rc.unlink() == 0


def test_slowlog_is_converted(rc, text):
    node = text.get_node_from_key("foo")
    text.config_set("slowlog-log-slower-than", 0, target_nodes=node)
    rc.set("foo", b"\xff")
    text.config_set("slowlog-log-slower-than", 10000, target_nodes=node)
    for client in (rc, text):
        found = client.slowlog_get(10, target_nodes=node)
        assert b"SET foo \xff" in [entry["command"] for entry in found]


def test_scan_iter_finds_every_key(rc):
    keys = {b"key%d" % i for i in range(500)}
    rc.mset_nonatomic(dict.fromkeys(keys, "x"))
    rc.set("other", 1)
    assert set(rc.scan_iter(count=7)) == keys | {b"other"}
    assert set(rc.scan_iter("key*")) == keys
    assert rc.scan_iter("nothing*") is not None and list(rc.scan_iter("nothing*")) == []
    one = rc.get_primaries()[0]
    assert set(rc.scan_iter(target_nodes=one)) < keys | {b"other"}
    cursors, _ = rc.scan(count=1)
    assert set(cursors) == {node.name for node in rc.get_primaries()}
    rc.hset("hash", mapping={f"f{i}": i for i in range(300)})
    assert len(dict(rc.hscan_iter("hash"))) == 300


def test_scan_iter_finds_key_of_migrating_slot(rc):
    keys = {b"{k%d}" % i for i in range(300)}
    rc.mset_nonatomic(dict.fromkeys(keys, "x"))
    first, last = (node.port for node in (rc.get_primaries()[0], rc.get_primaries()[-1]))
    key = next(k for k in sorted(keys) if control("primary-of", f"key:{k.decode()}") == [str(last)])
    slot = rc.keyslot(key)
    found = rc.scan_iter(count=10)
    some = {next(found) for _ in range(20)}
    control("migrate", str(slot), str(first))
    try:
        assert some | set(found) == keys
    finally:
        control("migrate", str(slot), str(last))


def test_default_node_is_chosen_and_replaced(text, kind):
    first, second, third = text.get_primaries()
    assert text.get_default_node() == first
    assert text.set_default_node(third) is True
    assert text.get_default_node() == third
    assert text.info("server")["tcp_port"] == third.port
    assert text.info("server", target_nodes=text.DEFAULT_NODE)["tcp_port"] == third.port
    assert text.cluster_myid(third) == text.execute_command(
        "CLUSTER MYID", target_nodes=text.DEFAULT_NODE
    )
    for absent in (ClusterNode("127.0.0.1", 1), None):
        if kind == "blocking":
            assert text.set_default_node(absent) is False
        else:  # as in redis.asyncio
            with pytest.raises(redis.exceptions.DataError):
                text.set_default_node(absent)
    text.replace_default_node()
    assert text.get_default_node() in (first, second)
    text.replace_default_node(third)
    assert text.get_default_node() == third
    with RedisCluster("127.0.0.1", third.port) as other:
        assert other.get_default_node() == first


def test_slot_and_nodes_of_command_are_found(text):
    assert text.determine_slot("GET", "foo") == text.keyslot("foo")
    assert text.determine_slot("EVAL", "return 1", 2, "{foo}1", "{foo}2") == text.keyslot("foo")
    assert text.determine_slot("PING") is None
    with pytest.raises(redis.exceptions.RedisClusterException):
        text.determine_slot("MGET", "foo", "bar")
    assert text.get_nodes_from_slot("GET", "GET", "foo") == [text.get_node_from_key("foo")]
    assert text.get_random_primary_node() in text.get_primaries()


def test_empty_response_is_that_of_a_command_without_arguments(rc):
    from redis.client import EMPTY_RESPONSE

    assert rc.execute_command("EXISTS", "a", **{EMPTY_RESPONSE: []}) == 0
    assert rc.mget([]) == []


def test_commands_about_one_node_go_where_redis_py_sends_them(rc):
    try:
        assert rc.bgsave() is True
    except redis.exceptions.ResponseError as error:
        assert "already in progress" in str(error)  # started by an earlier test
    assert rc.function_list() == {node.name: [] for node in rc.get_primaries()}
    assert rc.client_pause(1) is True and rc.client_unpause() is True
    slot, owner = rc.keyslot("foo"), rc.get_node_from_key("foo")
    other = next(node for node in rc.get_primaries() if node != owner)

    def nodes():
        return rc.execute_command("CLUSTER NODES", target_nodes=owner)

    known = nodes()
    assert rc.cluster_setslot(owner, known[other.name]["node_id"], slot, "MIGRATING") is True
    assert nodes()[owner.name]["migrations"] != []
    # Nobody else knows of the migration.
    assert rc.cluster_setslot_stable(slot) is True
    assert nodes()[owner.name]["migrations"] == []


def test_asyncio_client_has_every_method_of_synchronous_one():
    names = (name for name in dir(RedisCluster) if not name.startswith("_"))
    public = {name for name in names if callable(getattr(RedisCluster, name))}
    # Tasks are cancelled instead.
    assert public - set(dir(rediscluster.asyncio.RedisCluster)) == {"interrupt"}
    public = {name for name in dir(ClusterPipeline) if not name.startswith("_")}
    assert public <= set(dir(rediscluster.asyncio.ClusterPipeline))


@pytest.mark.parametrize(
    ("client", "pipeline"),
    [
        (RedisCluster, ClusterPipeline),
        (rediscluster.asyncio.RedisCluster, rediscluster.asyncio.ClusterPipeline),
    ],
)
def test_inherited_methods_use_existing_attributes(client, pipeline):
    """Some command methods of redis-py use other attributes of its client than commands."""
    # Methods that change a shared connection, which README.md lists as not supported.
    unusable = {"readonly", "readwrite"}
    inherited = [base for base in client.__mro__ if base.__module__.startswith("redis.")]
    classes = {
        (name, node.name): node
        for name in {base.__module__ for base in inherited}
        for node in ast.parse(inspect.getsource(sys.modules[name])).body
        if isinstance(node, ast.ClassDef)
    }
    users = {user: {*dir(user), "response_callbacks"} for user in (client, pipeline)}
    for base in inherited:
        for method in classes[base.__module__, base.__name__].body:
            functions = (ast.FunctionDef, ast.AsyncFunctionDef)
            if not isinstance(method, functions) or method.name in unusable:
                continue
            used = {
                node.attr
                for node in ast.walk(method)
                if isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "self"
            }
            for user, known in users.items():
                if getattr(user, method.name, None) is getattr(base, method.name):
                    assert used <= known, f"{base.__name__}.{method.name}"


def test_target_nodes_selects_nodes(text):
    primaries = text.get_primaries()
    assert len(primaries) == 3 and len(text.get_replicas()) == 3 and len(text.get_nodes()) == 6
    names = {node.name for node in primaries}
    ids = text.cluster_myid(primaries[0])
    assert isinstance(ids, str) and len(ids) == 40
    assert text.ping(target_nodes=text.ALL_NODES) is True
    assert text.ping(target_nodes=primaries[0]) is True
    for wrong in (5, [5], {"node": 5}, object()):
        with pytest.raises(TypeError, match="target_nodes contains .*pass 'primaries'"):
            text.ping(target_nodes=wrong)
    times = text.execute_command("TIME", target_nodes=text.PRIMARIES)
    assert set(times) == names and all(isinstance(t, tuple) for t in times.values())
    assert set(text.execute_command("TIME", target_nodes=primaries)) == names
    assert set(text.info("server", target_nodes=text.PRIMARIES)) == names
    assert text.info("server", target_nodes=primaries[1].name)["tcp_port"] == primaries[1].port
    assert text.cluster_info(target_nodes=text.RANDOM)["cluster_state"] == "ok"
    assert len(text.cluster_nodes()) == 6 and len(text.cluster_slots()) == 3
    with pytest.raises(redis.exceptions.DataError, match="selects no node"):
        text.ping(target_nodes="nowhere")


def test_scripts_are_loaded_and_run(text):
    both = text.register_script("return {KEYS[1], ARGV[1]}")
    text.script_flush()
    assert both(keys=["key"], args=[5]) == ["key", "5"]
    assert text.eval("return redis.call('SET', KEYS[1], ARGV[1])", 1, "key", "value")
    assert text.get("key") == "value"


def test_lock_is_exclusive(text):
    with text.lock("lock", timeout=10):
        assert text.lock("lock", blocking=False).acquire() is False
    assert text.lock("lock", timeout=10).acquire() is True


def test_server_errors_have_code_sent_and_node(rc):
    rc.set("string", "x")
    with pytest.raises(redis.exceptions.ResponseError, match="^WRONGTYPE") as raised:
        rc.lpush("string", 1)
    error = raised.value
    assert (error.code, error.sent) == ("SERVER", True)
    port = control("primary-of", "key:string")[0]
    assert error.node == f"127.0.0.1:{port}"
    with pytest.raises(redis.exceptions.ResponseError, match="unknown command"):
        rc.execute_command("NOSUCH", "x")
    with pytest.raises(redis.exceptions.NoScriptError):
        rc.evalsha("0" * 40, 0)
    # redis-py raises ResponseError, because the server refuses it there.
    for call in (lambda: rc.execute_command("GET"), lambda: rc.sadd("s"), lambda: rc.mset({})):
        with pytest.raises(redis.exceptions.ResponseError, match="^INVALID") as raised:
            call()
        assert isinstance(raised.value, redis.exceptions.DataError)
        assert (raised.value.code, raised.value.sent) == ("INVALID", False)


def test_error_inside_reply_is_returned_at_its_index(rc):
    found = rc.eval("return {1, redis.error_reply('MY error'), 'x'}", 1, "key")
    assert found[0] == 1 and found[2] == b"x"
    assert isinstance(found[1], redis.exceptions.ResponseError) and "MY error" in str(found[1])


def test_readonly_client_reads_and_refuses_writes(rc, readonly):
    rc.set("foo", "bar")
    control("wait-sync")
    for _ in range(20):
        assert readonly.get("foo") == "bar"
    for write in (
        lambda: readonly.set("foo", "no"),
        lambda: readonly.execute_command("set", "foo", "no"),
        lambda: readonly.delete("foo"),
        lambda: readonly.eval("return 1", 0),
        lambda: readonly.publish("channel", "no"),
        lambda: readonly.execute_command("NOSUCH", "foo"),
        lambda: readonly.flushall(),
    ):
        with pytest.raises(redis.exceptions.ReadOnlyError, match="^READONLY") as raised:
            write()
        assert (raised.value.code, raised.value.sent) == ("READONLY", False)
    assert rc.get("foo") == b"bar"


def test_readonly_reads_reach_primary_and_replicas(rc, readonly):
    rc.set("foo", "bar")
    control("wait-sync")
    control("reset-stats")
    for _ in range(60):
        readonly.get("foo")
    ports = control("replicas-of", "key:foo") + control("primary-of", "key:foo")
    # The probability that 60 fair choices of two nodes miss one is about 1 in 10^17.
    assert all(int(control("calls", port, "get")[0]) > 0 for port in ports)


def test_derived_client_has_own_options_on_same_cluster(rc):
    derived = rc.with_options(readonly=True, timeout_ms=700)
    with pytest.raises(redis.exceptions.ReadOnlyError):
        derived.set("a", 1)
    assert rc.set("a", 1)
    derived.close()
    assert rc.get("a") == b"1"
    with pytest.raises(redis.exceptions.DataError):
        rc.with_options(readonly="perhaps")
    with pytest.raises(TypeError):
        rc.with_options()


def test_repr_names_primaries_or_state(rc, connect, url):
    primaries = ", ".join(node.name for node in rc.get_primaries())
    assert repr(rc).endswith(f".client.RedisCluster({primaries})>")
    with connect(url) as other:
        pass
    assert repr(other).endswith(".client.RedisCluster(closed)>")


def test_closed_client_raises_closed_error(url):
    with RedisCluster.from_url(url) as rc:
        pipe = rc.pipeline().get("a")
    for call in (lambda: rc.get("a"), pipe.execute, lambda: rc.with_options(readonly=True)):
        with pytest.raises(redis.exceptions.ConnectionError) as raised:
            call()
        assert raised.value.code == "CLOSED"
    rc.close()


def test_introspection_returns_topology_stats_and_route(text):
    assert text.keyslot("foo") == 12182 == text.keyslot(b"{foo}bar")
    explained = text.explain("GET", "foo")
    assert explained["access"] == "read" and explained["slots"] == [12182]
    assert {shard["primary"]["address"] for shard in text.topology()} == {
        node.name for node in text.get_primaries()
    }
    before = text.stats()["commands"]
    text.get("foo")
    assert text.stats()["commands"] > before
    assert text.refresh() is None
    assert text.get_primaries()[0].name in repr(text)


def test_auth_error_hides_password(url):
    with pytest.raises(redis.exceptions.RedisError) as raised:
        RedisCluster(url=url, username="nobody", password="s3cret")
    assert isinstance(raised.value, redis.exceptions.AuthenticationError)
    assert "s3cret" not in str(raised.value)


def test_custom_response_callback_is_used(rc):
    rc.set("key", "value")
    rc.set_response_callback("GET", lambda response, **_: response.upper())
    assert rc.get("key") == b"VALUE"
    assert rc.pipeline().get("key").execute() == [b"VALUE"]


@pytest.mark.skipif(redis.__version__ < "5", reason="redis-py 4 speaks RESP2 alone")
def test_resp3_responses_are_converted(url, rc):
    with RedisCluster.from_url(url, protocol=3, decode_responses=True) as rc3:
        rc3.hset("h", mapping={"a": 1})
        rc3.sadd("s", "x")
        rc3.zadd("z", {"m": 1.5})
        assert rc3.hgetall("h") == {"a": "1"}
        assert rc3.smembers("s") == {"x"}
        assert rc3.zscore("z", "m") == 1.5
        assert rc3.eval("redis.setresp(3); return {double=1.5}", 0) == 1.5
        assert rc3.eval("redis.setresp(3); return true", 0) is True
        # Python has no set of dicts, and no dict by lists.
        assert rc3.eval("redis.setresp(3); return {set={[{map={a=1}}]=true}}", 0) == [{"a": 1}]
        assert rc3.eval("redis.setresp(3); return {map={[{1, 2}]=3}}", 0) == [([1, 2], 3)]
        found = rc3.eval("redis.setresp(3); return {{set={[{1}]=true}}, {map={a=1}}}", 0)
        assert found == [[[1]], {"a": 1}]
        assert rc3.slowlog_get(1, target_nodes=rc3.get_primaries()[0]) is not None
    assert math.isnan(rediscluster._convert._double(b"nan(0x7)"))


def test_exported_names_exist():
    for module in (rediscluster, rediscluster.asyncio):
        for name in module.__all__:
            assert hasattr(module, name)
    assert set(rediscluster.exceptions.__all__) - {"error"} < set(rediscluster.asyncio.__all__)
