"""The public names of redis-py's objects exist here too, or are listed in the README with the reason."""

from __future__ import annotations

import asyncio
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis
import redis.asyncio
import redis.cluster

import rediscluster.asyncio
from rediscluster import RedisCluster

README = Path(__file__).resolve().parents[1] / "README.md"

pytestmark = pytest.mark.skipif(
    find_spec("redis.keyspace_notifications") is None,
    reason="the README lists the names of redis-py 8",
)


def documented() -> set[str]:
    """The names in the first column of the README's table of missing names, and of pipelines."""
    text = README.read_text().split("<!-- names that redis-py has -->")[1].split("<!-- end -->")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return set(re.findall(r"`(\w+)`", " ".join(rows)))


def names(value: object) -> set[str]:
    return {name for name in dir(value) if not name.startswith("_")}


def objects(client):
    """The kinds of objects that a program gets of a client."""
    return [client, client.pipeline(), client.pubsub(), client.get_default_node(), client.nodes_manager]


def missing(theirs: list[object], ours: list[object]) -> set[str]:
    return set().union(*(names(their) - names(our) for their, our in zip(theirs, ours)))


def test_names_of_redis_py_exist_or_are_documented(url):
    first = url.split(",")[0]
    with redis.cluster.RedisCluster.from_url(first) as theirs, RedisCluster.from_url(url) as ours:
        found = missing(objects(theirs), objects(ours))

    async def compare():
        async with redis.asyncio.RedisCluster.from_url(first) as theirs:
            async with rediscluster.asyncio.RedisCluster.from_url(url) as ours:
                return missing(objects(theirs), objects(ours))

    found |= asyncio.run(compare())
    assert found - documented() == set()
    assert documented() - found == set()


def test_redis_connection_is_of_the_node(rc, url):
    rc.set("foo", 1)
    node = rc.get_node_from_key("foo")
    connection = rc.get_redis_connection(node)
    assert connection is node.redis_connection is rc.get_redis_connection(node.name)
    assert isinstance(connection, redis.Redis)
    assert connection.get("foo") == node.execute_command("GET", "foo") == b"1"
    assert connection.config_get("port") == {"port": str(node.port)}
    other = next(each for each in rc.get_primaries() if each != node)
    with pytest.raises(redis.exceptions.MovedError):
        rc.get_redis_connection(other).get("foo")


def test_redis_connection_has_the_settings_of_the_client(rc, url):
    rc.execute_command("ACL", "SETUSER", "py-names", "reset", "on", ">one", ">two", "~*", "+@all")
    try:
        with RedisCluster.from_url(
            url, username="py-names", password="one", decode_responses=True, client_name="names"
        ) as client:
            connection = client.get_primaries()[0].redis_connection
            assert connection.acl_whoami() == "py-names" and connection.client_getname() == "names"
            rc.execute_command("ACL", "SETUSER", "py-names", "<one")
            client.set_credentials("py-names", "two")
            connection.connection_pool.disconnect()
            assert connection.acl_whoami() == "py-names"
    finally:
        rc.execute_command("ACL", "DELUSER", "py-names")


def test_settings_of_a_url_are_those_of_its_connections():
    def arguments(url: str, **options):
        with RedisCluster.from_url(url, lazy=True, **options) as client:
            return client._settings.arguments("[::1]:7001")

    tls = arguments("rediss://a:b%40@h", ssl_ca_certs="/none/ca.pem", ssl_cert_reqs="none")
    credentials = tls.pop("credential_provider").get_credentials()
    assert credentials == ("a", "b@")
    assert tls == {
        "host": "::1", "port": 7001, "ssl": True, "ssl_cert_reqs": "none",
        "ssl_check_hostname": False, "ssl_ca_certs": "/none/ca.pem",
    }  # fmt: skip
    assert arguments("redis://:pw@h?attempt_timeout_ms=250")["socket_timeout"] == 0.25
    with pytest.raises(redis.exceptions.RedisClusterException, match="tls_server_name"):
        arguments("rediss://h?tls_server_name=x", ssl_cert_reqs="none")


def test_monitor_shows_what_a_node_executes(rc):
    node = rc.get_node_from_key("foo")
    with rc.monitor(target_node=node) as monitor:
        rc.get("foo")
        assert any(each["command"] == "GET foo" for each in monitor.listen())


def test_nodes_manager_is_a_view(rc):
    manager = rc.nodes_manager
    nodes = {node.name: node for node in rc.get_nodes()}
    assert manager.nodes_cache == nodes and len(manager.slots_cache) == 16384
    node = rc.get_node_from_key("foo")
    assert manager.slots_cache[rc.keyslot("foo")][0] == manager.get_node_from_slot(12182) == node
    assert manager.get_node_from_slot(12182, server_type="replica").server_type == "replica"
    assert manager.default_node == rc.get_default_node()
    assert set(manager.startup_nodes) == set(nodes) == {each.name for each in rc.startup_nodes}
    assert manager.get_nodes_by_server_type("replica") == rc.get_replicas()
    assert rc.get_random_primary_or_all_nodes("GET") in rc.get_primaries()
    with pytest.raises(AttributeError):
        manager.default_node = node
    with pytest.raises(redis.exceptions.DataError, match="server_type"):
        manager.get_node_from_slot(1, read_from_replicas=True)


def test_keyspace_notifications_are_those_of_all_primaries(rc):
    from redis.keyspace_notifications import KeyspaceChannel

    rc.config_set("notify-keyspace-events", "KA", target_nodes="primaries")
    keys = [f"event:{i}" for i in range(8)]
    try:
        with rc.keyspace_notifications() as notifications:
            notifications.subscribe(KeyspaceChannel("event:*"))
            notifications.subscribe_keyspace("single")
            for key in [*keys, "single"]:
                rc.set(key, 1)
            seen = set()
            for _ in range(20):
                message = notifications.get_message(timeout=1)
                seen |= {message.key} if message else set()
                if len(seen) == 9:
                    break
        assert seen == {*keys, "single"}
    finally:
        rc.config_set("notify-keyspace-events", "", target_nodes="primaries")


def test_names_of_the_asyncio_client(url):
    async def main():
        async with rediscluster.asyncio.RedisCluster.from_url(url) as rc:
            node = rc.get_node_from_key("foo")
            assert await node.execute_command("SET", "foo", 1)
            assert await node.redis_connection.get("foo") == b"1"
            async with rc.monitor(node) as monitor:
                await rc.get("foo")
                async for each in monitor.listen():
                    if each["command"] == "GET foo":
                        return

    asyncio.run(main())
