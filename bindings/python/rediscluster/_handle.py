"""A handle of the library as a client: its options, and its conversions of responses. It is the part
that the synchronous and the asyncio client share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from redis.cluster import ClusterNode
from redis.cluster import RedisCluster as Model
from redis.connection import Encoder  # type: ignore[attr-defined]

from . import (
    _convert,
    _credentials,
    _logging,
    _options,
    _redis_connection,
    _redis_py_arguments,
    _wait_callback,
)
from ._cluster_view import ClusterView
from ._commands import (
    NODE_OF_SLOT,
    default_targets,
    merge_callbacks,
    response_callbacks,
)
from ._dispatch_python import for_callback
from ._native import ffi, lib
from .exceptions import (
    DataError,
    InvalidError,
    RedisClusterException,
    constructor_error,
)

Self = TypeVar("Self", bound="Handle")


class Handle(ClusterView):
    """A Redis or Valkey Cluster or a single server.

    The cluster is given by ``host`` and ``port``, by ``startup_nodes`` (dicts with "host" and
    "port", ClusterNodes, or "host:port"), or by ``url``; one reachable node is enough. A single
    server may be given by ``unix_socket_path``. ``db`` is the number of the database. Times are in
    seconds: ``timeout`` for a whole call, ``socket_timeout`` for the reply of one node,
    ``socket_connect_timeout`` for a new connection. ``readonly_mode`` distributes reads over
    primaries and replicas and refuses commands that are not reads; ``read_from_replicas`` only
    distributes reads. Every option of CONFIGURATION.md may be passed by its name.

    With ``per_node``, commands like ``ping()`` and ``dbsize()`` return a dict of each node's
    response, and ``mset()`` accepts keys of several nodes, as in redis-py-cluster. This is the
    default for programs written for redis-py-cluster, which are recognised by startup nodes that
    are dicts or by its arguments.
    """

    PRIMARIES = "primaries"
    REPLICAS = "replicas"
    ALL_NODES = "all"
    RANDOM = "random"
    DEFAULT_NODE = "default-node"
    NODE_FLAGS = frozenset((PRIMARIES, REPLICAS, ALL_NODES, RANDOM, DEFAULT_NODE))
    node_flags = NODE_FLAGS
    RESULT_CALLBACKS = Model.RESULT_CALLBACKS
    CLUSTER_COMMANDS_RESPONSE_CALLBACKS = Model.CLUSTER_COMMANDS_RESPONSE_CALLBACKS

    # redis-py's own client, of one node.
    _redis_class: Any = None
    _is_per_node = False

    @_options.with_url_arguments
    def __init__(
        self,
        host: str | None = None,
        port: int | str | None = 6379,
        startup_nodes: Iterable[Any] | None = None,
        *,
        url: str | None = None,
        username: str | None = None,
        password: str | None = None,
        decode_responses: bool = False,
        encoding: str = "utf-8",
        encoding_errors: str = "strict",
        readonly_mode: bool | None = None,
        read_from_replicas: bool = False,
        load_balancing_strategy: Any = None,
        per_node: bool | None = None,
        timeout: float | None = None,
        socket_timeout: float | None = None,
        socket_connect_timeout: float | None = None,
        max_connections: int | None = None,
        client_name: str | None = None,
        protocol: int | None = None,
        legacy_responses: bool | None = None,
        credential_provider: Any = None,
        host_port_remap: Iterable[Mapping[str, Any]] | None = None,
        address_remap: Callable[[tuple[str, int]], tuple[str, int]] | None = None,
        db: int | str | None = None,
        unix_socket_path: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        given = list(startup_nodes or ())
        if per_node is None:
            arguments = {
                "readonly_mode": readonly_mode, "host_port_remap": host_port_remap, **options,
            }  # fmt: skip
            per_node = self._is_per_node or _options.is_for_redis_py_cluster(given, arguments)
        url = url or _options.url_of(given, host, port, unix_socket_path)
        _options.check_remap(address_remap)
        own = _redis_py_arguments.taken(options)
        url, tls = _options.tls(url, options)
        username, password = _credentials.initial(credential_provider, username, password)
        resp = _options.protocol(protocol)
        chosen: dict[str, Any] = {
            "url": url,
            "database": _options.database(url, db),
            "user": username,
            "password": _options.password_of(url, username, password, options.get("password_file")),
            "timeout_ms": _options.milliseconds(timeout),
            "attempt_timeout_ms": _options.milliseconds(socket_timeout, "socket_timeout"),
            "connect_timeout_ms": _options.milliseconds(
                socket_connect_timeout, "socket_connect_timeout"
            ),
            "connections_per_node": _options.connections(max_connections),
            "client_name": client_name,
            "protocol": resp,
            "read_from": _options.read_from(read_from_replicas, load_balancing_strategy),
            "readonly": True if readonly_mode else None,
            "split_writes": True if per_node else None,
            "address_map": _options.address_map(host_port_remap),
            **own,
            **tls,
            **options,
        }

        self._encoding = (encoding, encoding_errors)
        self._decode = (
            _convert.text_decoder(encoding, encoding_errors) if decode_responses else None
        )
        self._default_node: str | None = None
        self._settings = _redis_connection.Settings(chosen)
        self._response_types = (resp, legacy_responses)
        self._redis_connections: dict[str, Any] = {}
        self.load_balancing_strategy = load_balancing_strategy
        self.response_callbacks = response_callbacks(resp, legacy_responses)
        self.result_callbacks = merge_callbacks(per_node)
        self._default_targets = default_targets(per_node)
        _logging.follow_level()
        self._connect(chosen, address_remap)
        _credentials.follow(credential_provider, self)

    def _connect(self, chosen: dict[str, Any], address_remap: Any) -> None:
        """Attaches a handle with the chosen options."""
        raise NotImplementedError

    @classmethod
    def from_url(cls: type[Self], url: str, **kwargs: Any) -> Self:
        """From a URL like "redis://user:pass@host:7000,host:7001/3?timeout_ms=500" or
        "unix:///run/redis.sock?db=3": see CONFIGURATION.md."""
        return cls(url=url, **kwargs)

    def _attach(self, handle: Any) -> None:
        """Attaches a handle of the library to this client, which closes it."""
        self._handle = ffi.gc(handle, lib.rdc_close)
        self._address = int(ffi.cast("uintptr_t", handle))
        c_message = lib.rdc_client_error(handle)
        if c_message != ffi.NULL:
            message = ffi.string(c_message).decode("utf-8", "replace")
            raise constructor_error(message)

    def with_options(self: Self, **options: Any) -> Self:
        """A derived client on the same connections with other options, those that CONFIGURATION.md
        marks as per handle: ``rc.with_options(read_from="replica", timeout_ms=200)``."""
        if not options:
            raise TypeError("with_options() needs at least one option")
        derived = self._copy()
        for name, value in options.items():
            derived._attach(lib.rdc_with(derived._handle, name.encode(), _options.text(value)))
        return derived

    def pin(self: Self, key: Any) -> Self:
        """A derived client with a connection of its own, to the primary of this key, for commands that
        belong to one connection, such as CLIENT TRACKING. Nothing is redirected or sent again."""
        data = _convert.argument(key, *self._encoding)
        derived = self._copy()
        derived._attach(lib.rdc_pin(self._handle, data, len(data)))
        return derived

    def _for_pipeline(self: Self, shard_hint: None, read_from_replicas: bool) -> Self:
        """The client whose options a new pipeline has."""
        if shard_hint is not None:
            raise RedisClusterException(
                "shard_hint is not supported: the library routes each command; remove the argument"
            )
        return self.with_options(read_from="any") if read_from_replicas else self

    def _copy(self: Self) -> Self:
        """A client on the same handle, whose conversions may be set separately."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        # With the C extension, these are not in the dict.
        copy._encoding, copy._decode = self._encoding, self._decode
        copy._default_targets, copy._address = self._default_targets, self._address
        copy.response_callbacks = self.response_callbacks.copy()
        copy.result_callbacks = self.result_callbacks.copy()
        copy._redis_connections = {}
        return copy

    def __copy__(self: Self) -> Self:
        return self._copy()

    def set_credentials(self, username: str | None, password: str | None) -> None:
        """Replaces the credentials of all clients of the cluster, without I/O. Connections that are
        opened from now on use them. An open one is authenticated again when it is idle, before its
        next command. If a server refuses them, its open connections keep their user. Raises
        InvalidError, and then nothing has changed. See docs/credentials.md."""
        texts = [(text or "").encode() for text in (username, password)]
        if any(b"\0" in text for text in texts) or lib.rdc_set_credentials(self._handle, *texts):
            raise InvalidError(
                "INVALID the credentials are not valid: at most 64 KiB without NUL, a user without "
                "control characters, and a password for a user; or the client was closed"
            )
        self._settings.set_credentials(username, password)

    def get_redis_connection(self, node: ClusterNode | str) -> Any:
        """redis-py's own client of this node, or of the node with this name. It has connections of its
        own, with the settings of this client, for what needs redis-py's connections."""
        name = node if isinstance(node, str) else node.name
        if name not in self._redis_connections:
            database = self.explain("GET", "")["database"]
            self._redis_connections[name] = _redis_connection.connection(
                self._redis_class, self._settings, name, database, self.get_connection_kwargs(),
                *self._response_types,
            )  # fmt: skip
        return self._redis_connections[name]

    def monitor(self, target_node: ClusterNode | str | None = None) -> Any:
        """redis-py's Monitor of a node, or of the default node: what the node executes, over a
        connection of redis-py."""
        node = target_node or self.get_default_node()
        if node is None:
            raise RedisClusterException("no primary is known: pass target_node")
        return self.get_redis_connection(node).monitor()

    def load_external_module(self, funcname: str, func: Any) -> None:
        """Sets an attribute of this client."""
        setattr(self, funcname, func)

    def _destinations(self, target: Any, args: tuple[Any, ...]) -> list[str]:
        """redis-py's target_nodes as targets of rdc_command_to()."""
        if target == NODE_OF_SLOT:
            return [f"slot:{args[1]}"]
        if isinstance(target, str):
            if target == self.DEFAULT_NODE:
                node = self.get_default_node()
                target = node.name if node else self.RANDOM
            return [target]
        if isinstance(target, Mapping):
            target = target.values()
        elif not isinstance(target, (list, tuple, set, frozenset)):
            target = [target]
        return [self._destination(node) for node in target]

    @staticmethod
    def _destination(node: Any) -> str:
        name = node if isinstance(node, str) else getattr(node, "name", None)
        if not isinstance(name, str):
            raise TypeError(
                f"target_nodes contains {node!r}: pass 'primaries', 'replicas', 'all', 'random', a "
                "ClusterNode, the name of a node, or a list or dict of nodes"
            )
        return name

    def _reader(self, destination: str) -> Callable[..., Any]:
        """The function that reads the reply of rdc_command_to() as a dict by node."""
        if destination in (self.PRIMARIES, self.REPLICAS, self.ALL_NODES):
            return _convert.per_node
        return _convert.one_node

    def _by_node(
        self, destination: str, found: Any, name: Any, options: dict[str, Any]
    ) -> dict[str, Any]:
        """What _reader() has read, as redis-py's responses by node."""
        if isinstance(found, Exception):
            raise found
        return {
            node or destination: self._apply_callback(value, name, dict(options))
            for node, value in found.items()
        }

    def _apply_callback(self, value: Any, name: Any, options: dict[str, Any]) -> Any:
        if isinstance(value, Exception):
            raise value
        callback = self.response_callbacks.get(name)
        if callback is None:
            return value
        return callback(value, **for_callback(options))

    def _merge(self, name: Any, values: dict[str, Any], options: dict[str, Any]) -> Any:
        """The response of a command that several nodes got, of the responses of each."""
        merge = self.result_callbacks.get(name)
        if merge is not None:
            return merge(name, values, **options)
        return next(iter(values.values())) if len(values) == 1 else values

    def set_response_callback(self, command: str, callback: Callable[..., Any]) -> None:
        """Sets the conversion of a command's response, for this client and its later pipelines."""
        self.response_callbacks[command] = callback

    def set_result_callback(self, command: str, callback: Callable[..., Any]) -> None:
        """Sets the conversion of the responses of several nodes: ``callback(command, responses)``
        with a dict by node."""
        self.result_callbacks[command] = callback

    def select(self, index: int, **_: Any) -> Any:
        """Raises DataError: other threads use the same connections."""
        raise DataError(
            f"select() would change the database of every thread: pass db={index} to the "
            f"constructor, or use with_options(database={index})"
        )

    def __repr__(self) -> str:
        try:
            primaries = [shard["primary"] for shard in self.topology()]
            nodes = ", ".join(node["address"] for node in primaries if node) or "not connected"
        except Exception as exception:  # closed, or a client whose constructor failed
            nodes = str(getattr(exception, "code", "not connected")).lower()
        return f"<{type(self).__module__}.{type(self).__name__}({nodes})>"

    def get_connection_kwargs(self) -> dict[str, Any]:
        """The settings of texts, as redis-py names them."""
        encoding, errors = self._encoding
        return {
            "encoding": encoding,
            "encoding_errors": errors,
            "decode_responses": self._decode is not None,
        }

    @property
    def connection_kwargs(self) -> dict[str, Any]:
        """The same as get_connection_kwargs()."""
        return self.get_connection_kwargs()

    @property
    def encoder(self) -> Encoder:
        """The same as get_encoder()."""
        return self.get_encoder()

    def get_encoder(self) -> Encoder:
        """redis-py's encoder with the same settings."""
        make: Any = Encoder
        return cast(Encoder, make(*self._encoding, self._decode is not None))


def connect(chosen: dict[str, Any]) -> Any:
    """A new handle of the library. This waits until it is connected, unless it is lazy."""
    options = lib.rdc_options_new()
    try:
        for name, value in chosen.items():
            if value is not None:
                # An error in an option is reported by rdc_create_with().
                lib.rdc_options_set(options, name.encode(), _options.text(value))
        if not _wait_callback.installed:
            _wait_callback.install()
        handle = lib.rdc_create_with(options)
        if _wait_callback.pending:
            _wait_callback.raise_pending(lib.rdc_close, handle)
        return handle
    finally:
        lib.rdc_options_free(options)
