"""Every command as a method, with the arguments and the response types of redis-py.

redis-py defines its commands as mix-ins over one method, ``execute_command()``, and the conversion
of responses as a table of callbacks by command name. Both are used here unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal

import redis
from redis.client import EMPTY_RESPONSE
from redis.cluster import RedisCluster as Model
from redis.commands import CoreCommands, RedisModuleCommands
from redis.commands.cluster import ClusterManagementCommands
from redis.exceptions import DataError

from ._convert import pairs

# The node of the slot that is the second argument.
NODE_OF_SLOT = "slot-id"

# Targets of commands that redis-py sends elsewhere than the library does by default: to one node
# instead of several, or to each primary instead of one node; to the default node or that of a slot,
# where the library asks for a node; SCAN to every primary, with a cursor for each.
DEFAULT_TARGETS = {
    "BGSAVE": Model.DEFAULT_NODE,
    "CLIENT KILL": Model.DEFAULT_NODE,
    "CLIENT PAUSE": Model.DEFAULT_NODE,
    "CLIENT UNBLOCK": Model.DEFAULT_NODE,
    "CLIENT UNPAUSE": Model.DEFAULT_NODE,
    "CLUSTER DELSLOTS": NODE_OF_SLOT,
    "CLUSTER DELSLOTSRANGE": NODE_OF_SLOT,
    "CLUSTER SETSLOT": NODE_OF_SLOT,
    "FUNCTION LIST": "primaries",
    "INFO": "random",
    "LATENCY HISTORY": "random",
    "LATENCY LATEST": "random",
    "MEMORY MALLOC-STATS": "random",
    "MEMORY STATS": "random",
    "SAVE": Model.DEFAULT_NODE,
    "SCAN": "primaries",
}

# A target that redis-py does not have: the library routes the command.
LIBRARY_ROUTED = "cluster"

# Targets of the commands without a key for which redis-py-cluster returns a dict of each node's
# response. Commands whose responses it merges, such as KEYS and SCRIPT LOAD, are merged anyway.
PER_NODE_TARGETS = {
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

# The commands that go to the node of set_default_node(), as in redis-py.
DEFAULT_NODE_COMMANDS = {
    name: Model.DEFAULT_NODE
    for name, target in Model.COMMAND_FLAGS.items()
    if target == Model.DEFAULT_NODE
}

Callbacks = Any  # redis-py's case-insensitive dict of Callable[..., Any]


def response_callbacks(protocol: int, legacy_responses: bool | None) -> Callbacks:
    """redis-py's conversions of responses, by command."""
    chosen: dict[str, Any] = {}
    if legacy_responses is not None:
        if "legacy_responses" not in signature(redis.Redis).parameters:
            raise DataError("the argument legacy_responses needs redis-py 8")
        chosen["legacy_responses"] = legacy_responses
    # A client of redis-py connects at its first command, so this one never does.
    if hasattr(redis.Redis, "RESPONSE_CALLBACKS"):  # redis-py 4, which speaks RESP2 alone
        if protocol != 2:
            raise DataError(
                f"protocol {protocol} needs redis-py 5 or later: install it, or use protocol 2"
            )
        model = redis.Redis()
    else:
        model = redis.Redis(protocol=protocol, **chosen)
    table: Any = model.response_callbacks
    table.update(Model.CLUSTER_COMMANDS_RESPONSE_CALLBACKS)
    if protocol == 2:
        table["HGETALL"] = pairs
    return table


def default_targets(per_node: bool) -> dict[str, Any]:
    """The targets of commands that the library would send elsewhere. What redis-py-cluster does not
    know goes where redis-py sends it."""
    return {**DEFAULT_TARGETS, **PER_NODE_TARGETS} if per_node else DEFAULT_TARGETS


def merge_callbacks(per_node: bool) -> dict[str, Callable[..., Any]]:
    """The conversions of the responses of several nodes, by redis-py or by redis-py-cluster."""
    table: dict[str, Callable[..., Any]] = dict(Model.RESULT_CALLBACKS)
    if per_node:
        table.update(dict.fromkeys(PER_NODE_TARGETS, _by_node))
    return table


def _by_node(_: str, responses: dict[str, Any], **__: Any) -> dict[str, Any]:
    return responses


class CommandArguments:
    """The methods whose arguments differ from those of redis-py's mix-ins, which follow in the order
    of base classes and have what is called here. Each method returns what execute_command() returns,
    so that an asynchronous client awaits it."""

    _event_dispatcher: Any = None

    def execute_command(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError

    def get_connection_kwargs(self) -> dict[str, Any]:
        raise NotImplementedError

    if not TYPE_CHECKING:  # the annotations are those of redis-py

        def set(self, name: Any, value: Any, *args: Any, **options: Any) -> Any:
            """redis-py's method, without its checks where there is no option."""
            if args or options:
                return super().set(name, value, *args, **options)
            return self.execute_command("SET", name, value)

    # Without keys these return what redis-py's RedisCluster returns, and nothing is sent. redis-py
    # itself marks mget([]) in this way.

    def delete(self, *names: Any) -> Any:
        return super().delete(*names) if names else self._without_keys("DEL")  # type: ignore[misc]

    def exists(self, *names: Any) -> Any:
        return super().exists(*names) if names else self._without_keys("EXISTS")  # type: ignore[misc]

    def touch(self, *args: Any) -> Any:
        return super().touch(*args) if args else self._without_keys("TOUCH")  # type: ignore[misc]

    def unlink(self, *names: Any) -> Any:
        return super().unlink(*names) if names else self._without_keys("UNLINK")  # type: ignore[misc]

    def _without_keys(self, name: str) -> Any:
        return self.execute_command(name, **{EMPTY_RESPONSE: 0})

    def geoadd(self, name: Any, values: Any, *more: Any, **options: Any) -> Any:
        """``values`` is a sequence of longitude, latitude and member, repeated; or each of these is
        an argument, as in redis-py 3."""
        if isinstance(values, (list, tuple)):
            return super().geoadd(name, values, *more, **options)  # type: ignore[misc]
        return super().geoadd(name, (values, *more), **options)  # type: ignore[misc]

    def readonly(self, *args: Any, **options: Any) -> Any:
        """Is refused: other threads use the same connections."""
        return self.execute_command("READONLY", *args, **options)

    def readwrite(self, *args: Any, **options: Any) -> Any:
        """Is refused: other threads use the same connections."""
        return self.execute_command("READWRITE", *args, **options)

    def mget_nonatomic(self, keys: Any, *args: Any) -> Any:
        """The same as MGET, which the library splits by node anyway."""
        return self.mget(keys, *args)  # type: ignore[attr-defined]


class Commands(  # pyright: ignore[reportIncompatibleMethodOverride]
    CommandArguments, ClusterManagementCommands, RedisModuleCommands, CoreCommands
):
    """The base class of the client and of pipelines."""

    # redis-py's annotations use this to tell a synchronous client from an asynchronous one.
    _is_async_client: Literal[False] = False

    def scan_iter(
        self, match: Any = None, count: int | None = None, _type: str | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """The keys of the whole cluster, or of ``target_nodes``.

        As with SCAN, a key may be returned twice. Every key that exists during the whole scan is
        returned, even while slots migrate and primaries fail over. With ``target_nodes`` this holds
        only for keys that stay at these nodes.
        """
        if "target_nodes" in kwargs:
            yield from self._scan_nodes(match=match, count=count, _type=_type, **kwargs)
            return
        scan: Any = self.scan
        cursor = 0
        while True:
            cursor, keys = scan(
                cursor, match=match, count=count, _type=_type, target_nodes=LIBRARY_ROUTED, **kwargs
            )
            yield from keys
            if cursor == 0:
                return

    def _scan_nodes(self, target_nodes: Any, **options: Any) -> Iterator[Any]:
        scan: Any = self.scan
        cursors, keys = scanned(scan(target_nodes=target_nodes, **options))
        yield from keys
        for node, cursor in cursors.items():
            while cursor != 0:
                more, keys = scanned(scan(cursor, target_nodes=node, **options))
                yield from keys
                cursor = more[node]


def scanned(found: Any) -> tuple[dict[str, int], list[Any]]:
    """The cursor of each node, and the keys of all nodes."""
    if isinstance(found, dict):
        cursors = {node: cursor for node, (cursor, _) in found.items()}
        return cursors, [key for _, keys in found.values() for key in keys]
    cursors, keys = found
    return cursors, keys
