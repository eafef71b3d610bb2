"""The client: a handle of the library with the methods of redis-py."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from redis import Redis
from redis.client import EMPTY_RESPONSE, NEVER_DECODE
from redis.lock import Lock

from . import _convert, _options, _wait_callback
from ._base_pubsub import Handler
from ._commands import LIBRARY_ROUTED, Commands
from ._dispatch import ClientDispatcher, own_methods
from ._handle import Handle, connect
from ._native import lib
from .exceptions import WatchError
from .pipeline import ClusterPipeline, may_begin_again
from .pubsub import PubSub

Self = TypeVar("Self", bound="RedisCluster")


@own_methods
class RedisCluster(ClientDispatcher, Handle, Commands):  # type: ignore[override]
    """A Redis or Valkey Cluster or a single server, for any number of threads at once."""

    _redis_class = Redis

    def _connect(self, chosen: dict[str, Any], address_remap: Any) -> None:
        self._attach(connect(chosen))
        if address_remap is not None:
            self._remap(address_remap, chosen)

    def _remap(self, address_remap: Any, chosen: dict[str, Any]) -> None:
        """Connects again with the option for address_remap, which needs the nodes' addresses."""
        chosen["address_map"] = _options.remapped(address_remap, self.get_nodes())
        if chosen["address_map"] is not None:
            self.close()
            self._attach(connect(chosen))

    def close(self) -> None:
        """Ends the calls in progress in other threads. They and all later calls raise."""
        lib.rdc_close(self._handle)
        while self._redis_connections:
            self._redis_connections.popitem()[1].close()

    def interrupt(self) -> None:
        """Ends the calls in progress in other threads, with InterruptedCall. The client keeps
        working."""
        lib.rdc_interrupt(self._handle)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- Commands --------------------------------------------------------------------------------

    def _execute(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Runs a command with a target, or whose response is not decoded or not received."""
        if not _wait_callback.installed:
            _wait_callback.install()
        name = args[0]
        if EMPTY_RESPONSE in options and len(args) == 1:
            return options[EMPTY_RESPONSE]
        target = options.pop("target_nodes", None) or self._default_targets.get(name)
        if target is None or target == LIBRARY_ROUTED:
            wire = _convert.encode(args, *self._encoding)
            reply = lib.rdc_command_resp(self._handle, wire, len(wire))
            return self._apply_callback(self._read(reply, _convert.read, options), name, options)
        values: dict[str, Any] = {}
        for destination in self._destinations(target, args):
            argc, argv, lens, _alive = _convert.arguments(args, *self._encoding)
            reply = lib.rdc_command_to(self._handle, destination.encode(), argc, argv, lens)
            found = self._read(reply, self._reader(destination), options)
            values.update(self._by_node(destination, found, name, options))
        return self._merge(name, values, options)

    def _read(self, reply: Any, read: Callable[..., Any], options: dict[str, Any]) -> Any:
        """The value of a reply, which is freed."""
        if _wait_callback.pending:
            _wait_callback.raise_pending(lib.rdc_reply_free, reply)
        decode = None if NEVER_DECODE in options else self._decode
        try:
            return read(reply, decode)
        finally:
            lib.rdc_reply_free(reply)

    def pipeline(
        self,
        transaction: bool | None = None,
        shard_hint: None = None,
        read_from_replicas: bool = False,
    ) -> ClusterPipeline:
        """Commands to send together; with ``transaction``, atomically, and in one slot."""
        client = self._for_pipeline(shard_hint, read_from_replicas)
        return ClusterPipeline(client, bool(transaction))

    def pubsub(
        self,
        node: None = None,
        host: None = None,
        port: None = None,
        *,
        ignore_subscribe_messages: bool = False,
        push_handler_func: Handler | None = None,
        gap_handler: Handler | None = None,
    ) -> PubSub:
        """A subscriber, with redis-py's interface. ``ignore_subscribe_messages`` drops confirmations.
        ``gap_handler`` is called instead of returning a message of the type "gap"."""
        return PubSub(
            self,
            node,
            host,
            port,
            ignore_subscribe_messages=ignore_subscribe_messages,
            push_handler_func=push_handler_func,
            gap_handler=gap_handler,
        )

    def keyspace_notifications(
        self, key_prefix: str | bytes | None = None, ignore_subscribe_messages: bool = True
    ) -> Any:
        """redis-py's KeyspaceNotifications, of all primaries. It needs redis-py 8."""
        from redis.keyspace_notifications import KeyspaceNotifications

        # The library subscribes such channels at every primary. redis-py's class for clusters would
        # make a PubSub for each.
        client: Any = self
        return KeyspaceNotifications(client, key_prefix, ignore_subscribe_messages)

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

    def mset_nonatomic(self, mapping: Mapping[Any, Any]) -> list[bool]:
        """One SET per pair, in one pipeline."""
        return self.pipeline().mset_nonatomic(mapping).execute()

    def lock(self, name: str, *args: Any, lock_class: type | None = None, **kwargs: Any) -> Any:
        """redis-py's Lock, with its arguments."""
        client: Any = self
        return (lock_class or Lock)(client, name, *args, **kwargs)

    def refresh(self) -> None:
        """Fetches the topology now. This is rarely needed: the library does it by itself."""
        self._introspect(lib.rdc_refresh(self._handle))

    def _shards(self) -> Any:
        """The shards. A client that has not connected yet connects, as redis-py does."""
        shards = self.topology()
        if not shards:
            self.refresh()
            shards = self.topology()
        return shards


class StrictRedisCluster(RedisCluster):
    """The class of the first releases of redis-py-cluster, with their per-node responses."""

    _is_per_node = True
