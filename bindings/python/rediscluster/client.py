"""The client: a handle of the library with the methods of redis-py."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from redis.client import EMPTY_RESPONSE, NEVER_DECODE
from redis.cluster import ClusterNode
from redis.connection import Encoder  # type: ignore[attr-defined]
from redis.lock import Lock

from . import _convert, _options, _wait_callback
from ._commands import (
    DEFAULT_NODE_COMMANDS,
    DEFAULT_TARGETS,
    LIBRARY_ROUTED,
    PER_NODE_TARGETS,
    Commands,
    merge_callbacks,
    response_callbacks,
)
from ._native import ffi, lib
from .exceptions import (
    DataError,
    InvalidError,
    RedisClusterException,
    SlotNotCoveredError,
    WatchError,
    constructor_error,
    error,
)
from .pipeline import ClusterPipeline, for_callback, may_begin_again

Self = TypeVar("Self", bound="RedisCluster")


class RedisCluster(Commands):
    """A Redis or Valkey Cluster or a single server, for any number of threads at once.

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
        protocol: int = 2,
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
        url, tls = _options.tls(url, options)
        chosen: dict[str, Any] = {
            "url": url,
            "database": _options.database(url, db),
            "user": username,
            "password": _options.password_of(
                url, username, password, options.get("password_file")
            ),
            "timeout_ms": _options.milliseconds(timeout),
            "attempt_timeout_ms": _options.milliseconds(socket_timeout),
            "connect_timeout_ms": _options.milliseconds(socket_connect_timeout),
            "connections_per_node": _options.connections(max_connections),
            "client_name": client_name,
            "protocol": protocol,
            "read_from": _options.read_from(read_from_replicas, load_balancing_strategy),
            "readonly": True if readonly_mode else None,
            "split_writes": True if per_node else None,
            "address_map": _options.address_map(host_port_remap),
            "keepalive_ms": 0 if options.pop("socket_keepalive", None) is False else None,
            **tls,
            **_options.by_name(options),
        }

        self._encoding = (encoding, encoding_errors)
        self._decode = (
            _convert.text_decoder(encoding, encoding_errors) if decode_responses else None
        )
        self._default_node: str | None = None
        self.response_callbacks = response_callbacks(int(protocol))
        self.result_callbacks = merge_callbacks(per_node)
        self._default_targets = PER_NODE_TARGETS if per_node else DEFAULT_TARGETS
        self._attach(_connect(chosen))
        if address_remap is not None:
            self._remap(address_remap, chosen)

    def _remap(self, address_remap: Any, chosen: dict[str, Any]) -> None:
        """Connects again with the option for address_remap, which needs the nodes' addresses."""
        chosen["address_map"] = _options.remapped(address_remap, self.get_nodes())
        if chosen["address_map"] is not None:
            self.close()
            self._attach(_connect(chosen))

    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> RedisCluster:
        """From a URL like "redis://user:pass@host:7000,host:7001/3?timeout_ms=500" or
        "unix:///run/redis.sock?db=3": see CONFIGURATION.md."""
        return cls(url=url, **kwargs)

    def _attach(self, handle: Any) -> None:
        """Attaches a handle of the library to this client, which closes it."""
        self._handle = ffi.gc(handle, lib.rdc_close)
        c_message = lib.rdc_client_error(handle)
        if c_message != ffi.NULL:
            message = ffi.string(c_message).decode("utf-8", "replace")
            raise constructor_error(message)

    def with_options(self, **options: Any) -> RedisCluster:
        """A derived client on the same connections with other options, those that CONFIGURATION.md
        marks as per handle: ``rc.with_options(read_from="replica", timeout_ms=200)``."""
        if not options:
            raise TypeError("with_options() needs at least one option")
        derived = object.__new__(type(self))
        derived.__dict__.update(self.__dict__)
        derived.response_callbacks = self.response_callbacks.copy()
        derived.result_callbacks = self.result_callbacks.copy()
        for name, value in options.items():
            derived._attach(lib.rdc_with(derived._handle, name.encode(), _options.text(value)))
        return derived

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

    def close(self) -> None:
        """Ends the calls in progress in other threads. They and all later calls raise."""
        lib.rdc_close(self._handle)

    def interrupt(self) -> None:
        """Ends the calls in progress in other threads, with InterruptedCall. The client keeps
        working."""
        lib.rdc_interrupt(self._handle)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        nodes = ", ".join(node.name for node in self.get_primaries())
        return f"<{type(self).__module__}.{type(self).__name__}({nodes})>"

    # ---- Commands --------------------------------------------------------------------------------

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Runs any command. ``target_nodes`` sets the target: "primaries", "replicas", "all",
        "random", "slot:N", "key:K", "host:port", a ClusterNode, or several of these."""
        if options or args[0] in self._default_targets:
            return self._execute(args, options)
        # The short path of most commands. (A KeyboardInterrupt that is raised between the return of
        # the call and the next statement leaks the reply.)
        if not _wait_callback.installed:
            _wait_callback.install()
        wire = _convert.encode(args, *self._encoding)
        reply = lib.rdc_command_resp(self._handle, wire, len(wire))
        if _wait_callback.pending:
            _wait_callback.raise_pending(lib.rdc_reply_free, reply)
        try:
            value = _convert.read(reply, self._decode)
        finally:
            lib.rdc_reply_free(reply)
        if isinstance(value, Exception):
            raise value
        callback = self.response_callbacks.get(args[0])
        return value if callback is None else callback(value)

    def _execute(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if not _wait_callback.installed:
            _wait_callback.install()
        name = args[0]
        if EMPTY_RESPONSE in options:
            return options[EMPTY_RESPONSE]
        target = options.pop("target_nodes", None) or self._default_targets.get(name)
        if target is None or target == LIBRARY_ROUTED:
            wire = _convert.encode(args, *self._encoding)
            reply = lib.rdc_command_resp(self._handle, wire, len(wire))
            return self._convert_reply(reply, _convert.read, name, options)
        values: dict[str, Any] = {}
        for destination in self._destinations(target):
            argc, argv, lens, _alive = _convert.arguments(args, *self._encoding)
            reply = lib.rdc_command_to(self._handle, destination.encode(), argc, argv, lens)
            if destination in (self.PRIMARIES, self.REPLICAS, self.ALL_NODES):
                values.update(self._convert_reply(reply, _convert.per_node, name, dict(options)))
            else:
                address = _convert.node(reply) or destination
                values[address] = self._convert_reply(reply, _convert.read, name, dict(options))
        merge = self.result_callbacks.get(name)
        if merge is not None:
            return merge(name, values, **options)
        return next(iter(values.values())) if len(values) == 1 else values

    def _destinations(self, target: Any) -> list[str]:
        """redis-py's target_nodes as targets of rdc_command_to()."""
        if isinstance(target, str):
            if target == self.DEFAULT_NODE:
                node = self.get_default_node()
                target = node.name if node else self.RANDOM
            return [target]
        if isinstance(target, Mapping):
            target = target.values()
        elif not isinstance(target, (list, tuple, set, frozenset)):
            target = [target]
        return [node if isinstance(node, str) else node.name for node in target]

    def _convert_reply(
        self, reply: Any, read: Callable[..., Any], name: Any, options: dict[str, Any]
    ) -> Any:
        """Converts a reply, or the replies of several nodes, to redis-py's response."""
        if _wait_callback.pending:
            _wait_callback.raise_pending(lib.rdc_reply_free, reply)
        decode = None if NEVER_DECODE in options else self._decode
        try:
            value = read(reply, decode)
        finally:
            lib.rdc_reply_free(reply)
        if read is _convert.per_node and isinstance(value, dict):
            return {node: self._apply_callback(each, name, options) for node, each in value.items()}
        return self._apply_callback(value, name, options)

    def _apply_callback(self, value: Any, name: Any, options: dict[str, Any]) -> Any:
        if isinstance(value, Exception):
            raise value
        callback = self.response_callbacks.get(name)
        if callback is None:
            return value
        return callback(value, **for_callback(options))

    def set_response_callback(self, command: str, callback: Callable[..., Any]) -> None:
        """Sets the conversion of a command's response, for this client and its later pipelines."""
        self.response_callbacks[command] = callback

    def set_result_callback(self, command: str, callback: Callable[..., Any]) -> None:
        """Sets the conversion of the responses of several nodes: ``callback(command, responses)``
        with a dict by node."""
        self.result_callbacks[command] = callback

    def pipeline(
        self,
        transaction: bool | None = None,
        shard_hint: None = None,
        read_from_replicas: bool = False,
    ) -> ClusterPipeline:
        """Commands to send together; with ``transaction``, atomically, and in one slot."""
        if shard_hint is not None:
            raise RedisClusterException(
                "shard_hint is not supported: the library routes each command; remove the argument"
            )
        client = self.with_options(read_from="any") if read_from_replicas else self
        return ClusterPipeline(client, bool(transaction))

    def transaction(
        self,
        func: Callable[[ClusterPipeline], Any],
        *watches: Any,
        shard_hint: None = None,
        value_from_callable: bool = False,
        watch_delay: float | None = None,
    ) -> Any:
        """Calls ``func(pipe)`` and executes, and repeats both while a watched key was changed or
        the watch was lost. An error after which the transaction may have run is raised."""
        losses = 0
        with self.pipeline(True, shard_hint) as pipe:
            while True:
                try:
                    if watches:
                        pipe.watch(*watches)
                    value = func(pipe)
                    results = pipe.execute()
                    return value if value_from_callable else results
                except WatchError as exception:
                    pipe.reset()
                    # The library's errors have a code: the watch was lost, no key was changed.
                    losses += hasattr(exception, "code")
                    if hasattr(exception, "code") and not may_begin_again(losses):
                        raise
                    if watch_delay:
                        time.sleep(watch_delay)

    def select(self, index: int, **_: Any) -> Any:
        """Raises DataError: other threads use the same connections."""
        raise DataError(
            f"select() would change the database of every thread: pass db={index} to the "
            f"constructor, or use with_options(database={index})"
        )

    def mset_nonatomic(self, mapping: Mapping[Any, Any]) -> list[bool]:
        """One SET per pair, in one pipeline."""
        with self.pipeline() as pipe:
            for key, value in mapping.items():
                pipe.set(key, value)
            return pipe.execute()

    def lock(self, name: str, *args: Any, lock_class: type | None = None, **kwargs: Any) -> Any:
        """redis-py's Lock, with its arguments."""
        return (lock_class or Lock)(self, name, *args, **kwargs)

    # ---- Introspection ---------------------------------------------------------------------------

    def _introspect(self, reply: Any) -> Any:
        if _wait_callback.pending:
            _wait_callback.raise_pending(lib.rdc_reply_free, reply)
        try:
            value = _convert.read(reply, bytes.decode)
        finally:
            lib.rdc_reply_free(reply)
        if isinstance(value, Exception):
            raise value
        return value

    def topology(self) -> Any:
        """The known shards: a list of dicts with "slots", "primary" and "replicas"."""
        return self._introspect(lib.rdc_topology(self._handle))

    def stats(self) -> Any:
        """The counters of STATISTICS.md, by name."""
        return self._introspect(lib.rdc_stats(self._handle))

    def refresh(self) -> None:
        """Fetches the topology now. This is rarely needed: the library does it by itself."""
        self._introspect(lib.rdc_refresh(self._handle))

    def explain(self, *args: Any) -> Any:
        """How a command would be routed, without running it."""
        argc, argv, lens, _alive = _convert.arguments(args, *self._encoding)
        return self._introspect(lib.rdc_explain(self._handle, argc, argv, lens))

    def keyslot(self, key: Any) -> int:
        """The slot of a key."""
        data = _convert.argument(key, *self._encoding)
        return int(lib.rdc_key_slot(data, len(data)))

    def _shards(self) -> Any:
        """The shards. A client that has not connected yet connects, as redis-py does."""
        shards = self.topology()
        if not shards:
            self.refresh()
            shards = self.topology()
        return shards

    def get_primaries(self) -> list[ClusterNode]:
        """The primaries, as redis-py describes them."""
        return [_node(shard["primary"], "primary") for shard in self._shards() if shard["primary"]]

    def get_replicas(self) -> list[ClusterNode]:
        """The replicas."""
        return [_node(node, "replica") for shard in self._shards() for node in shard["replicas"]]

    def get_nodes(self) -> list[ClusterNode]:
        """Primaries and replicas."""
        return self.get_primaries() + self.get_replicas()

    def get_node(
        self, host: str | None = None, port: int | None = None, node_name: str | None = None
    ) -> ClusterNode | None:
        """The node at an address, or None."""
        wanted = node_name or f"{'127.0.0.1' if host == 'localhost' else host}:{port}"
        return next((node for node in self.get_nodes() if node.name == wanted), None)

    def get_random_node(self) -> ClusterNode:
        """Any node."""
        return random.choice(self.get_nodes())

    def get_random_primary_node(self) -> ClusterNode:
        """Any primary."""
        return random.choice(self.get_primaries())

    def get_default_node(self) -> ClusterNode | None:
        """The node of set_default_node() while it is in the cluster; else a primary."""
        chosen = self._default_node and self.get_node(node_name=self._default_node)
        return chosen or next(iter(self.get_primaries()), None)

    def set_default_node(self, node: ClusterNode | None) -> bool:
        """Sends the commands without a key that redis-py sends to its default node, such as INFO
        and CONFIG SET, to this node from now on. Returns False if it is not in the cluster."""
        if node is None or self.get_node(node_name=node.name) is None:
            return False
        self._default_node = node.name
        self._default_targets = {**self._default_targets, **DEFAULT_NODE_COMMANDS}
        return True

    def replace_default_node(self, target_node: ClusterNode | None = None) -> None:
        """The same with another node than the default one, a primary if possible."""
        current = self.get_default_node()
        others = [node for node in self.get_primaries() if node != current]
        others = others or [node for node in self.get_replicas() if node != current]
        self.set_default_node(target_node or (random.choice(others) if others else None))

    def get_node_from_key(self, key: Any, replica: bool = False) -> ClusterNode | None:
        """The primary of a key's slot, or one of its replicas, or None if it has no replica."""
        slot = self.keyslot(key)
        for shard in self._shards():
            if any(first <= slot <= last for first, last in shard["slots"]):
                if replica:
                    return next((_node(node, "replica") for node in shard["replicas"]), None)
                if shard["primary"]:
                    return _node(shard["primary"], "primary")
        raise SlotNotCoveredError(f"no primary of slot {slot} is known")

    def get_nodes_from_slot(self, command: str, *args: Any) -> list[ClusterNode]:
        """The nodes that may get a command. ``args`` includes its name."""
        nodes = self.get_nodes()
        names = self.explain(*args)["nodes"]
        return [node for node in nodes if node.name in names]

    def determine_slot(self, *args: Any) -> int | None:
        """The slot of a command's keys; None without keys. Raises if there are several slots."""
        slots = self.explain(*args)["slots"]
        if len(slots) > 1:
            message = f"CROSSSLOT the keys of {args[0]} are in {len(slots)} slots"
            raise error("CROSSSLOT", message, False, None)
        return slots[0] if slots else None

    def get_connection_kwargs(self) -> dict[str, Any]:
        """The settings of texts, as redis-py names them."""
        encoding, errors = self._encoding
        return {
            "encoding": encoding,
            "encoding_errors": errors,
            "decode_responses": self._decode is not None,
        }

    def get_encoder(self) -> Encoder:
        """redis-py's encoder with the same settings."""
        make: Any = Encoder
        return cast(Encoder, make(*self._encoding, self._decode is not None))


class StrictRedisCluster(RedisCluster):
    """The class of the first releases of redis-py-cluster, with their per-node responses."""

    _is_per_node = True


def _connect(chosen: dict[str, Any]) -> Any:
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


def _node(node: Mapping[str, Any], role: str) -> ClusterNode:
    address = node["address"]
    make: Any = ClusterNode
    if address.startswith("/"):
        # The path of a unix socket, which has no port.
        described = make(address, 0, role)
        described.name = address
        return cast(ClusterNode, described)
    host, _, port = address.rpartition(":")
    return cast(ClusterNode, make(host, int(port), role))
