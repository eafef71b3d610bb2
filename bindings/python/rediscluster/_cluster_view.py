"""What a handle of the library knows of the cluster: nodes, slots, counters, routes."""

from __future__ import annotations

import random
from typing import Any

from redis.cluster import ClusterNode
from redis.commands.cluster import READ_COMMANDS

from . import _convert, _wait_callback
from ._cluster_nodes import NodesManager, nodes_of, nodes_of_slot
from ._commands import DEFAULT_NODE_COMMANDS
from ._native import lib
from ._redis_connection import Settings
from .exceptions import error, python_message


class ClusterView:
    """The part of a client that describes the cluster. None of it runs a command."""

    _handle: Any
    _encoding: tuple[str, str]
    _default_node: str | None
    _default_targets: dict[str, Any]
    _settings: Settings
    load_balancing_strategy: Any

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

    def explain(self, *args: Any) -> Any:
        """How a command would be routed, without running it."""
        argc, argv, lens, _alive = _convert.arguments(args, *self._encoding)
        found = self._introspect(lib.rdc_explain(self._handle, argc, argv, lens))
        if "error" in found:
            found["error"] = python_message(found["error"])
        return found

    def keyslot(self, key: Any) -> int:
        """The slot of a key."""
        data = _convert.argument(key, *self._encoding)
        return int(lib.rdc_key_slot(data, len(data)))

    def _shards(self) -> Any:
        """The known shards: none before the client has connected."""
        return self.topology()

    def get_redis_connection(self, node: ClusterNode) -> Any:
        """redis-py's own client of this node, with connections of its own and the settings of this
        client."""
        raise NotImplementedError

    def get_connection_kwargs(self) -> dict[str, Any]:
        """The settings of texts, as redis-py names them."""
        raise NotImplementedError

    @property
    def nodes_manager(self) -> NodesManager:
        """The nodes and slots, with the names of redis-py's NodesManager."""
        return NodesManager(self)

    @property
    def startup_nodes(self) -> list[ClusterNode]:
        """The nodes that the client was made with."""
        return list(self.nodes_manager.startup_nodes.values())

    def get_nodes(self) -> list[ClusterNode]:
        """Primaries, and then replicas."""
        nodes = [node for shard in self._shards() for node in nodes_of(self, shard)]
        return sorted(nodes, key=lambda node: node.server_type != "primary")

    def get_primaries(self) -> list[ClusterNode]:
        """The primaries."""
        return [node for node in self.get_nodes() if node.server_type == "primary"]

    def get_replicas(self) -> list[ClusterNode]:
        """The replicas."""
        return [node for node in self.get_nodes() if node.server_type == "replica"]

    def get_node(
        self, host: str | None = None, port: int | None = None, node_name: str | None = None
    ) -> ClusterNode | None:
        """The node at an address, or None."""
        wanted = [node_name or f"{host}:{port}"]
        if host == "localhost" and node_name is None:
            wanted.append(f"127.0.0.1:{port}")
        return next((node for node in self.get_nodes() if node.name in wanted), None)

    def get_random_node(self) -> ClusterNode:
        """Any node."""
        return random.choice(self.get_nodes())

    def get_random_primary_node(self) -> ClusterNode:
        """Any primary."""
        return random.choice(self.get_primaries())

    @property
    def read_from_replicas(self) -> bool:
        """Whether replicas serve reads."""
        return bool(self.explain("GET", "")["read_from"] != "primary")

    def get_random_primary_or_all_nodes(self, command_name: str) -> ClusterNode:
        """Any node for a read, if replicas serve reads; else any primary."""
        if self.read_from_replicas and command_name in READ_COMMANDS:
            return self.get_random_node()
        return self.get_random_primary_node()

    def get_default_node(self) -> ClusterNode | None:
        """The node of set_default_node() while it is in the cluster; else a primary."""
        name = self._default_node
        chosen = None if name is None else self.get_node(node_name=name)
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
        primary, *replicas = nodes_of_slot(self, self.keyslot(key))
        return next(iter(replicas), None) if replica else primary

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
