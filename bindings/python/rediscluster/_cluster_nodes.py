"""The nodes of the cluster as redis-py describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from redis.cluster import ClusterNode

from .exceptions import DataError, SlotNotCoveredError

if TYPE_CHECKING:
    from ._cluster_view import ClusterView


class Node(ClusterNode):
    """A node of a client. Its connections belong to the library."""

    def __init__(self, client: ClusterView, address: str, role: str | None) -> None:
        host, _, port = address.rpartition(":")
        # The path of a unix socket has no port.
        is_path = address.startswith("/")
        self.host: str = address if is_path else host
        self.port: int = 0 if is_path else int(port)
        self.name = address
        self.server_type = role
        self._client = client

    @property
    def redis_connection(self) -> Any:
        """redis-py's own client of this node, with connections of its own."""
        return self._client.get_redis_connection(self)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Runs a command at this node: a coroutine, if the client is asynchronous."""
        client: Any = self._client
        return client.execute_command(*args, target_nodes=self, **options)

    def __repr__(self) -> str:
        return (
            f"[host={self.host},port={self.port},name={self.name},server_type={self.server_type}]"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClusterNode) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __del__(self) -> None:
        """Closes nothing: the method of redis-py 4 closes redis_connection."""


class NodesManager:
    """A view of the nodes and slots, with the names of redis-py's NodesManager. It shows what the
    library knows at each access, and changes nothing."""

    def __init__(self, client: ClusterView) -> None:
        self._client = client

    @property
    def nodes_cache(self) -> dict[str, ClusterNode]:
        """The nodes by name."""
        return {node.name: node for node in self._client.get_nodes()}

    @property
    def slots_cache(self) -> dict[int, list[ClusterNode]]:
        """The nodes of each slot that has some: its primary, and then its replicas."""
        slots: dict[int, list[ClusterNode]] = {}
        for shard in self._client._shards():
            nodes = nodes_of(self._client, shard)
            for first, last in shard["slots"]:
                slots.update(dict.fromkeys(range(first, last + 1), nodes))
        return slots

    @property
    def startup_nodes(self) -> dict[str, ClusterNode]:
        """The nodes that the client was made with, by name."""
        addresses = self._client._settings.startup_nodes()
        complete = (each if _has_port(each) else f"{each}:6379" for each in addresses)
        return {each: Node(self._client, each, None) for each in complete}

    @property
    def default_node(self) -> ClusterNode | None:
        """The node of get_default_node()."""
        return self._client.get_default_node()

    @property
    def connection_kwargs(self) -> dict[str, Any]:
        """The settings of texts."""
        return self._client.get_connection_kwargs()

    def get_node(
        self, host: str | None = None, port: int | None = None, node_name: str | None = None
    ) -> ClusterNode | None:
        """The node at an address, or None."""
        return self._client.get_node(host, port, node_name)

    def get_nodes_by_server_type(self, server_type: str) -> list[ClusterNode]:
        """The nodes that are a "primary", or a "replica"."""
        return [node for node in self._client.get_nodes() if node.server_type == server_type]

    def get_node_from_slot(
        self,
        slot: int,
        read_from_replicas: bool = False,
        load_balancing_strategy: Any = None,
        server_type: str | None = None,
    ) -> ClusterNode:
        """The primary of a slot; for ``server_type="replica"``, a replica if it has one. The library
        chooses the node of a read when it is sent, so the other arguments of redis-py are refused."""
        if read_from_replicas or load_balancing_strategy is not None:
            raise DataError(
                "the library chooses the node of a read when it is sent: pass server_type, or neither "
                "read_from_replicas nor load_balancing_strategy"
            )
        nodes = nodes_of_slot(self._client, slot)
        return nodes[1] if server_type == "replica" and len(nodes) > 1 else nodes[0]

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} of {self._client!r}>"


def nodes_of(client: ClusterView, shard: Mapping[str, Any]) -> list[ClusterNode]:
    """The primary of a shard, if it has one, and its replicas."""
    primary = shard["primary"]
    first: list[ClusterNode] = [Node(client, primary["address"], "primary")] if primary else []
    return first + [Node(client, node["address"], "replica") for node in shard["replicas"]]


def nodes_of_slot(client: ClusterView, slot: int) -> list[ClusterNode]:
    """The primary of a slot, and its replicas."""
    for shard in client._shards():
        if shard["primary"] and any(first <= slot <= last for first, last in shard["slots"]):
            return nodes_of(client, shard)
    raise SlotNotCoveredError(f'Slot "{slot}" is not covered by the cluster.')


def _has_port(address: str) -> bool:
    return address.startswith("/") or ":" in address.rpartition("]")[2]
