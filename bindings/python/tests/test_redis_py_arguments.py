"""Every constructor argument of redis-py and of redis-py-cluster is accepted with its meaning, or refused
by its name with the reason."""

from __future__ import annotations

import ast
import enum
import inspect
import logging
import re
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
import redis
import redis.asyncio
import redis.cluster
import redis.connection
from conftest import control
from redis.credentials import UsernamePasswordCredentialProvider

import rediscluster.asyncio
from rediscluster import DataError, RedisCluster, _options, _redis_py_arguments
from rediscluster._handle import Handle


class MaintenanceConfig:
    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled


class Version(enum.Enum):
    TLSv1_2 = 1
    TLSv1_3 = 2


# By argument: values that are accepted, with the options that they become.
ACCEPTED = [
    ("dynamic_startup_nodes", True, {}),
    ("health_check_interval", 0, {}),
    ("init_slot_cache", True, {}),
    ("init_slot_cache", False, {"lazy": True}),
    ("maint_notifications_config", MaintenanceConfig(False), {}),
    ("max_connections_per_node", True, {}),
    ("max_connections_per_node", 16, {}),
    ("nodemanager_follow_cluster", True, {}),
    ("reinitialize_steps", 1, {}),
    ("require_full_coverage", False, {}),
    ("retry_on_error", [], {}),
    ("retry_on_error", [redis.exceptions.ConnectionError, TimeoutError], {"retry_writes": True}),
    ("retry_on_timeout", False, {}),
    ("retry_on_timeout", True, {"retry_writes": True}),
    ("single_connection_client", False, {}),
    ("skip_full_coverage_check", True, {}),
    ("socket_keepalive", True, {}),
    ("socket_keepalive", False, {"keepalive_ms": 0}),
    ("socket_keepalive_options", {}, {}),
    ("socket_keepalive_options", {socket.TCP_KEEPIDLE: 7}, {"keepalive_ms": 7000}),
    ("ssl_min_version", Version.TLSv1_2, {}),
    ("ssl_min_version", ssl.TLSVersion.TLSv1_2, {}),
    ("ssl_min_version", "771", {}),
    ("ssl_validate_ocsp", False, {}),
    ("ssl_validate_ocsp_stapled", False, {}),
]

# The arguments of redis-py-cluster 2.1.
REDIS_PY_CLUSTER = {
    "cluster_down_retry_attempts", "connection_class", "host", "host_port_remap", "init_slot_cache",
    "max_connections", "max_connections_per_node", "nodemanager_follow_cluster", "port",
    "read_from_replicas", "readonly_mode", "reinitialize_steps", "skip_full_coverage_check",
    "startup_nodes",
}  # fmt: skip

# Values that are refused.
REFUSED = [
    ("cache", object()),
    ("cache_config", object()),
    ("cluster_down_retry_attempts", 3),
    ("cluster_error_retry_attempts", 3),
    ("command_packer", object()),
    ("connection_class", object),
    ("connection_pool", object()),
    ("connection_pool_class", object),
    ("driver_info", "x"),
    ("dynamic_startup_nodes", False),
    ("event_dispatcher", object()),
    ("health_check_interval", 30),
    ("himport_registry", object()),
    ("lib_name", "x"),
    ("lib_version", "1"),
    ("maint_notifications_config", MaintenanceConfig(True)),
    ("max_connections_per_node", False),
    ("nodemanager_follow_cluster", False),
    ("nodes_flag", 1),
    ("parser_class", object),
    ("policy_resolver", object()),
    ("queue_class", object),
    ("redis_connect_func", print),
    ("reinitialize_steps", 5),
    ("require_full_coverage", True),
    ("retry", object()),
    ("retry_on_error", [KeyError]),
    ("single_connection_client", True),
    ("skip_full_coverage_check", False),
    ("socket_keepalive_options", {socket.TCP_KEEPCNT: 3}),
    ("socket_read_size", 65536),
    ("ssl_ca_data", "-----BEGIN"),
    ("ssl_ca_path", "/etc/ssl"),
    ("ssl_ciphers", "ALL"),
    ("ssl_exclude_verify_flags", []),
    ("ssl_include_verify_flags", []),
    ("ssl_min_version", ssl.TLSVersion.TLSv1_3),
    ("ssl_ocsp_context", object()),
    ("ssl_ocsp_expected_cert", b"x"),
    ("ssl_password", "x"),
    ("ssl_validate_ocsp", True),
    ("ssl_validate_ocsp_stapled", True),
]


def test_every_argument_of_redis_py_is_known():
    own = set(inspect.signature(Handle.__init__).parameters)
    theirs = set(redis.cluster.REDIS_ALLOWED_KEYS) | REDIS_PY_CLUSTER
    for client in (redis.cluster.RedisCluster, redis.asyncio.RedisCluster, redis.Redis):
        theirs |= set(inspect.signature(client.__init__).parameters)
    tls = {
        "ssl",
        "ssl_ca_certs",
        "ssl_certfile",
        "ssl_cert_reqs",
        "ssl_check_hostname",
        "ssl_keyfile",
    }
    unknown = theirs - own - _redis_py_arguments.NAMES - tls - set(_options.ALIASES) - {"kwargs"}
    # The last one is an object that redis-py's cluster client passes to its clients of nodes.
    assert unknown <= {"oss_cluster_maint_notifications_handler"}


def test_every_argument_that_redis_py_reads_in_a_url_is_read():
    theirs = set(redis.connection.URL_QUERY_ARGUMENT_PARSERS)
    assert theirs - set(_options._URL_ARGUMENTS) == set()


def test_arguments_have_the_names_of_redis_py_3_too(url):
    with RedisCluster.from_url(url, charset="latin-1", errors="replace") as rc:
        kwargs = rc.get_connection_kwargs()
    assert (kwargs["encoding"], kwargs["encoding_errors"]) == ("latin-1", "replace")
    with pytest.raises(DataError, match="^protocol"):
        RedisCluster(path="/run/redis.sock", lazy=True, protocol=9)
    rc = rediscluster.asyncio.RedisCluster(path="/run/redis.sock")
    assert [node.name for node in rc.startup_nodes] == ["/run/redis.sock"]


def test_every_argument_of_the_table_is_tested_and_documented():
    names = _redis_py_arguments.NAMES
    assert {name for name, *_ in ACCEPTED + REFUSED} == names
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text()
    assert [name for name in sorted(names) if f"`{name}`" not in readme] == []


@pytest.mark.parametrize(("name", "value", "options"), ACCEPTED)
def test_argument_becomes_options(name, value, options):
    arguments = {name: value, "other": 1}
    assert _redis_py_arguments.taken(arguments) == options and arguments == {"other": 1}


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_argument_is_refused_by_name_with_reason(name, value):
    for client in (RedisCluster, rediscluster.asyncio.RedisCluster):
        with pytest.raises(DataError, match=rf"^the argument {name} is not supported .*: \w"):
            client("localhost", **{name: value})


@pytest.mark.parametrize("name", sorted(_redis_py_arguments.NAMES))
def test_argument_none_is_no_argument(name):
    assert _redis_py_arguments.taken({name: None}) == {}


def test_arguments_in_url_follow_the_same_rules(url):
    query = "?retry_on_timeout=true&skip_full_coverage_check=yes&health_check_interval=0"
    query += "&reinitialize_steps=1"
    with RedisCluster.from_url(url + query) as rc:
        assert isinstance(rc.ping(), dict)
    for refused in ("health_check_interval=30", "require_full_coverage=1", "lib_name=x"):
        with pytest.raises(DataError, match=refused.split("=", maxsplit=1)[0]):
            RedisCluster.from_url(f"{url}?{refused}")


def test_values_of_wrong_type_are_refused_by_name():
    for name, value in (
        ("timeout", "x"),
        ("socket_timeout", "1"),
        ("socket_connect_timeout", True),
        ("max_connections", "x"),
        ("protocol", 1),
        ("protocol", "x"),
        ("ssl_cert_reqs", "x"),
    ):
        with pytest.raises(DataError, match=f"^{name} must be "):
            RedisCluster("localhost", ssl=True, **{name: value})
    with pytest.raises(DataError, match="^address_remap must be a function"):
        RedisCluster("localhost", lazy=True, address_remap=1)


def test_tls_arguments_need_tls():
    with pytest.raises(DataError, match="^ssl_ca_certs is for TLS: pass ssl=True"):
        RedisCluster("localhost", ssl_ca_certs="ca.pem")
    with RedisCluster("localhost", ssl=False, ssl_ca_certs="ca.pem", lazy=True) as rc:
        assert "None" not in repr(rc)


def test_protocol_none_is_the_default(url):
    with RedisCluster.from_url(url, protocol=None) as rc:
        assert rc.ping() is True


@pytest.mark.skipif(not hasattr(redis.cluster, "cleanup_kwargs"), reason="needs redis-py 8")
def test_legacy_responses_selects_response_types(url):
    if "legacy_responses" not in inspect.signature(redis.Redis).parameters:
        pytest.skip("needs redis-py 8")
    for legacy in (True, False):
        expected = redis.Redis(protocol=2, legacy_responses=legacy).response_callbacks
        with RedisCluster.from_url(url, legacy_responses=legacy) as rc:
            same = [name for name in expected if rc.response_callbacks.get(name) is expected[name]]
            assert len(same) > 0.5 * len(expected)
            rc.zadd("z", {"a": 1.5})
            found = rc.zrange("z", 0, -1, withscores=True)
            assert found == ([(b"a", 1.5)] if legacy else [[b"a", 1.5]])


# ---- Credentials ---------------------------------------------------------------------------------


@pytest.fixture
def user(rc):
    rc.execute_command(
        "ACL", "SETUSER", "py-provider", "reset", "on", ">one", ">two", "~*", "+@all"
    )
    yield "py-provider"
    rc.execute_command("ACL", "DELUSER", "py-provider")


def test_credential_provider_authenticates(url, user):
    provider = UsernamePasswordCredentialProvider(user, "one")
    with RedisCluster.from_url(url, credential_provider=provider, decode_responses=True) as rc:
        assert rc.acl_whoami() == user
    with pytest.raises(DataError, match="'credential_provider'"):
        RedisCluster.from_url(url, username="a", password="b", credential_provider=provider)
    with pytest.raises(DataError, match="get_credentials"):
        RedisCluster.from_url(url, credential_provider="x")


def test_streaming_credential_provider_renews_credentials(url, rc, user):
    class Token:
        def __init__(self, password: str) -> None:
            self.password = password

        def try_get(self, name: str) -> str:
            return {"oid": user}[name]

        def get_value(self) -> str:
            return self.password

    class Provider(UsernamePasswordCredentialProvider):
        def on_next(self, callback) -> None:
            self.push = callback

    provider = Provider(user, "one")
    with RedisCluster.from_url(url, credential_provider=provider) as client:
        rc.execute_command("ACL", "SETUSER", user, "<one")
        provider.push(Token("two"))
        # New connections need the new password.
        found = []
        threads = [threading.Thread(target=lambda: found.append(client.get("k"))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [None] * 8
    del client
    provider.push(Token("two"))


# ---- Messages, logging, repr ---------------------------------------------------------------------


def test_messages_name_python_methods(rc):
    calls = (
        lambda: rc.execute_command("WATCH", "k"),
        lambda: rc.execute_command("SELECT", 1),
        lambda: rc.execute_command("READONLY"),
        lambda: rc.execute_command("WAIT", 1, 1),
        lambda: rc.execute_command("SHUTDOWN"),
        lambda: rc.execute_command("AUTH", "x"),
    )
    for call in calls:
        with pytest.raises(redis.exceptions.RedisError) as raised:
            call()
        assert "rdc_" not in str(raised.value), raised.value
    with pytest.raises(redis.exceptions.RedisError, match=r"a client from pin\(\)"):
        rc.execute_command("CLIENT TRACKING", "ON")


def test_messages_of_the_library_have_known_functions_only():
    """Every function of C that a message of the library recommends has a translation."""
    root = Path(__file__).resolve().parents[3] / "src"
    known = " ".join(rediscluster.exceptions._IN_PYTHON)
    files = [file for file in root.rglob("*.rs") if "tests" not in file.parts]
    assert len(files) > 50
    for file in files:
        code = re.sub(r"//.*", "", file.read_text())
        for text in re.findall(r'"((?:[^"\\]|\\.)*)"', code, re.S):
            for name in re.findall(r"rdc_\w+", text):
                assert name in known, f"{file}: {name}"


def test_reasons_of_refused_commands_name_python_methods(rc):
    refused = 0
    for name in [*redis.cluster.RedisCluster.COMMAND_FLAGS, "WATCH", "MULTI", "MONITOR", "SUBSCRIBE"]:
        for count in range(4):
            reason = rc.explain(*name.split(), *["1"] * count).get("error", "")
            refused += "needs" not in reason and reason != ""
            assert "rdc_" not in reason, reason
    assert refused > 20


def test_messages_of_this_package_name_no_function_of_c():
    root = Path(rediscluster.__file__).parent
    for file in root.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Raise):
                texts = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
                assert not any("rdc_" in text for text in texts if isinstance(text, str)), file


def test_pinned_client_has_its_own_connection(rc):
    with rc.pin("{k}1") as pinned:
        first, second = (pinned.execute_command("CLIENT ID") for _ in range(2))
        assert first == second
        assert pinned.execute_command("WATCH", "{k}1") is True
        assert pinned.set("{k}1", "v") is True


def test_library_logs_to_the_logger(url, rc, caplog):
    caplog.set_level(logging.DEBUG, logger="rediscluster")
    with RedisCluster.from_url(url, timeout=3) as client:
        client.set("hang", 1)
        port = control("primary-of", "key:hang")[0]
        control("kill", port)
        try:
            client.get("hang")
        except redis.exceptions.RedisError:
            pass
        finally:
            control("restart", port)
            control("wait-healthy")
    assert any(port in record.getMessage() for record in caplog.records)
    assert {record.name for record in caplog.records} == {"rediscluster"}
    assert {record.levelno for record in caplog.records} <= {10, 20, 30, 40}
    caplog.clear()
    logging.getLogger("rediscluster").setLevel(logging.CRITICAL + 1)
    with RedisCluster.from_url(url) as client:
        client.refresh()
    assert caplog.records == []


def test_exception_of_signal_handler_during_logging_ends_call(url):
    """A signal handler may run while the library logs: here, the logger takes its place."""

    class Interrupting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise KeyboardInterrupt

    logger, handler = logging.getLogger("rediscluster"), Interrupting()
    logger.addHandler(handler)
    try:
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            RedisCluster("localhost", 1, timeout=20)
        assert time.monotonic() - began < 5
    finally:
        logger.removeHandler(handler)
    with RedisCluster.from_url(url) as rc:
        assert rc.get("none") is None


def test_repr_never_raises(url):
    rc = RedisCluster.from_url(url)
    rc.close()
    assert "closed" in repr(rc)
    assert "closed" in repr(rc.nodes_manager) and "0 commands" in repr(rc.pipeline())
    assert repr(rc.pubsub())
    # Nothing is sent: the port is closed.
    with RedisCluster("localhost", 1, lazy=True) as lazy:
        assert "not connected" in repr(lazy)
    assert "RedisCluster(" in repr(RedisCluster.__new__(RedisCluster))
    assert "RedisCluster(" in repr(object.__new__(rediscluster.asyncio.RedisCluster))
