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
    found = model.response_callbacks
    found.update(Model.CLUSTER_COMMANDS_RESPONSE_CALLBACKS)
    return found


def merges() -> dict[str, Callable[..., Any]]:
    """What redis-py makes of the responses of several nodes."""
    return dict(Model.RESULT_CALLBACKS)


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
        """The keys of all primaries, one node after the other.

        As with SCAN, a key may come twice; and one whose slot moves from a node that is still to
        be asked to one that has been may not come at all.
        """
        scan: Any = self.scan
        cursors, keys = scan(match=match, count=count, _type=_type, **kwargs)
        kwargs.pop("target_nodes", None)
        yield from keys
        for node, cursor in cursors.items():
            while cursor != 0:
                more, keys = scan(
                    cursor, match=match, count=count, _type=_type, target_nodes=node, **kwargs
                )
                yield from keys
                cursor = more[node]
