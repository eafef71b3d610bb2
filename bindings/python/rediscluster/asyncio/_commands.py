"""Every command as a coroutine, by redis-py's mix-ins for asynchronous clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal

from redis.commands import AsyncCoreCommands, AsyncRedisModuleCommands
from redis.commands.cluster import AsyncClusterManagementCommands

from .._commands import LIBRARY_ROUTED, CommandArguments, scanned


class AsyncCommands(  # type: ignore[misc]
    CommandArguments, AsyncClusterManagementCommands, AsyncRedisModuleCommands, AsyncCoreCommands
):
    """The base class of the client. Pipelines have the methods of the synchronous ones, which
    append a command and return the pipeline."""

    _is_async_client: Literal[True] = True

    async def scan_iter(  # type: ignore[override]
        self, match: Any = None, count: int | None = None, _type: str | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """The keys of the whole cluster, or of ``target_nodes``: see the synchronous method."""
        scan: Any = self.scan
        options = {"match": match, "count": count, "_type": _type, **kwargs}
        if "target_nodes" not in kwargs:
            cursor = 0
            while True:
                cursor, keys = await scan(cursor, target_nodes=LIBRARY_ROUTED, **options)
                for key in keys:
                    yield key
                if cursor == 0:
                    return
        cursors, keys = scanned(await scan(**options))
        for key in keys:
            yield key
        del options["target_nodes"]
        for node, cursor in cursors.items():
            while cursor != 0:
                more, keys = scanned(await scan(cursor, target_nodes=node, **options))
                for key in keys:
                    yield key
                cursor = more[node]
