"""A single server, at TCP and at a unix socket, and numbered databases."""

from __future__ import annotations

import os
import threading

import pytest
import redis

from rediscluster import RedisCluster, _options


@pytest.fixture
def server():
    """The URL of a single, empty server."""
    url = os.environ["RDC_SINGLE_URL"]
    with RedisCluster.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture
def socket_path(server):
    return os.environ["RDC_SINGLE_SOCKET"]


def test_single_server_accepts_keys_of_any_slots(server):
    with RedisCluster.from_url(server, decode_responses=True) as rc:
        assert rc.mset({"a": 1, "b": 2}) and rc.mget("a", "b") == ["1", "2"]
        assert rc.pipeline(transaction=True).incr("a").incr("b").execute() == [2, 3]
        assert rc.rename("a", "c") and rc.keys("*") == ["b", "c"] or rc.keys("*") == ["c", "b"]


def test_db_selects_the_database(server, socket_path):
    host, port = server.removeprefix("redis://").split(":")
    for number, client in (
        (3, RedisCluster(host, port, db=3)),
        (4, RedisCluster.from_url(server + "/4")),
        (5, RedisCluster.from_url(server, db=5)),
        # As in redis-py: first the query, then the path, then the argument.
        (6, RedisCluster.from_url(server + "/6", db=1)),
        (7, RedisCluster.from_url(server + "/1?db=7", db=2)),
        (8, RedisCluster.from_url(f"unix://{socket_path}?db=8")),
        (9, RedisCluster(unix_socket_path=socket_path, db=9)),
    ):
        with client:
            assert client.set("where", number)
        with redis.Redis(host, int(port), db=number) as other:
            assert other.get("where") == str(number).encode()
    with RedisCluster(host, port) as client:
        assert client.get("where") is None
        derived = client.with_options(database=3)
        assert derived.get("where") == b"3" and client.get("where") is None


def test_database_that_is_not_there_is_named(server):
    with pytest.raises(redis.exceptions.DataError, match="SELECT 99 .option database."):
        RedisCluster.from_url(server + "/99")


def test_unix_socket_is_used_like_any_server(socket_path):
    with RedisCluster(unix_socket_path=socket_path, decode_responses=True) as rc:
        assert rc.set("k", "v") and rc.get("k") == "v"
        assert rc.get_primaries()[0].name == socket_path and socket_path in repr(rc)
        assert rc.get_default_node().name == socket_path
        assert rc.ping(target_nodes="all") is True
        assert rc.pipeline(transaction=True).get("k").incr("n").execute() == ["v", 1]
        with rc.with_options(readonly=True) as readonly:
            assert readonly.get("k") == "v"
    with RedisCluster.from_url(f"unix://{socket_path}") as rc:
        assert rc.get("k") == b"v"
    with pytest.raises(redis.exceptions.RedisClusterException, match="/no/such.sock"):
        RedisCluster(unix_socket_path="/no/such.sock", timeout=0.3)


def test_path_of_socket_is_quoted():
    assert _options.url_of([], None, 6379, "/a b/c?d,e#f%.sock") == (
        "unix:///a%20b/c%3Fd%2Ce%23f%25.sock"
    )
    assert _options.url_of([], "localhost", 6379, "/s") == "unix:///s"
    with pytest.raises(redis.exceptions.RedisClusterException, match="startup_nodes"):
        _options.url_of(["h:1"], None, 6379, "/s")


def test_select_is_refused_and_names_db(server):
    with RedisCluster.from_url(server) as rc:
        with pytest.raises(redis.exceptions.DataError, match="db=3"):
            rc.select(3)
        with pytest.raises(redis.exceptions.RedisError, match="option database"):
            rc.execute_command("SELECT", 3)


def test_lazy_client_waits_for_nothing():
    with RedisCluster("127.0.0.1", 1, lazy=True, timeout=0.3) as rc:
        with pytest.raises(redis.exceptions.ConnectionError):
            rc.get("k")


def test_password_file_is_read_when_it_changes(server, tmp_path):
    host, port = server.removeprefix("redis://").split(":")
    file = tmp_path / "password"
    file.write_text("first\n")
    with RedisCluster.from_url(server) as admin:
        admin.execute_command("ACL SETUSER", "rotated", "on", ">first", "~*", "+@all")
        try:
            rc = RedisCluster(host, port, username="rotated", password_file=str(file))
            with rc:
                assert rc.set("k", "v")
                admin.execute_command("ACL SETUSER", "rotated", "<first", ">second")
                file.write_text("second\n")
                admin.execute_command("CLIENT KILL USER rotated")
                values: list[bytes] = []
                threads = [
                    threading.Thread(target=lambda: values.append(rc.get("k"))) for _ in range(8)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                assert values == [b"v"] * 8
        finally:
            admin.acl_deluser("rotated")
