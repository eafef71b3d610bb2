"""Every command as a method, with the arguments and the response types of redis-py.

redis-py writes its commands as mix-ins over one method, ``execute_command()``, and what becomes of
a response as a table of callbacks by name; both are used here as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import redis
from redis.cluster import RedisCluster as Model
from redis.commands import CoreCommands, RedisModuleCommands
from redis.commands.cluster import ClusterManagementCommands
from redis.exceptions import DataError

# Where redis-py's caller expects what the library would not do by itself: one node's response
# where it gives one for each; and each primary's, with a cursor for each, instead of one node's.
PLACES = {
    "INFO": "random",
    "LATENCY HISTORY": "random",
    "LATENCY LATEST": "random",
    "MEMORY MALLOC-STATS": "random",
    "MEMORY STATS": "random",
    "SCAN": "primaries",
}

# A target that is not redis-py's: the command goes wherever the library sends it.
CLUSTER = "cluster"

# Where redis-py-cluster sends what has no key, for a dict of each node's response; what it merges
# into one value, as KEYS and SCRIPT LOAD, is merged anyway.
PLACES_PER_NODE = {
    "BGREWRITEAOF": "all",
    "BGSAVE": "all",
    "CLIENT GETNAME": "all",
    "CLIENT ID": "all",
    "CLIENT KILL": "all",
    "CLIENT LIST": "all",
    "CLUSTER INFO": "all",
    "CONFIG GET": "all",
    "CONFIG RESETSTAT": "all",
    "CONFIG REWRITE": "all",
    "CONFIG SET": "all",
    "DBSIZE": "all",
    "ECHO": "all",
    "FLUSHALL": "primaries",
    "FLUSHDB": "primaries",
    "INFO": "all",
    "LASTSAVE": "all",
    "PING": "all",
    "SAVE": "all",
    "SCAN": "primaries",
    "SLOWLOG GET": "all",
    "SLOWLOG LEN": "all",
    "SLOWLOG RESET": "all",
    "TIME": "all",
}

Callbacks = Any  # redis-py's case-insensitive dict of Callable[..., Any]


def callbacks(protocol: int) -> Callbacks:
    """What redis-py makes of each command's response."""
    # Its clients connect with their first command: this one never does.
    if hasattr(redis.Redis, "RESPONSE_CALLBACKS"):  # redis-py 4, which speaks RESP2 alone
        if protocol != 2:
            raise DataError(f"protocol {protocol} needs redis-py 5 or later")
        model = redis.Redis()
    else:
        model = redis.Redis(protocol=protocol)
    found: Any = model.response_callbacks
    found.update(Model.CLUSTER_COMMANDS_RESPONSE_CALLBACKS)
    return found


def merges(per_node: bool) -> dict[str, Callable[..., Any]]:
    """What redis-py, or redis-py-cluster, makes of the responses of several nodes."""
    found: dict[str, Callable[..., Any]] = dict(Model.RESULT_CALLBACKS)
    if per_node:
        found.update(dict.fromkeys(PLACES_PER_NODE, _by_node))
    return found


def _by_node(_: str, responses: dict[str, Any], **__: Any) -> dict[str, Any]:
    return responses


class Commands(ClusterManagementCommands, RedisModuleCommands, CoreCommands):  # type: ignore[misc]
    """What the client and its pipelines have in common."""

    # By these redis-py's annotations tell a client whose commands return values, not awaitables.
    _is_async_client: Literal[False] = False
    _event_dispatcher: Any = None

    def execute_command(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError

    def mget_nonatomic(self, keys: Any, *args: Any) -> Any:
        """MGET, which asks each node for its part anyway."""
        return self.mget(keys, *args)

    def scan_iter(
        self, match: Any = None, count: int | None = None, _type: str | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """The keys of the whole cluster, or of ``target_nodes``.

        As with SCAN, a key may come twice. Every key that is there from the beginning to the end
        comes, while slots move and primaries fail; but from ``target_nodes`` only those that stay.
        """
        if "target_nodes" in kwargs:
            yield from self._scan_nodes(match=match, count=count, _type=_type, **kwargs)
            return
        scan: Any = self.scan
        cursor = 0
        while True:
            cursor, keys = scan(
                cursor, match=match, count=count, _type=_type, target_nodes=CLUSTER, **kwargs
            )
            yield from keys
            if cursor == 0:
                return

    def _scan_nodes(self, target_nodes: Any, **options: Any) -> Iterator[Any]:
        scan: Any = self.scan
        cursors, keys = _scanned(scan(target_nodes=target_nodes, **options))
        yield from keys
        for node, cursor in cursors.items():
            while cursor != 0:
                more, keys = _scanned(scan(cursor, target_nodes=node, **options))
                yield from keys
                cursor = more[node]


def _scanned(found: Any) -> tuple[dict[str, int], list[Any]]:
    """A cursor for each node, and the keys of all."""
    if isinstance(found, dict):
        cursors = {node: cursor for node, (cursor, _) in found.items()}
        return cursors, [key for _, keys in found.values() for key in keys]
    cursors, keys = found
    return cursors, keys
