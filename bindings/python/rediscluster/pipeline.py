"""Pipelines: commands are encoded as they are called, and sent as one run of bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redis.client import EMPTY_RESPONSE, NEVER_DECODE

from . import _convert, _signals
from ._commands import PLACES, Commands
from ._native import RDC_ERROR, RDC_NIL, ffi, lib
from .exceptions import RedisError, ResponseError, WatchError

if TYPE_CHECKING:
    from .client import RedisCluster

MULTI = b"*1\r\n$5\r\nMULTI\r\n"
EXEC = b"*1\r\n$4\r\nEXEC\r\n"


class ClusterPipeline(Commands):
    """Commands to be sent together, by one thread at a time.

    Each method returns the pipeline; ``execute()`` returns the responses, in order. Commands of one
    slot run in their order; nothing else is promised, unless the pipeline is a transaction.
    """

    def __init__(self, client: RedisCluster, transaction: bool) -> None:
        self._client = client
        self._transaction = transaction
        self._encoding, self._text = client._encoding, client._text
        self.response_callbacks = client.response_callbacks
        self._wire: list[bytes] = []
        self._commands: list[tuple[Any, dict[str, Any]]] = []
        self._handle = ffi.gc(lib.rdc_pipeline_new(client._handle), lib.rdc_pipeline_free)
        # A connection of its own, while keys are watched.
        self._pin: Any = None
        self._multi = False

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Appends a command; while keys are watched and before multi(), runs it."""
        if "target_nodes" in options:
            raise RedisError("a command of a pipeline goes where it belongs: no target_nodes")
        wire = _convert.encode(args, *self._encoding)
        if self._pin is not None and not self._multi:
            return self._now(wire, args[0], options)
        self._wire.append(wire)
        self._commands.append((args[0], options))
        return self

    # redis-py's name for the same.
    pipeline_execute_command = execute_command

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Sends all commands and returns their responses; the first error among them is raised,
        or with ``raise_on_error=False`` left in its place. The pipeline is empty afterwards."""
        wire, commands = self._wire, self._commands
        self._wire, self._commands = [], []
        try:
            if self._pin is not None:
                responses = self._exec(wire, commands) if commands else []
            else:
                run = (
                    lib.rdc_pipeline_execute_atomic
                    if self._transaction
                    else lib.rdc_pipeline_execute
                )
                responses = _send(self._handle, wire, run, lambda r: self._read(r, commands))
        finally:
            self.reset()
        callbacks: dict[Any, Any] = {}
        for i, response in enumerate(responses):
            name, options = commands[i]
            if isinstance(response, Exception):
                if EMPTY_RESPONSE in options and isinstance(response, ResponseError):
                    responses[i] = options[EMPTY_RESPONSE]
                elif raise_on_error:
                    raise response
                continue
            # Most pipelines are full of one command, and redis-py's table is slow to look at.
            if name in callbacks:
                callback = callbacks[name]
            else:
                callback = callbacks[name] = self.response_callbacks.get(name)
            if callback is None:
                continue
            extra = for_callback(options) if options else {}
            if name in PLACES and isinstance(response, dict):
                responses[i] = {node: callback(one, **extra) for node, one in response.items()}
            else:
                responses[i] = callback(response, **extra)
        return responses

    def _read(self, reply: Any, commands: list[tuple[Any, dict[str, Any]]]) -> list[Any]:
        if self._text is not None and any(NEVER_DECODE in options for _, options in commands):
            texts = (None if NEVER_DECODE in options else self._text for _, options in commands)
            return _convert.each(reply, texts)
        return _convert.elements(reply, lib.rdc_reply_len(reply), self._text)

    # ---- Watched keys ----------------------------------------------------------------------------

    def watch(self, *names: Any) -> bool:  # type: ignore[override]
        """From now on commands run at once, on one connection, until multi(); execute() raises
        WatchError if one of these keys, which are in one slot, was changed meanwhile."""
        if self._multi or self._commands:
            raise RedisError("Cannot issue a WATCH after a MULTI")
        if not names:
            raise RedisError("WATCH needs a key")
        if self._pin is None:
            key = _convert.argument(names[0], *self._encoding)
            pin = lib.rdc_pin(self._client._handle, key, len(key))
            self._pin = ffi.gc(pin, lib.rdc_close)
        return bool(self.execute_command("WATCH", *names))

    def unwatch(self) -> bool:  # type: ignore[override]
        """Forgets the watched keys, and the connection that watched them."""
        if self._pin is None:
            return True
        self._drop_pin()
        return True

    def multi(self) -> None:
        """After watch(): commands are gathered again, for execute()."""
        if self._multi:
            raise RedisError("Cannot issue nested calls to MULTI")
        if self._commands:
            raise RedisError("Commands without an initial WATCH have already been issued")
        self._multi = True

    def _now(self, wire: bytes, name: Any, options: dict[str, Any]) -> Any:
        reply = lib.rdc_command_resp(self._pin, wire, len(wire))
        return self._client._answer(reply, _convert.read, name, options)

    def _exec(self, wire: list[bytes], commands: list[tuple[Any, dict[str, Any]]]) -> list[Any]:
        """MULTI, the commands, EXEC on the connection that watches."""
        self._now(MULTI, "MULTI", {})
        pipeline = ffi.gc(lib.rdc_pipeline_new(self._pin), lib.rdc_pipeline_free)
        for answer in _send(
            pipeline,
            wire,
            lib.rdc_pipeline_execute,
            lambda r: _convert.elements(r, len(wire), None),
        ):
            if isinstance(answer, Exception):
                raise answer
        done = lib.rdc_command_resp(self._pin, EXEC, len(EXEC))
        if _signals.raised:
            _signals.settle(lib.rdc_reply_free, done)
        try:
            kind = lib.rdc_reply_type(done)
            if kind == RDC_ERROR:
                raise _convert.read(done, None)
            if kind == RDC_NIL:
                raise WatchError("Watched variable changed.")
            return self._read(done, commands)
        finally:
            lib.rdc_reply_free(done)

    def _drop_pin(self) -> None:
        pin, self._pin, self._multi = self._pin, None, False
        if pin is not None:
            lib.rdc_close(pin)

    # ---- The rest --------------------------------------------------------------------------------

    def reset(self) -> None:  # type: ignore[override]
        """Forgets all commands and all watched keys."""
        self._wire, self._commands = [], []
        self._multi = False
        self._drop_pin()

    close = reset
    discard = reset

    def get_encoder(self) -> Any:
        """redis-py's encoder of the same settings."""
        return self._client.get_encoder()

    def __len__(self) -> int:
        return len(self._commands)

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> ClusterPipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.reset()

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} of {len(self)} commands>"


# The class's name in the first releases of redis-py-cluster.
StrictClusterPipeline = ClusterPipeline


def for_callback(options: dict[str, Any]) -> dict[str, Any]:
    """The options that are for a response's callback; "keys" is for redis-py's cache."""
    return {k: v for k, v in options.items() if k not in (EMPTY_RESPONSE, NEVER_DECODE, "keys")}


def _send(handle: Any, wire: list[bytes], run: Any, read: Callable[[Any], list[Any]]) -> list[Any]:
    """Executes, and reads the elements; an error that is the whole reply is raised."""
    data = b"".join(wire)
    # An empty run of bytes would be one malformed command.
    if data:
        lib.rdc_pipeline_resp(handle, data, len(data))
    if not _signals.ready:
        _signals.prepare()
    reply = run(handle)
    if _signals.raised:
        _signals.settle(lib.rdc_reply_free, reply)
    try:
        if lib.rdc_reply_type(reply) == RDC_ERROR:
            raise _convert.read(reply, None)
        return read(reply)
    finally:
        lib.rdc_reply_free(reply)
