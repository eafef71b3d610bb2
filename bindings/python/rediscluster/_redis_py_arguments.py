"""What becomes of the constructor's arguments of redis-py and redis-py-cluster for things that this
library does in its own way: each is accepted where its value asks for what the library does or can do,
and else refused by its name, with the reason. None is ignored."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any

from redis.exceptions import ConnectionError, TimeoutError

from .exceptions import DataError

Options = dict[str, Any]
# What an argument becomes: options of the library, or None if the value is refused.
Rule = Callable[[Any], "Options | None"]


def _is(*accepted: Any) -> Rule:
    """Accepts these values, which describe what the library does anyway."""
    return lambda value: {} if value in accepted else None


def _retry_on_error(value: Any) -> Options | None:
    """Errors after which a command is sent again even if it may have run."""
    repeatable = (ConnectionError, TimeoutError, OSError)
    if not all(isinstance(kind, type) and issubclass(kind, repeatable) for kind in value):
        return None
    return {"retry_writes": True} if value else {}


def _keepalive_options(value: Mapping[int, int]) -> Options | None:
    if not set(value) <= {socket.TCP_KEEPIDLE}:
        return None
    return {"keepalive_ms": seconds * 1000 for seconds in value.values()}


def _maintenance(value: Any) -> Options | None:
    return None if getattr(value, "enabled", True) else {}


def _tls_version(value: Any) -> Options | None:
    # The name of an ssl.TLSVersion, or its number, as in a URL.
    accepted = ("TLSv1_2", "MINIMUM_SUPPORTED", ssl.TLSVersion.TLSv1_2, str(int(ssl.TLSVersion.TLSv1_2)))
    return {} if getattr(value, "name", value) in accepted else None


_RETRIES = (
    "the library sends a command again until `timeout` has passed, if it certainly did not run: pass "
    "timeout, and retry_writes=True for writes that may have run"
)
_CONNECTIONS = "connections belong to the library"
_CACHE = "the library has no client-side cache"
_NAME = "the library sends no CLIENT SETINFO: pass client_name"
_OCSP = "the library does not ask for OCSP responses"
_TLS = "the library uses TLS 1.2 and 1.3 with the ciphers of rustls"
_PEM = "the library reads PEM files: pass ssl_ca_certs with the path of one"
_FOLLOWS = "the library always asks the nodes of the cluster, and the startup nodes if none replies"
_INTERNAL = "redis-py passes it to itself only"

# By argument: the rule, and the reason for which other values are refused.
_RULES: dict[str, tuple[Rule, str]] = {
    "cache": (_is(), _CACHE),
    "cache_config": (_is(), _CACHE),
    "cluster_down_retry_attempts": (_is(), _RETRIES),
    "cluster_error_retry_attempts": (_is(), _RETRIES),
    "command_packer": (_is(), "the library encodes commands"),
    "connection_class": (_is(), _CONNECTIONS),
    "connection_pool": (_is(), _CONNECTIONS),
    "connection_pool_class": (_is(), _CONNECTIONS),
    "driver_info": (_is(), _NAME),
    "dynamic_startup_nodes": (_is(True), _FOLLOWS),
    "event_dispatcher": (_is(), "the library has no such events: use the logger rediscluster"),
    "health_check_interval": (
        _is(0),
        "the library replaces a broken connection, and sends a command again that did not run: pass "
        "keepalive_ms to detect broken connections earlier",
    ),
    "himport_registry": (_is(), _INTERNAL),
    "init_slot_cache": (lambda value: {} if value else {"lazy": True}, ""),
    "lib_name": (_is(), _NAME),
    "lib_version": (_is(), _NAME),
    "maint_notifications_config": (
        _maintenance,
        "the library follows redirections, and handles no maintenance notifications",
    ),
    # redis-py-cluster asks only whether it is true. A number that is passed here has no other effect.
    "max_connections_per_node": (
        lambda value: {} if value else None,
        "max_connections is the number for each node",
    ),
    "nodemanager_follow_cluster": (_is(True), _FOLLOWS),
    "nodes_flag": (_is(), _INTERNAL),
    "parser_class": (_is(), "the library parses replies"),
    "policy_resolver": (_is(), "the library routes commands: pass target_nodes to a command"),
    "queue_class": (_is(), _CONNECTIONS),
    "redis_connect_func": (_is(), _CONNECTIONS),
    "reinitialize_steps": (
        _is(1),
        "the library refreshes the topology when a redirection shows that it has changed",
    ),
    "require_full_coverage": (_is(False), "the library also serves clusters that lack slots"),
    "retry": (_is(), _RETRIES),
    "retry_on_error": (
        _retry_on_error,
        "only ConnectionError, TimeoutError and OSError can be repeated",
    ),
    "retry_on_timeout": (lambda value: {"retry_writes": True} if value else {}, ""),
    "single_connection_client": (
        _is(False),
        "threads share connections: use pin() for one of your own",
    ),
    "skip_full_coverage_check": (_is(True), "the library also serves clusters that lack slots"),
    "socket_keepalive": (lambda value: {} if value else {"keepalive_ms": 0}, ""),
    "socket_keepalive_options": (
        _keepalive_options,
        "only TCP_KEEPIDLE is supported, which is the option keepalive_ms",
    ),
    "socket_read_size": (_is(), "the library sizes its buffers by itself"),
    "ssl_ca_data": (_is(), _PEM),
    "ssl_ca_path": (_is(), _PEM),
    "ssl_ciphers": (_is(), _TLS),
    "ssl_exclude_verify_flags": (_is(), _TLS),
    "ssl_include_verify_flags": (_is(), _TLS),
    "ssl_min_version": (_tls_version, _TLS),
    "ssl_ocsp_context": (_is(), _OCSP),
    "ssl_ocsp_expected_cert": (_is(), _OCSP),
    "ssl_password": (_is(), "the library reads key files that are not encrypted"),
    "ssl_validate_ocsp": (_is(False), _OCSP),
    "ssl_validate_ocsp_stapled": (_is(False), _OCSP),
}

# Arguments of redis-py-cluster that redis-py does not have. A caller that passes one was written for
# redis-py-cluster.
REDIS_PY_CLUSTER_ONLY = frozenset(
    (
        "cluster_down_retry_attempts",
        "init_slot_cache",
        "max_connections_per_node",
        "nodemanager_follow_cluster",
        "skip_full_coverage_check",
    )
)


def _boolean(value: str) -> bool:
    return value.lower() not in ("", "0", "f", "false", "n", "no")


def from_text(name: str) -> Callable[[str], Any]:
    """The function that reads such an argument in the query of a URL."""
    return int if name in _NUMBERS else _boolean if name in _BOOLEANS else str


_NUMBERS = frozenset(("health_check_interval", "reinitialize_steps"))
_BOOLEANS = REDIS_PY_CLUSTER_ONLY - {"cluster_down_retry_attempts"} | {
    "dynamic_startup_nodes",
    "require_full_coverage",
    "retry_on_timeout",
    "single_connection_client",
    "socket_keepalive",
    "ssl_validate_ocsp",
    "ssl_validate_ocsp_stapled",
}

NAMES = frozenset(_RULES)


def taken(arguments: Options) -> Options:
    """Removes these arguments; returns the options that they become. None is the same as no argument."""
    options: Options = {}
    for name in [name for name in arguments if name in _RULES]:
        value = arguments.pop(name)
        rule, reason = _RULES[name]
        found = {} if value is None else rule(value)
        if found is None:
            raise DataError(f"the argument {name} is not supported with this value: {reason}")
        options.update(found)
    return options
