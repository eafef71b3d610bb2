"""The constructor's arguments, those of redis-py and redis-py-cluster, as options of the library."""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast
from urllib.parse import quote, unquote_plus

from .exceptions import DataError, RedisClusterException

Init = TypeVar("Init", bound=Callable[..., None])

# Arguments of redis-py that are accepted and ignored: the library does these things by itself.
_IGNORED = frozenset(
    (
        "cluster_error_retry_attempts",
        "driver_info",
        "dynamic_startup_nodes",
        "health_check_interval",
        "lib_name",
        "lib_version",
        "maint_notifications_config",
        "reinitialize_steps",
        "require_full_coverage",
        "retry",
        "retry_on_error",
        "retry_on_timeout",
        "socket_keepalive_options",
        "socket_read_size",
    )
)

# Arguments of redis-py-cluster that redis-py does not have. A caller that passes one was written for
# redis-py-cluster.
_REDIS_PY_CLUSTER_ONLY = frozenset(
    (
        "cluster_down_retry_attempts",
        "init_slot_cache",
        "max_connections_per_node",
        "nodemanager_follow_cluster",
        "skip_full_coverage_check",
    )
)

# redis-py's LoadBalancingStrategy, whose order within the chosen nodes is the library's own.
_READ_FROM = {
    "round_robin": "any",
    "round_robin_replicas": "replica",
    "random": "any",
    "random_replica": "replica",
}

_TLS_FILES = {
    "ssl_ca_certs": "tls_ca_file",
    "ssl_certfile": "tls_cert_file",
    "ssl_keyfile": "tls_key_file",
}

# The port if redis-py-cluster's argument `port` is None.
_DEFAULT_PORT = 7000
# redis-py's max_connections has no upper limit, the option connections_per_node has.
_MAX_CONNECTIONS = 1000
# The library refuses a user without a password. A user that needs none accepts any.
_ANY_PASSWORD = "nopass"


def is_for_redis_py_cluster(nodes: list[Any], arguments: Mapping[str, Any]) -> bool:
    """Whether the arguments are those of a program written for redis-py-cluster."""
    return (
        arguments.get("readonly_mode") is not None
        or arguments.get("host_port_remap") is not None
        or not _REDIS_PY_CLUSTER_ONLY.isdisjoint(arguments)
        or any(isinstance(node, Mapping) for node in nodes)
    )


def by_name(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that are passed by their own names, without the arguments that are ignored."""
    ignored = _IGNORED | _REDIS_PY_CLUSTER_ONLY
    return {name: value for name, value in options.items() if name not in ignored}


def text(value: Any) -> bytes:
    """The value of an option as the library reads it."""
    return (("yes" if value else "no") if isinstance(value, bool) else str(value)).encode()


def milliseconds(seconds: float | None) -> int | None:
    # A positive time is at least 1 ms.
    return None if seconds is None else max(1, round(seconds * 1000)) if seconds > 0 else 0


def connections(max_connections: int | None) -> int | None:
    return None if max_connections is None else min(max_connections, _MAX_CONNECTIONS)


def read_from(read_from_replicas: bool, strategy: Any) -> str | None:
    if strategy is None:
        return "any" if read_from_replicas else None
    value = getattr(strategy, "value", strategy)
    if value not in _READ_FROM:
        known = ", ".join(map(repr, _READ_FROM))
        raise DataError(f"load_balancing_strategy {strategy!r} is unknown: pass one of {known}")
    return _READ_FROM[value]


# ---- Nodes ---------------------------------------------------------------------------------------


def address(host: str, port: int | str | None) -> str:
    port = _DEFAULT_PORT if port is None else port
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def node_address(node: Any) -> str:
    """A startup node as "host:port"."""
    if isinstance(node, str):
        return node
    if isinstance(node, Mapping):
        return address(node["host"], node.get("port", 6379))
    return address(node.host, node.port)


def url_of(
    startup_nodes: Iterable[Any],
    host: str | None,
    port: int | str | None,
    unix_socket_path: str | os.PathLike[str] | None = None,
) -> str:
    nodes = [node_address(node) for node in startup_nodes]
    if unix_socket_path is not None:
        # redis-py ignores its host beside a socket. Its default port says nothing.
        if nodes:
            raise RedisClusterException(
                "unix_socket_path names a single server: pass it without startup_nodes"
            )
        return "unix://" + quote(os.path.abspath(unix_socket_path))
    if host is not None:
        nodes.append(address(host, port))
    if not nodes:
        raise RedisClusterException(
            "no node of the cluster is given: pass host, startup_nodes, url or unix_socket_path"
        )
    return "redis://" + ",".join(nodes)


def database(url: str, db: int | str | None) -> int | str | None:
    """redis-py's db as the option database. As in redis-py, a number in the path of the URL
    overrules it."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    _, slash, path = rest.partition("/")
    return None if slash and path and scheme != "unix" else db


def address_map(remap: Iterable[Mapping[str, Any]] | None) -> str | None:
    """redis-py-cluster's host_port_remap as the option address_map."""
    if remap is None:
        return None
    pairs = []
    for rule in remap:
        announced, actual = (
            address(rule[f"{side}_host"], rule[f"{side}_port"])
            if f"{side}_port" in rule
            else rule[f"{side}_host"]
            for side in ("from", "to")
        )
        pairs.append(f"{announced}={actual}")
    return ",".join(pairs)


def remapped(
    remap: Callable[[tuple[str, int]], tuple[str, int]], nodes: Iterable[Any]
) -> str | None:
    """redis-py's address_remap, called for these nodes, as the option address_map."""
    pairs = []
    for node in nodes:
        announced, actual = address(node.host, node.port), address(*remap((node.host, node.port)))
        if actual != announced:
            pairs.append(f"{announced}={actual}")
    return ",".join(pairs) or None


# ---- URLs, credentials, TLS ----------------------------------------------------------------------


def _boolean(value: str) -> bool:
    return value.lower() not in ("", "0", "f", "false", "n", "no")


# Arguments of redis-py that a URL's query may contain. They overrule the constructor's.
_URL_ARGUMENTS: dict[str, Callable[[str], Any]] = {
    "db": int,
    "decode_responses": _boolean,
    "encoding": str,
    "encoding_errors": str,
    "max_connections": int,
    "protocol": int,
    "read_from_replicas": _boolean,
    "readonly_mode": _boolean,
    "socket_connect_timeout": float,
    "socket_keepalive": _boolean,
    "socket_timeout": float,
    "ssl_ca_certs": str,
    "ssl_cert_reqs": str,
    "ssl_certfile": str,
    "ssl_check_hostname": _boolean,
    "ssl_keyfile": str,
    "timeout": float,
    "username": str,
    **dict.fromkeys(_IGNORED | _REDIS_PY_CLUSTER_ONLY, str),
}


def split_url(url: str) -> tuple[str, dict[str, Any]]:
    """A URL without the arguments of redis-py in its query, and these arguments."""
    base, mark, query = url.partition("?")
    if not mark:
        return url, {}
    arguments, rest = {}, []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name not in _URL_ARGUMENTS:
            rest.append(part)
            continue
        try:
            arguments[name] = _URL_ARGUMENTS[name](unquote_plus(value))
        except ValueError:
            raise DataError(f"the url's {name} has a value of the wrong type") from None
    if "db" in arguments and not base.startswith("unix:"):
        # It overrules the number in the path.
        scheme, separator, hosts = base.partition("://")
        base = scheme + separator + hosts.partition("/")[0]
    return f"{base}?{'&'.join(rest)}" if rest else base, arguments


def with_url_arguments(init: Init) -> Init:
    """Passes the arguments in the query of the URL to a constructor."""

    @functools.wraps(init)
    def wrapper(self: Any, *args: Any, url: str | None = None, **kwargs: Any) -> None:
        if url is not None:
            url, arguments = split_url(url)
            kwargs.update(arguments)
        init(self, *args, url=url, **kwargs)

    return cast(Init, wrapper)


def password_of(
    url: str, username: str | None, password: str | None, password_file: Any = None
) -> str | None:
    """The password, or any for a user that is given without one and without a file."""
    base, _, query = url.partition("?")
    if password_file or "password_file=" in query:
        return password or None
    credentials, at, _ = base.partition("://")[2].rpartition("@")
    user, _, in_url = credentials.partition(":") if at else ("", "", "")
    if password or in_url or "password=" in query or not (username or user):
        return password or None
    return _ANY_PASSWORD


def tls(url: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Removes redis-py's arguments for TLS. Returns the URL with its scheme, and the options."""
    given = {name: arguments.pop(name) for name in list(arguments) if name in _SSL_ARGUMENTS}
    if given.get("ssl") and url.startswith("redis://"):
        url = "rediss" + url[len("redis") :]
    if not url.startswith("rediss:"):
        return url, {}
    unverified = given.get("ssl_cert_reqs") in ("none", ssl.CERT_NONE)
    if given.get("ssl_check_hostname") is False and not unverified:
        raise DataError(
            "ssl_check_hostname=False is not supported: pass tls_server_name, the name that all "
            'certificates contain, or ssl_cert_reqs="none", which accepts any certificate'
        )
    options = {option: given.get(name) for name, option in _TLS_FILES.items()}
    return url, {**options, "tls_insecure_skip_verify": True if unverified else None}


_SSL_ARGUMENTS = frozenset(("ssl", "ssl_cert_reqs", "ssl_check_hostname", *_TLS_FILES))
