"""The client for asyncio: a handle of the library with the methods of redis.asyncio."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import weakref
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.client import EMPTY_RESPONSE, NEVER_DECODE
from redis.cluster import ClusterNode

from .. import _convert, _options
from .._base_pipeline import pause_before
from .._base_pubsub import Handler
from .._commands import LIBRARY_ROUTED
from .._convert import Decode
from .._handle import Handle, connect
from .._native import lib
from ..exceptions import (
    DataError,
    RedisClusterException,
    RedisError,
    WatchError,
    constructor_error,
)
from ._commands import AsyncCommands
from ._queue import Queue, Read
from .pipeline import ClusterPipeline
from .pubsub import PubSub

Self = TypeVar("Self", bound="RedisCluster")


class RedisCluster(Handle, AsyncCommands):  # type: ignore[misc, override]
    """A Redis or Valkey Cluster or a single server, for any number of tasks, event loops and threads
    at once.

    The arguments are those of the synchronous client. The constructor waits for nothing: the first
    command connects; ``await rc`` or ``async with rc`` does it at once. Each event loop that uses
    the client has a queue of its own in the library, which is freed when the loop is closed.
    """

    _redis_class = Redis

    def _connect(self, chosen: dict[str, Any], address_remap: Any) -> None:
        self._forget_queues()
        self._users = 0
        self._address_remap = address_remap
        self._chosen = {**chosen, "lazy": True}
        self._attach(connect(self._chosen))
        _clients.add(self)

    def _copy(self: Self) -> Self:
        if self._address_remap is not None:
            raise RedisClusterException(
                "address_remap needs the addresses of the nodes: await initialize() before "
                "with_options()"
            )
        copy = super()._copy()
        copy._forget_queues()
        copy._users = 0
        _clients.add(copy)
        return copy

    def _forget_queues(self) -> None:
        # By the id of the event loop, which a queue keeps alive: no other loop has the same.
        self._queues: dict[int, weakref.ref[Queue]] = {}
        self._lock = threading.Lock()

    # ---- Begin and end ---------------------------------------------------------------------------

    async def initialize(self: Self) -> Self:
        """Connects, if the client has not connected yet. Raises what the constructor of the
        synchronous client raises."""
        if not self.topology():
            try:
                # The library sends this command to connect, so every user that can connect may run
                # it. The reply does not matter.
                await self.execute_command("CLUSTER SLOTS")
            except RedisError as exception:
                if not self.topology():
                    code = getattr(exception, "code", "")
                    raise constructor_error(str(exception), code) from None
        return self

    def __await__(self: Self) -> Generator[Any, None, Self]:
        return self.initialize().__await__()

    async def __aenter__(self: Self) -> Self:
        self._users += 1
        try:
            return await self.initialize()
        except BaseException:
            self._users -= 1
            raise

    async def __aexit__(self, *_: object) -> None:
        """Closes the client at the end of the last of its ``async with`` blocks."""
        self._users -= 1
        if self._users == 0:
            await self.aclose()

    async def aclose(self) -> None:
        """Ends the commands in progress in all event loops. They and all later commands raise."""
        lib.rdc_close(self._handle)
        while self._redis_connections:
            # redis-py 4 has no aclose().
            await self._redis_connections.popitem()[1].connection_pool.disconnect()
        queue = self._queue_of(get_running_loop())
        if queue is not None:
            while queue.run():
                pass
            queue.close()
            self._queues.pop(id(get_running_loop()), None)

    close = aclose

    def __del__(self) -> None:
        for reference in getattr(self, "_queues", {}).values():
            queue = reference()
            if queue is not None:
                queue.close_soon()

    # ---- Queues ----------------------------------------------------------------------------------

    def _queue_of(self, loop: AbstractEventLoop) -> Queue | None:
        reference = self._queues.get(id(loop))
        return None if reference is None else reference()

    async def _open_queue(self) -> Queue:
        """The queue of the running loop, which its first command makes."""
        if self._address_remap is not None:
            await self._remap()
        loop = get_running_loop()
        queue = self._queue_of(loop)
        if queue is None:
            queue = Queue(self._handle, loop)
            with self._lock:
                for key in [key for key, each in self._queues.items() if each() is None]:
                    del self._queues[key]
                self._queues[id(loop)] = weakref.ref(queue)
        return queue

    async def _remap(self) -> None:
        """Connects again with the option for address_remap, which needs the nodes' addresses."""
        await self.refresh()
        with self._lock:
            if self._address_remap is None:
                return  # another task has done it
            address_map = _options.remapped(self._address_remap, self.get_nodes())
            if address_map is not None:
                # The first handle is closed when no task refreshes it any more.
                self._attach(connect({**self._chosen, "address_map": address_map}))
            self._address_remap = None

    async def _run(self, wire: bytes, read: Read, decode: Decode) -> Any:
        """Runs a command that is encoded as RESP. An error is returned and not raised."""
        queue = self._queue_of(get_running_loop()) or await self._open_queue()
        return await queue.command(wire, read, decode)

    async def refresh(self) -> None:
        """Fetches the topology now. This is rarely needed: the library does it by itself."""
        await get_running_loop().run_in_executor(None, self._refresh)

    def _refresh(self) -> None:
        self._introspect(lib.rdc_refresh(self._handle))

    # ---- Commands --------------------------------------------------------------------------------

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Runs any command. ``target_nodes`` sets the target: "primaries", "replicas", "all",
        "random", "slot:N", "key:K", "host:port", a ClusterNode, or several of these."""
        name = args[0]
        # redis-py passes the keys of reads, for its client-side cache.
        is_plain = not options or ("keys" in options and len(options) == 1)
        if not is_plain or name in self._default_targets:
            return await self._execute(args, options)
        # The short path of most commands.
        queue = self._queue_of(get_running_loop()) or await self._open_queue()
        value = await queue.command(args, _convert.read, self._decode, self._encoding)
        if isinstance(value, Exception):
            raise value
        callback = self.response_callbacks.get(name)
        return value if callback is None else callback(value)

    async def _execute(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        name = args[0]
        if EMPTY_RESPONSE in options and len(args) == 1:
            return options[EMPTY_RESPONSE]
        decode = None if NEVER_DECODE in options else self._decode
        target = options.pop("target_nodes", None) or self._default_targets.get(name)
        if target is None or target == LIBRARY_ROUTED:
            wire = _convert.encode(args, *self._encoding)
            value = await self._run(wire, _convert.read, decode)
            return self._apply_callback(value, name, options)
        if target == self.DEFAULT_NODE:
            await self.initialize()
        queue = self._queue_of(get_running_loop()) or await self._open_queue()
        destinations = self._destinations(target, args)
        targets = [(each.encode(), self._reader(each)) for each in destinations]
        argc, argv, lens, _alive = _convert.arguments(args, *self._encoding)
        found = await queue.command_to(targets, (argc, argv, lens), decode)
        values: dict[str, Any] = {}
        for destination, each in zip(destinations, found):
            values.update(self._by_node(destination, each, name, options))
        return self._merge(name, values, options)

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
        """redis-py's AsyncKeyspaceNotifications, of all primaries. It needs redis-py 8."""
        from redis.asyncio.keyspace_notifications import AsyncKeyspaceNotifications

        # The library subscribes such channels at every primary. redis-py's class for clusters would
        # make a PubSub for each.
        client: Any = self
        return AsyncKeyspaceNotifications(client, key_prefix, ignore_subscribe_messages)

    async def _before_subscriber(self) -> None:
        """Before a subscriber is made on the handle, which address_remap replaces."""
        if self._address_remap is not None:
            await self._remap()

    async def transaction(
        self,
        func: Callable[[ClusterPipeline], Any],
        *watches: Any,
        shard_hint: None = None,
        value_from_callable: bool = False,
        watch_delay: float | None = None,
    ) -> Any:
        """Calls ``func(pipe)``, which may be a coroutine function, and executes; repeats both while
        a watched key was changed or the watch was lost. An error after which the transaction may
        have run is raised."""
        losses = 0
        async with self.pipeline(True, shard_hint) as pipe:
            while True:
                try:
                    if watches:
                        await pipe.watch(*watches)
                    value = func(pipe)
                    if inspect.isawaitable(value):
                        value = await value
                    results = await pipe.execute()
                    return value if value_from_callable else results
                except WatchError as exception:
                    await pipe.reset()
                    # The library's errors have a code: the watch was lost, no key was changed.
                    if hasattr(exception, "code"):
                        losses += 1
                        pause = pause_before(losses)
                        if pause is None:
                            raise
                        await asyncio.sleep(pause)
                    if watch_delay:
                        await asyncio.sleep(watch_delay)

    async def mset_nonatomic(self, mapping: Mapping[Any, Any]) -> list[bool]:
        """One SET per pair, in one pipeline."""
        return await self.pipeline().mset_nonatomic(mapping).execute()

    def lock(self, name: str, *args: Any, lock_class: type | None = None, **kwargs: Any) -> Any:
        """redis-py's Lock, with its arguments."""
        client: Any = self
        return (lock_class or Lock)(client, name, *args, **kwargs)

    # ---- Nodes -----------------------------------------------------------------------------------

    def set_default_node(self, node: ClusterNode | None) -> bool:
        """Sends the commands without a key that redis-py sends to its default node, such as INFO
        and CONFIG SET, to this node from now on. As in redis.asyncio, raises DataError if it is not
        in the cluster."""
        if not super().set_default_node(node):
            raise DataError("The requested node does not exist in the cluster.")
        return True

    async def get_nodes_from_slot(  # type: ignore[override]
        self, command: str, *args: Any
    ) -> list[ClusterNode]:
        """The nodes that may get a command. ``args`` includes its name."""
        await self.initialize()
        return super().get_nodes_from_slot(command, *args)


# The clients that a forked child inherits.
_clients: weakref.WeakSet[RedisCluster] = weakref.WeakSet()


def _after_fork() -> None:
    """In a forked child: the queues belong to the parent, and the loops that hold them too."""
    for client in list(_clients):
        client._forget_queues()


os.register_at_fork(after_in_child=_after_fork)
