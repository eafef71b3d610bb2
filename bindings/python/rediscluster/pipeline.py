"""The pipelines of the synchronous client."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redis.client import EMPTY_RESPONSE

from . import _convert, _wait_callback
from ._base_pipeline import EXEC, MULTI, BasePipeline, Command, pause_before
from ._dispatch import own_methods
from ._native import RDC_ERROR, ffi, lib
from .exceptions import ClusterError, ConnectionError

if TYPE_CHECKING:
    from .client import RedisCluster


@own_methods
class ClusterPipeline(BasePipeline):
    """Commands to send together. A pipeline must be used by one thread at a time.

    Each method returns the pipeline; ``execute()`` returns the responses, in order. Commands of one
    slot run in order. Other guarantees hold only for transactions.
    """

    _client: RedisCluster

    def __init__(self, client: RedisCluster, transaction: bool) -> None:
        super().__init__(client, transaction)
        self._open(client._handle)

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Sends all commands and returns their responses. Raises the first error among them; with
        ``raise_on_error=False``, errors are elements of the result. Afterwards the pipeline is
        empty."""
        wire, sent, commands = self._take()
        try:
            if self._pin is not None:
                responses = self._exec(wire, sent)
            else:
                run = (
                    lib.rdc_pipeline_execute_atomic
                    if self._transaction
                    else lib.rdc_pipeline_execute
                )
                responses = _send(self._native, wire, run, lambda r: self._read(r, sent))
        finally:
            self.reset()
        return self._responses(responses, sent, commands, raise_on_error)

    # ---- Watched keys ----------------------------------------------------------------------------

    def watch(self, *names: Any) -> bool:
        """Watches keys of one slot. Until multi(), commands run at once, on one connection. After
        multi(), execute() raises WatchError if a watched key was changed. It is also raised if the
        watch was lost with its connection or because the slot has moved, and nothing has run."""
        wire = self._watch_command(names)
        if self._pin is not None:
            return bool(self._run_watching(("WATCH", *names), {}))
        attempt = 0
        while True:
            try:
                return bool(self._first_watch(wire, names[0]))
            except ClusterError as exception:
                # The slot has moved or is being moved, and nothing is watched yet.
                attempt += 1
                moved = getattr(exception, "code", None) == "REDIRECTS"
                if not moved or not may_begin_again(attempt):
                    raise

    def _first_watch(self, wire: bytes, name: Any) -> Any:
        key = _convert.argument(name, *self._encoding)
        self._address = 0
        self._pin = ffi.gc(lib.rdc_pin(self._client._handle, key, len(key)), lib.rdc_close)
        try:
            return self._run_now(wire, "WATCH", {})
        except BaseException:
            self._drop_pin()
            raise

    def unwatch(self) -> bool:
        """Forgets the watched keys and closes their connection."""
        if self._pin is None:
            return True
        self._drop_pin()
        return True

    def _run_now(self, wire: bytes, name: Any, options: dict[str, Any]) -> Any:
        reply = lib.rdc_command_resp(self._pin, wire, len(wire))
        value = self._client._read(reply, _convert.read, options)
        return self._client._apply_callback(value, name, options)

    def _run_watching(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Runs a command between watch() and multi()."""
        if EMPTY_RESPONSE in options:
            return options[EMPTY_RESPONSE]
        wire = _convert.encode(args, *self._encoding)
        try:
            return self._run_now(wire, args[0], options)
        except (ClusterError, ConnectionError) as exception:
            if exception.sent:  # type: ignore[union-attr]
                raise
            self._raise_watch_lost(exception)

    def _exec(self, wire: list[bytes], commands: list[Command]) -> list[Any]:
        """Runs MULTI, the commands and EXEC on the watching connection."""
        try:
            self._run_now(MULTI, "MULTI", {})
            self._queue(wire)
        except (ClusterError, ConnectionError) as exception:
            # Nothing runs before EXEC.
            self._raise_watch_lost(exception)
        reply = lib.rdc_command_resp(self._pin, EXEC, len(EXEC))
        if _wait_callback.pending:
            _wait_callback.raise_pending(lib.rdc_reply_free, reply)
        try:
            found = self._read_exec(reply, commands)
        finally:
            lib.rdc_reply_free(reply)
        return self._executed(found)

    def _queue(self, wire: list[bytes]) -> None:
        pipeline = ffi.gc(lib.rdc_pipeline_new(self._pin), lib.rdc_pipeline_free)
        for response in _send(
            pipeline,
            wire,
            lib.rdc_pipeline_execute,
            lambda r: _convert.read(r, None),
        ):
            if isinstance(response, Exception):
                raise response

    # ---- Other -----------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forgets all commands and all watched keys."""
        self._drop_pin()
        self._clear()

    close = reset
    discard = reset

    def __enter__(self) -> ClusterPipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.reset()


# The name of the class in the first releases of redis-py-cluster.
StrictClusterPipeline = ClusterPipeline


def may_begin_again(attempt: int) -> bool:
    """Pauses before a transaction is begun again; False if it was begun often enough."""
    pause = pause_before(attempt)
    if pause is None:
        return False
    time.sleep(pause)
    return True


def _send(handle: Any, wire: list[bytes], run: Any, read: Callable[[Any], list[Any]]) -> list[Any]:
    """Executes the pipeline and reads the elements. Raises an error of the whole pipeline."""
    data = b"".join(wire)
    # An empty buffer would count as one malformed command.
    if data:
        lib.rdc_pipeline_resp(handle, data, len(data))
    if not _wait_callback.installed:
        _wait_callback.install()
    reply = run(handle)
    if _wait_callback.pending:
        _wait_callback.raise_pending(lib.rdc_reply_free, reply)
    try:
        if lib.rdc_reply_type(reply) == RDC_ERROR:
            raise _convert.read(reply, None)
        return read(reply)
    finally:
        lib.rdc_reply_free(reply)
