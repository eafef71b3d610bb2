"""The pipelines of the asyncio client."""

from __future__ import annotations

import asyncio
from asyncio import get_running_loop
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from redis.client import EMPTY_RESPONSE, NEVER_DECODE

from .. import _convert
from .._base_pipeline import EXEC, MULTI, BasePipeline, Command, pause_before
from .._dispatch import own_methods
from .._native import RDC_ERROR, ffi, lib
from ..exceptions import ClusterError, ConnectionError, WatchError
from ._queue import Queue

if TYPE_CHECKING:
    from .client import RedisCluster


@own_methods
class ClusterPipeline(BasePipeline):
    """Commands to send together. A pipeline must be used by one task at a time.

    Each method returns the pipeline; ``await execute()`` returns the responses, in order. Commands
    of one slot run in order. Other guarantees hold only for transactions. Between watch() and
    multi(), methods run their command at once, and are awaited.
    """

    _client: RedisCluster
    # The queue of the dedicated connection, while keys are watched.
    _queue: Queue | None = None

    def __init__(self, client: RedisCluster, transaction: bool) -> None:
        super().__init__(client, transaction)
        # With address_remap, the first command replaces the handle of the client.
        if client._address_remap is None:
            self._open(client._handle)

    async def execute(
        self, raise_on_error: bool = True, allow_redirections: bool = True
    ) -> list[Any]:
        """Sends all commands and returns their responses. Raises the first error among them; with
        ``raise_on_error=False``, errors are elements of the result. Afterwards the pipeline is
        empty. ``allow_redirections`` is ignored: the library always follows redirections."""
        wire, sent, commands = self._take()
        try:
            if self._queue is not None:
                responses = await self._exec(self._queue, wire, sent)
            elif sent:
                responses = await self._send(wire, sent)
            else:
                responses = []
        finally:
            await self.reset()
        return self._responses(responses, sent, commands, raise_on_error)

    async def _send(self, wire: list[bytes], sent: list[Command]) -> list[Any]:
        client = self._client
        queue = client._queue_of(get_running_loop()) or await client._open_queue()
        if self._native is None:
            self._open(client._handle)
        return await _run(
            queue, self._native, wire, self._transaction, lambda r: self._read(r, sent)
        )

    # ---- Watched keys ----------------------------------------------------------------------------

    async def watch(self, *names: Any) -> bool:
        """Watches keys of one slot. Until multi(), commands run at once, on one connection. After
        multi(), execute() raises WatchError if a watched key was changed. It is also raised if the
        watch was lost with its connection or because the slot has moved, and nothing has run."""
        wire = self._watch_command(names)
        if self._pin is not None:
            return bool(await self._run_watching(("WATCH", *names), {}))
        attempt = 0
        while True:
            try:
                return bool(await self._first_watch(wire, names[0]))
            except ClusterError as exception:
                # The slot has moved or is being moved, and nothing is watched yet.
                attempt += 1
                moved = getattr(exception, "code", None) == "REDIRECTS"
                pause = pause_before(attempt) if moved else None
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    async def _first_watch(self, wire: bytes, name: Any) -> Any:
        key = _convert.argument(name, *self._encoding)
        await self._client._open_queue()  # which applies address_remap to the handle
        self._address = 0
        self._pin = ffi.gc(lib.rdc_pin(self._client._handle, key, len(key)), lib.rdc_close)
        self._queue = Queue(self._pin, get_running_loop())
        try:
            return await self._run_now(wire, "WATCH", {})
        except BaseException:
            self._drop_pin()
            raise

    async def unwatch(self) -> bool:
        """Forgets the watched keys and closes their connection."""
        self._drop_pin()
        return True

    async def _run_now(self, wire: bytes, name: Any, options: dict[str, Any]) -> Any:
        if self._queue is None:
            raise WatchError("the watch has ended: another task has used the pipeline")
        decode = None if NEVER_DECODE in options else self._decode
        value = await self._queue.command(wire, _convert.read, decode)
        return self._client._apply_callback(value, name, options)

    async def _run_watching(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Runs a command between watch() and multi()."""
        if EMPTY_RESPONSE in options:
            return options[EMPTY_RESPONSE]
        wire = _convert.encode(args, *self._encoding)
        try:
            return await self._run_now(wire, args[0], options)
        except (ClusterError, ConnectionError) as exception:
            if exception.sent:  # type: ignore[union-attr]
                raise
            self._raise_watch_lost(exception)

    async def _exec(self, queue: Queue, wire: list[bytes], commands: list[Command]) -> list[Any]:
        """Runs MULTI, the commands and EXEC on the watching connection."""
        try:
            await self._run_now(MULTI, "MULTI", {})
            if wire:
                pipeline = ffi.gc(lib.rdc_pipeline_new(self._pin), lib.rdc_pipeline_free)
                responses = await _run(
                    queue, pipeline, wire, False, lambda r: _convert.read(r, None)
                )
                for response in responses:
                    if isinstance(response, Exception):
                        raise response
        except (ClusterError, ConnectionError) as exception:
            # Nothing runs before EXEC.
            self._raise_watch_lost(exception)
        return self._executed(
            await queue.command(EXEC, lambda r, _: self._read_exec(r, commands), None)
        )

    def _drop_pin(self) -> None:
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.close()
        super()._drop_pin()

    # ---- Begin and end ---------------------------------------------------------------------------

    async def reset(self) -> None:
        """Forgets all commands and all watched keys."""
        self._drop_pin()
        self._clear()

    aclose = reset
    close = reset
    discard = reset

    async def initialize(self) -> ClusterPipeline:
        """Connects, if the client has not connected yet."""
        await self._client.initialize()
        return self

    def __await__(self) -> Generator[Any, None, ClusterPipeline]:
        return self.initialize().__await__()

    async def __aenter__(self) -> ClusterPipeline:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.reset()

    def __del__(self) -> None:
        if self._queue is not None:
            self._queue.close_soon()


async def _run(
    queue: Queue, pipeline: Any, wire: list[bytes], atomic: bool, read: Callable[[Any], list[Any]]
) -> list[Any]:
    """Executes the commands of the library's pipeline and those in RESP, and reads the elements.
    Raises an error of the whole pipeline."""

    def read_elements(reply: Any, _: object) -> Any:
        if lib.rdc_reply_type(reply) == RDC_ERROR:
            return _convert.read(reply, None)
        return read(reply)

    data = b"".join(wire)
    if data:  # an empty buffer would count as one malformed command
        lib.rdc_pipeline_resp(pipeline, data, len(data))
    found = await queue.pipeline(pipeline, atomic, read_elements)
    if isinstance(found, Exception):
        raise found
    responses: list[Any] = found
    return responses
