"""The constructor's arguments, those of redis-py and redis-py-cluster, as options of the library."""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast
from urllib.parse import quote, unquote_plus

from . import _redis_py_arguments
from ._redis_py_arguments import REDIS_PY_CLUSTER_ONLY
from .exceptions import DataError, RedisClusterException

Init = TypeVar("Init", bound=Callable[..., None])

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
        or not REDIS_PY_CLUSTER_ONLY.isdisjoint(arguments)
        or any(isinstance(node, Mapping) for node in nodes)
    )


def text(value: Any) -> bytes:
    """The value of an option as the library reads it."""
    return (("yes" if value else "no") if isinstance(value, bool) else str(value)).encode()


def _checked(name: str, value: Any, kinds: tuple[type, ...], what: str) -> Any:
    """A value of one of these types, or None."""
    if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
        raise DataError(f"{name} must be {what} or None, not {value!r}")
    return value


def milliseconds(seconds: float | None, name: str = "timeout") -> int | None:
    # A positive time is at least 1 ms.
    _checked(name, seconds, (int, float), "a number of seconds")
    return None if seconds is None else max(1, round(seconds * 1000)) if seconds > 0 else 0


def connections(max_connections: int | None) -> int | None:
    _checked("max_connections", max_connections, (int,), "a number")
    return None if max_connections is None else min(max_connections, _MAX_CONNECTIONS)


def check_remap(remap: Any) -> None:
    if remap is not None and not callable(remap):
        raise DataError(f"address_remap must be a function of an address, not {remap!r}")


def protocol(version: int | str | None) -> int:
    """The version of RESP whose response types are returned."""
    if version is None:
        return 2
    if version not in (2, 3, "2", "3"):
        raise DataError(f"protocol must be 2 or 3, not {version!r}")
    return int(version)


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


# Names of redis-py's asynchronous client and of redis-py 3 for the same arguments.
ALIASES = {
    "charset": "encoding",
    "errors": "encoding_errors",
    "path": "unix_socket_path",
}

# Arguments of redis-py that a URL's query may contain. They overrule the constructor's.
_URL_ARGUMENTS: dict[str, Callable[[str], Any]] = {
    "db": int,
    "decode_responses": _boolean,
    "encoding": str,
    "encoding_errors": str,
    "legacy_responses": _boolean,
    "load_balancing_strategy": str,
    "max_connections": int,
    "protocol": int,
    "read_from_replicas": _boolean,
    "readonly_mode": _boolean,
    "socket_connect_timeout": float,
    "socket_timeout": float,
    "ssl": _boolean,
    "ssl_ca_certs": str,
    "ssl_cert_reqs": str,
    "ssl_certfile": str,
    "ssl_check_hostname": _boolean,
    "ssl_keyfile": str,
    "timeout": float,
    "username": str,
    **{name: _redis_py_arguments.from_text(name) for name in _redis_py_arguments.NAMES},
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
    """Passes the arguments in the query of the URL to a constructor, and those with other names."""

    @functools.wraps(init)
    def wrapper(self: Any, *args: Any, url: str | None = None, **kwargs: Any) -> None:
        for alias in ALIASES.keys() & kwargs.keys():
            kwargs.setdefault(ALIASES[alias], kwargs.pop(alias))
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
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("ssl") and url.startswith("redis://"):
        url = "rediss" + url[len("redis") :]
    if not url.startswith(("rediss:", "valkeys:")):
        # As in redis-py, ssl=False switches off what the other arguments configure.
        if given and "ssl" not in given:
            raise DataError(
                f"{next(iter(given))} is for TLS: pass ssl=True too, or a rediss:// url"
            )
        return url, {}
    verification = given.get("ssl_cert_reqs", "required")
    if verification not in _VERIFICATIONS:
        raise DataError(
            f'ssl_cert_reqs must be "required", "optional" or "none", not {verification!r}'
        )
    unverified = not _VERIFICATIONS[verification]
    if given.get("ssl_check_hostname") is False and not unverified:
        raise DataError(
            "ssl_check_hostname=False is not supported: pass tls_server_name, the name that all "
            'certificates contain, or ssl_cert_reqs="none", which accepts any certificate'
        )
    options = {option: given.get(name) for name, option in _TLS_FILES.items()}
    return url, {**options, "tls_insecure_skip_verify": True if unverified else None}


# Whether a certificate is verified. A server always has one, so "optional" is the same as "required".
_VERIFICATIONS: dict[Any, bool] = {
    "required": True,
    "optional": True,
    "none": False,
    ssl.CERT_REQUIRED: True,
    ssl.CERT_OPTIONAL: True,
    ssl.CERT_NONE: False,
}
_SSL_ARGUMENTS = frozenset(("ssl", "ssl_cert_reqs", "ssl_check_hostname", *_TLS_FILES))
