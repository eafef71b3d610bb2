"""The constructor's arguments, and the options of the library that they become."""

from __future__ import annotations

import enum
import ssl

import pytest
import redis
from conftest import control

from rediscluster import RedisCluster, _options


def first_of(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("redis://").split(",")[0].split(":")
    return host, int(port)


def test_load_balancing_strategy_selects_nodes(rc, url):
    class Strategy(enum.Enum):  # redis-py's LoadBalancingStrategy, since redis-py 5.3
        ROUND_ROBIN = "round_robin"
        RANDOM_REPLICA = "random_replica"

    rc.set("foo", "bar")
    control("wait-sync")
    for strategy, expected in (
        (Strategy.ROUND_ROBIN, "any"),
        (Strategy.RANDOM_REPLICA, "replica"),
        ("round_robin_replicas", "replica"),
    ):
        with RedisCluster.from_url(url, load_balancing_strategy=strategy) as client:
            assert client.explain("GET", "foo")["read_from"] == expected
            assert client.get("foo") == b"bar" and client.set("foo", "bar")
    with pytest.raises(redis.exceptions.DataError, match="'fastest'"):
        RedisCluster.from_url(url, load_balancing_strategy="fastest")


def test_address_remap_is_called_for_every_node(url):
    seen = []

    def remap(address: tuple[str, int]) -> tuple[str, int]:
        seen.append(address)
        return "localhost", address[1]

    host, port = first_of(url)
    with RedisCluster(host, port, address_remap=remap) as rc:
        assert sorted(seen) == sorted((node.host, node.port) for node in rc.get_nodes())
        assert [rc.set(f"key{i}", i) for i in range(20)] == [True] * 20
    with RedisCluster(host, port, address_remap=lambda address: address) as rc:
        assert rc.get("key1") is not None
    with pytest.raises(redis.exceptions.RedisClusterException) as raised:
        RedisCluster(host, port, address_remap=lambda _: ("127.0.0.1", 1))
    assert raised.value.code == "CONNECT"


def test_user_without_password_is_authenticated(rc, url):
    rc.execute_command("ACL SETUSER", "free", "on", "nopass", "~*", "+@all", target_nodes="all")
    rc.execute_command("ACL SETUSER", "locked", "on", ">pw", "~*", "+@all", target_nodes="all")
    by_url = "redis://free@" + url.removeprefix("redis://")
    try:
        for client in (
            RedisCluster.from_url(url, username="free"),
            RedisCluster.from_url(url, username="free", password=""),
            RedisCluster.from_url(by_url),
            RedisCluster.from_url(url + "?username=free"),
        ):
            with client:
                assert client.acl_whoami() in (b"free", "free")
        with pytest.raises(redis.exceptions.AuthenticationError):
            RedisCluster.from_url(url, username="locked")
    finally:
        rc.execute_command("ACL DELUSER", "free", "locked", target_nodes="all")


def test_password_of_url_is_kept():
    for url, username, password in (
        ("redis://h", None, None),
        ("redis://:pw@h", None, None),
        ("redis://:pw@h", "app", None),
        ("redis://app:pw@h", None, None),
        ("redis://app@h?password=pw", None, None),
        ("redis://h?client_name=a@b", None, None),
        ("redis://h", None, ""),
        ("redis://app@h?password_file=/run/secret", None, None),
    ):
        assert _options.password_of(url, username, password) is None, url
    assert _options.password_of("redis://h", "app", None, "/run/secret") is None
    assert _options.password_of("redis://h", "app", "pw") == "pw"
    assert _options.password_of("redis://app@h", None, None) == "nopass"


def test_arguments_in_url_are_those_of_the_constructor(url):
    query = "?decode_responses=True&socket_timeout=0.5&max_connections=4&read_from=any&retry_on_timeout=1"
    with RedisCluster.from_url(url + query, socket_timeout=3) as rc:
        assert rc.set("foo", "bar") and isinstance(rc.execute_command("ECHO", "x"), str)
        assert rc.explain("GET", "foo")["read_from"] == "any"
    assert _options.split_url("redis://h?socket_timeout=2&timeout_ms=3&decode_responses=no") == (
        "redis://h?timeout_ms=3",
        {"socket_timeout": 2.0, "decode_responses": False},
    )
    assert _options.split_url("redis://h/0?encoding=utf%2D8") == (
        "redis://h/0",
        {"encoding": "utf-8"},
    )
    with pytest.raises(redis.exceptions.DataError, match="socket_timeout"):
        RedisCluster.from_url(url + "?socket_timeout=soon")
    with RedisCluster.from_url(url + "?skip_full_coverage_check=true") as rc:
        assert isinstance(rc.ping(), dict)


def test_unlimited_connections_are_accepted(url):
    with RedisCluster.from_url(url, max_connections=2**31) as rc:
        assert rc.get("absent") is None


def test_tls_arguments_become_options():
    def tls(url: str, **arguments: object) -> tuple[str, dict[str, object]]:
        url, options = _options.tls(url, arguments)
        assert not [name for name in arguments if name.startswith("ssl")]
        return url, {name: value for name, value in options.items() if value is not None}

    assert tls("redis://h") == ("redis://h", {})
    assert tls("redis://h", ssl=False, ssl_ca_certs="ca.pem") == ("redis://h", {})
    assert tls("redis://h", ssl=True) == ("rediss://h", {})
    assert tls(
        "rediss://h", ssl_ca_certs="ca.pem", ssl_certfile="c.pem", ssl_keyfile="k.pem",
        ssl_cert_reqs="required", ssl_check_hostname=True,
    ) == (
        "rediss://h",
        {"tls_ca_file": "ca.pem", "tls_cert_file": "c.pem", "tls_key_file": "k.pem"},
    )  # fmt: skip
    for none in ("none", ssl.CERT_NONE):
        assert tls("redis://h", ssl=True, ssl_cert_reqs=none, ssl_check_hostname=False) == (
            "rediss://h",
            {"tls_insecure_skip_verify": True},
        )
    with pytest.raises(redis.exceptions.DataError, match="tls_server_name"):
        tls("rediss://h", ssl_check_hostname=False)


def test_tls_to_port_without_tls_is_refused(url):
    host, port = first_of(url)
    with pytest.raises(redis.exceptions.RedisClusterException, match="TLS"):
        RedisCluster(host, port, ssl=True, ssl_cert_reqs="none", timeout=0.5)
