"""The client: a handle of the library with redis-py's methods on it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from redis.client import EMPTY_RESPONSE, NEVER_DECODE
from redis.cluster import ClusterNode
from redis.connection import Encoder  # type: ignore[attr-defined]
from redis.lock import Lock

from . import _convert, _signals
from ._commands import CLUSTER, PLACES, PLACES_PER_NODE, Commands, callbacks, merges
from ._native import ffi, lib
from .exceptions import ClusterUnreachable, RedisClusterException, ResponseError, WatchError, error
from .pipeline import ClusterPipeline, for_callback

Self = TypeVar("Self", bound="RedisCluster")

# redis-py's arguments for what the library does by itself.
_WITHOUT_EFFECT = frozenset(
    (
        "cluster_error_retry_attempts",
        "driver_info",
        "dynamic_startup_nodes",
        "health_check_interval",
        "lib_name",
        "lib_version",
        "reinitialize_steps",
        "require_full_coverage",
        "retry",
        "retry_on_error",
        "retry_on_timeout",
        "socket_keepalive_options",
    )
)

# And redis-py-cluster's, which redis-py has not: by them it is known who is calling.
_PER_NODE = frozenset(
    (
        "cluster_down_retry_attempts",
        "init_slot_cache",
        "max_connections_per_node",
        "nodemanager_follow_cluster",
        "skip_full_coverage_check",
    )
)


class RedisCluster(Commands):
    """A Redis or Valkey Cluster, for any number of threads at once.

    Named by ``host`` and ``port``, by ``startup_nodes`` (dicts with "host" and "port",
    ClusterNodes, or "host:port"), or by ``url``; any node that lives is enough. Times are seconds:
    ``timeout`` for a whole call, ``socket_timeout`` for one node's answer,
    ``socket_connect_timeout`` for a new connection. ``readonly_mode`` spreads reads over primaries
    and replicas and refuses whatever is not a read; ``read_from_replicas`` does the first alone.
    Every option of CONFIGURATION.md may be given by its name.

    ``per_node`` gives a dict of each node's response for commands like ``ping()`` and ``dbsize()``,
    and a ``mset()`` over several nodes, as redis-py-cluster does. It is the default where it is seen
    that this was written for redis-py-cluster: startup nodes are dicts, or its arguments are given.
    """

    PRIMARIES = "primaries"
    REPLICAS = "replicas"
    ALL_NODES = "all"
    RANDOM = "random"
    DEFAULT_NODE = "default-node"

    _is_per_node = False

    def __init__(
        self,
        host: str | None = None,
        port: int | str = 6379,
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
        per_node: bool | None = None,
        timeout: float | None = None,
        socket_timeout: float | None = None,
        socket_connect_timeout: float | None = None,
        max_connections: int | None = None,
        client_name: str | None = None,
        protocol: int = 2,
        **options: Any,
    ) -> None:
        if options.pop("db", None):
            raise RedisClusterException("a cluster has one database: no db")
        named = list(startup_nodes or ())
        if per_node is None:
            per_node = (
                self._is_per_node
                or readonly_mode is not None
                or not _PER_NODE.isdisjoint(options)
                or any(isinstance(node, Mapping) for node in named)
            )
        nodes = [_name(node) for node in named]
        if host is not None:
            nodes.append(_address(host, port))
        if url is None and not nodes:
            raise RedisClusterException("RedisCluster needs a host, startup_nodes or a url")
        chosen: dict[str, Any] = {
            "url": url if url is not None else "redis://" + ",".join(nodes),
            "user": username,
            "password": password,
            "timeout_ms": _milliseconds(timeout),
            "attempt_timeout_ms": _milliseconds(socket_timeout),
            "connect_timeout_ms": _milliseconds(socket_connect_timeout),
            "connections_per_node": max_connections,
            "client_name": client_name,
            "protocol": protocol,
            "read_from": "any" if read_from_replicas else None,
            "readonly": True if readonly_mode else None,
            "split_writes": True if per_node else None,
            "address_map": _address_map(options.pop("host_port_remap", None)),
            "keepalive_ms": 0 if options.pop("socket_keepalive", None) is False else None,
        }
        ignored = _WITHOUT_EFFECT | _PER_NODE
        chosen.update((k, v) for k, v in options.items() if k not in ignored)

        self._encoding = (encoding, encoding_errors)
        self._text = _convert.text(encoding, encoding_errors) if decode_responses else None
        self.response_callbacks = callbacks(int(protocol))
        self.result_callbacks = merges(per_node)
        self._places = PLACES_PER_NODE if per_node else PLACES
        self._take(_connect(chosen))

    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> RedisCluster:
        """As "redis://user:pass@host:7000,host:7001?timeout_ms=500" says: see CONFIGURATION.md."""
        return cls(url=url, **kwargs)

    def _take(self, handle: Any) -> None:
        """Owns a handle of the library from now on."""
        self._handle = ffi.gc(handle, lib.rdc_close)
        words = lib.rdc_client_error(handle)
        if words != ffi.NULL:
            text = ffi.string(words).decode("utf-8", "replace")
            code = text.split(" ", 1)[0]
            raised = error(code, text, False, None)
            if code == "CONNECT":
                raised = ClusterUnreachable(text)
                raised.code, raised.sent, raised.node = code, False, None  # type: ignore[attr-defined]
            raise raised

    def with_options(self, **options: Any) -> RedisCluster:
        """Another handle on the same cluster and connections with other options, those that
        CONFIGURATION.md marks as twin: ``rc.with_options(read_from="replica", timeout_ms=200)``."""
        if not options:
            raise TypeError("with_options() needs an option")
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.response_callbacks = self.response_callbacks.copy()
        twin.result_callbacks = self.result_callbacks.copy()
        for name, value in options.items():
            twin._take(lib.rdc_with(twin._handle, name.encode(), _option(value)))
        return twin

    def close(self) -> None:
        """Ends the calls that other threads have under way; every later one raises."""
        lib.rdc_close(self._handle)

    def interrupt(self) -> None:
        """Ends the calls that other threads have under way, with InterruptedCall; the client goes
        on working."""
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
        """Any command. ``target_nodes`` may name where it goes: "primaries", "replicas", "all",
        "random", "slot:N", "key:K", "host:port", a ClusterNode, or several of these."""
        if options or args[0] in self._places:
            return self._execute(args, options)
        # What most commands take, and nothing else. (A KeyboardInterrupt that is raised between a
        # call's end and what follows leaves the reply that had come: it is then not freed.)
        if not _signals.ready:
            _signals.prepare()
        wire = _convert.encode(args, *self._encoding)
        reply = lib.rdc_command_resp(self._handle, wire, len(wire))
        if _signals.raised:
            _signals.settle(lib.rdc_reply_free, reply)
        try:
            value = _convert.read(reply, self._text)
        finally:
            lib.rdc_reply_free(reply)
        if isinstance(value, Exception):
            raise value
        callback = self.response_callbacks.get(args[0])
        return value if callback is None else callback(value)

    def _execute(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if not _signals.ready:
            _signals.prepare()
        name = args[0]
        target = options.pop("target_nodes", None) or self._places.get(name)
        if target is None or target == CLUSTER:
            wire = _convert.encode(args, *self._encoding)
            reply = lib.rdc_command_resp(self._handle, wire, len(wire))
            return self._answer(reply, _convert.read, name, options)
        values: dict[str, Any] = {}
        for where in _targets(target):
            argc, argv, lens, _alive = _convert.arguments(args, *self._encoding)
            reply = lib.rdc_command_to(self._handle, where.encode(), argc, argv, lens)
            if where in (self.PRIMARIES, self.REPLICAS, self.ALL_NODES):
                values.update(self._answer(reply, _convert.per_node, name, dict(options)))
            else:
                place = _convert.node(reply) or where
                values[place] = self._answer(reply, _convert.read, name, dict(options))
        merge = self.result_callbacks.get(name)
        if merge is not None:
            return merge(name, values, **options)
        return next(iter(values.values())) if len(values) == 1 else values

    def _answer(
        self, reply: Any, read: Callable[..., Any], name: Any, options: dict[str, Any]
    ) -> Any:
        """What redis-py makes of a reply, or of those of several nodes."""
        if _signals.raised:
            _signals.settle(lib.rdc_reply_free, reply)
        text = None if NEVER_DECODE in options else self._text
        try:
            value = read(reply, text)
        finally:
            lib.rdc_reply_free(reply)
        if read is _convert.per_node and isinstance(value, dict):
            return {node: self._respond(each, name, options) for node, each in value.items()}
        return self._respond(value, name, options)

    def _respond(self, value: Any, name: Any, options: dict[str, Any]) -> Any:
        if isinstance(value, Exception):
            if EMPTY_RESPONSE in options and isinstance(value, ResponseError):
                return options[EMPTY_RESPONSE]
            raise value
        callback = self.response_callbacks.get(name)
        if callback is None:
            return value
        # "keys" is for redis-py's cache alone.
        return callback(value, **for_callback(options))

    def set_response_callback(self, command: str, callback: Callable[..., Any]) -> None:
        """What this handle, and pipelines made from now on, shall make of a command's response."""
        self.response_callbacks[command] = callback

    def pipeline(self, transaction: bool | None = None, shard_hint: None = None) -> ClusterPipeline:
        """Commands to be sent together; with ``transaction`` all or none of them, in one slot."""
        if shard_hint is not None:
            raise RedisClusterException("a pipeline finds its nodes by itself: no shard_hint")
        return ClusterPipeline(self, bool(transaction))

    def transaction(
        self,
        func: Callable[[ClusterPipeline], Any],
        *watches: Any,
        shard_hint: None = None,
        value_from_callable: bool = False,
        watch_delay: float | None = None,
    ) -> Any:
        """Calls ``func(pipe)`` and executes, again as long as a watched key was changed."""
        with self.pipeline(True, shard_hint) as pipe:
            while True:
                try:
                    if watches:
                        pipe.watch(*watches)
                    value = func(pipe)
                    results = pipe.execute()
                    return value if value_from_callable else results
                except WatchError:
                    if watch_delay:
                        time.sleep(watch_delay)

    def mset_nonatomic(self, mapping: Mapping[Any, Any]) -> list[bool]:
        """SET for each pair, in one pipeline."""
        with self.pipeline() as pipe:
            for key, value in mapping.items():
                pipe.set(key, value)
            return pipe.execute()

    def lock(self, name: str, *args: Any, lock_class: type | None = None, **kwargs: Any) -> Any:
        """redis-py's Lock, with its arguments."""
        return (lock_class or Lock)(self, name, *args, **kwargs)

    # ---- Looking inside --------------------------------------------------------------------------

    def _look(self, reply: Any) -> Any:
        if _signals.raised:
            _signals.settle(lib.rdc_reply_free, reply)
        try:
            value = _convert.read(reply, bytes.decode)
        finally:
            lib.rdc_reply_free(reply)
        if isinstance(value, Exception):
            raise value
        return value

    def topology(self) -> Any:
        """The cluster as it is known: a list of shards with "slots", "primary" and "replicas"."""
        return self._look(lib.rdc_topology(self._handle))

    def stats(self) -> Any:
        """Counters, by name."""
        return self._look(lib.rdc_stats(self._handle))

    def refresh(self) -> None:
        """Learns the topology again, now. There is no need to."""
        self._look(lib.rdc_refresh(self._handle))

    def explain(self, *args: Any) -> Any:
        """What would be done with a command, without doing it."""
        argc, argv, lens, _alive = _convert.arguments(args, *self._encoding)
        return self._look(lib.rdc_explain(self._handle, argc, argv, lens))

    def keyslot(self, key: Any) -> int:
        """The slot of a key."""
        data = _convert.argument(key, *self._encoding)
        return int(lib.rdc_key_slot(data, len(data)))

    def get_primaries(self) -> list[ClusterNode]:
        """The primaries, as redis-py describes them."""
        return [_node(shard["primary"], "primary") for shard in self.topology() if shard["primary"]]

    def get_replicas(self) -> list[ClusterNode]:
        """The replicas."""
        return [_node(node, "replica") for shard in self.topology() for node in shard["replicas"]]

    def get_nodes(self) -> list[ClusterNode]:
        """Primaries and replicas."""
        return self.get_primaries() + self.get_replicas()

    def get_node(
        self, host: str | None = None, port: int | None = None, node_name: str | None = None
    ) -> ClusterNode | None:
        """The node at an address, if the cluster has it."""
        wanted = node_name or f"{'127.0.0.1' if host == 'localhost' else host}:{port}"
        return next((node for node in self.get_nodes() if node.name == wanted), None)

    def get_random_node(self) -> ClusterNode:
        """Any node."""
        return random.choice(self.get_nodes())

    def get_default_node(self) -> ClusterNode | None:
        """A primary: redis-py's clients have one for what has no key."""
        return next(iter(self.get_primaries()), None)

    def get_node_from_key(self, key: Any, replica: bool = False) -> ClusterNode | None:
        """The primary that serves a key, or one of its replicas."""
        slot = self.keyslot(key)
        for shard in self.topology():
            if any(first <= slot <= last for first, last in shard["slots"]):
                if replica:
                    return next((_node(node, "replica") for node in shard["replicas"]), None)
                return _node(shard["primary"], "primary") if shard["primary"] else None
        return None

    def get_encoder(self) -> Encoder:
        """redis-py's encoder of the same settings."""
        make: Any = Encoder
        return cast(Encoder, make(*self._encoding, self._text is not None))


class StrictRedisCluster(RedisCluster):
    """The class's name in the first releases of redis-py-cluster, whose ways it has."""

    _is_per_node = True


def _connect(chosen: dict[str, Any]) -> Any:
    options = lib.rdc_options_new()
    try:
        for name, value in chosen.items():
            if value is not None:
                # What is wrong with it is said by the client that is made of it.
                lib.rdc_options_set(options, name.encode(), _option(value))
        if not _signals.ready:
            _signals.prepare()
        handle = lib.rdc_create_with(options)
        if _signals.raised:
            _signals.settle(lib.rdc_close, handle)
        return handle
    finally:
        lib.rdc_options_free(options)


def _option(value: Any) -> bytes:
    return (("yes" if value else "no") if isinstance(value, bool) else str(value)).encode()


def _milliseconds(seconds: float | None) -> int | None:
    # Less than a millisecond is one, not none.
    return None if seconds is None else max(1, round(seconds * 1000)) if seconds > 0 else 0


def _address(host: str, port: int | str) -> str:
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _name(node: Any) -> str:
    """A startup node as a URL writes it."""
    if isinstance(node, str):
        return node
    if isinstance(node, Mapping):
        return _address(node["host"], node.get("port", 6379))
    return _address(node.host, node.port)


def _node(node: Mapping[str, Any], role: str) -> ClusterNode:
    host, _, port = node["address"].rpartition(":")
    make: Any = ClusterNode
    return cast(ClusterNode, make(host, int(port), role))


def _address_map(remap: Iterable[Mapping[str, Any]] | None) -> str | None:
    """redis-py-cluster's host_port_remap as the option has it."""
    if remap is None:
        return None
    pairs = []
    for rule in remap:
        there, here = (
            _address(rule[f"{side}_host"], rule[f"{side}_port"])
            if f"{side}_port" in rule
            else rule[f"{side}_host"]
            for side in ("from", "to")
        )
        pairs.append(f"{there}={here}")
    return ",".join(pairs)


def _targets(target: Any) -> list[str]:
    """What redis-py takes for target_nodes, as rdc_command_to() takes it."""
    if isinstance(target, str):
        return ["random" if target == RedisCluster.DEFAULT_NODE else target]
    if isinstance(target, Mapping):
        target = target.values()
    elif not isinstance(target, (list, tuple, set, frozenset)):
        target = [target]
    return [node if isinstance(node, str) else node.name for node in target]
