"""Pipelines: each command is encoded when it is called, and all are sent in one buffer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redis.client import EMPTY_RESPONSE, NEVER_DECODE

from . import _convert, _wait_callback
from ._commands import DEFAULT_TARGETS, Commands
from ._native import RDC_ERROR, RDC_NIL, ffi, lib
from .exceptions import ClusterError, ConnectionError, RedisError, WatchError

if TYPE_CHECKING:
    from .client import RedisCluster

MULTI = b"*1\r\n$5\r\nMULTI\r\n"
EXEC = b"*1\r\n$4\r\nEXEC\r\n"

# The library's errors after which keys are not watched any more.
_WATCH_LOST = frozenset(("REDIRECTS", "CONNECT", "IO"))
# How often a transaction is begun that a moving slot refuses or that loses its connection, and the
# pause in seconds, which grows by itself: about a second in all.
_ATTEMPTS = 16
_PAUSE = 0.01


class ClusterPipeline(Commands):
    """Commands to send together. A pipeline must be used by one thread at a time.

    Each method returns the pipeline; ``execute()`` returns the responses, in order. Commands of one
    slot run in order. Other guarantees hold only for transactions.
    """

    def __init__(self, client: RedisCluster, transaction: bool) -> None:
        self._client = client
        self._transaction = transaction
        self._encoding, self._decode = client._encoding, client._decode
        self.response_callbacks = client.response_callbacks
        self._wire: list[bytes] = []
        self._commands: list[tuple[Any, dict[str, Any]]] = []
        self._handle = ffi.gc(lib.rdc_pipeline_new(client._handle), lib.rdc_pipeline_free)
        # A handle with a dedicated connection, while keys are watched.
        self._pin: Any = None
        self._multi = False

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Appends a command. Between watch() and multi(), runs it at once instead."""
        if "target_nodes" in options:
            raise RedisError(
                "target_nodes is not supported in a pipeline, which routes each command by itself: "
                "call the method of the client instead"
            )
        at_once = self._pin is not None and not self._multi
        if EMPTY_RESPONSE in options:
            if at_once:
                return options[EMPTY_RESPONSE]
        else:
            wire = _convert.encode(args, *self._encoding)
            if at_once:
                return self._run_watching(wire, args[0], options)
            self._wire.append(wire)
        self._commands.append((args[0], options))
        return self

    # The name of this method in redis-py.
    pipeline_execute_command = execute_command

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Sends all commands and returns their responses. Raises the first error among them; with
        ``raise_on_error=False``, errors are elements of the result. Afterwards the pipeline is
        empty."""
        wire, commands = self._wire, self._commands
        self._wire, self._commands = [], []
        # A command without keys has its response, and is not sent.
        sent = commands
        if len(wire) != len(commands):
            sent = [each for each in commands if EMPTY_RESPONSE not in each[1]]
        try:
            if self._pin is not None:
                responses = self._exec(wire, sent)
            else:
                run = (
                    lib.rdc_pipeline_execute_atomic
                    if self._transaction
                    else lib.rdc_pipeline_execute
                )
                responses = _send(self._handle, wire, run, lambda r: self._read(r, sent))
        finally:
            self.reset()
        self._apply_callbacks(responses, sent, raise_on_error)
        if len(sent) == len(commands):
            return responses
        received = iter(responses)
        return [
            options[EMPTY_RESPONSE] if EMPTY_RESPONSE in options else next(received)
            for _, options in commands
        ]

    def _apply_callbacks(
        self, responses: list[Any], commands: list[tuple[Any, dict[str, Any]]], raise_on_error: bool
    ) -> None:
        """Converts the responses in place. A response that cannot be converted becomes the
        exception, so that the others are not lost."""
        callbacks: dict[Any, Any] = {}
        for i, response in enumerate(responses):
            name, options = commands[i]
            if isinstance(response, Exception):
                if raise_on_error:
                    raise response
                continue
            # Most pipelines repeat one command, and a lookup in redis-py's table is slow.
            if name in callbacks:
                callback = callbacks[name]
            else:
                callback = callbacks[name] = self.response_callbacks.get(name)
            if callback is None:
                continue
            extra = for_callback(options) if options else {}
            try:
                if name in DEFAULT_TARGETS and isinstance(response, dict):
                    responses[i] = {
                        node: callback(value, **extra) for node, value in response.items()
                    }
                else:
                    responses[i] = callback(response, **extra)
            except Exception as exception:
                if raise_on_error:
                    raise
                responses[i] = exception

    def _read(self, reply: Any, commands: list[tuple[Any, dict[str, Any]]]) -> list[Any]:
        if self._decode is None or not any(NEVER_DECODE in options for _, options in commands):
            try:
                return _convert.elements(reply, lib.rdc_reply_len(reply), self._decode)
            except (ValueError, LookupError):
                pass  # a text that cannot be decoded: convert each response by itself
        decoders = (None if NEVER_DECODE in options else self._decode for _, options in commands)
        return _convert.elements_by_decoder(reply, decoders)

    # ---- Watched keys ----------------------------------------------------------------------------

    def watch(self, *names: Any) -> bool:  # type: ignore[override]
        """Watches keys of one slot. Until multi(), commands run at once, on one connection. After
        multi(), execute() raises WatchError if a watched key was changed. It is also raised if the
        watch was lost with its connection or because the slot has moved, and nothing has run."""
        if self._multi or self._commands:
            raise RedisError("Cannot issue a WATCH after a MULTI")
        if not names:
            raise RedisError("watch() needs at least one key")
        wire = _convert.encode(("WATCH", *names), *self._encoding)
        if self._pin is not None:
            return bool(self._run_watching(wire, "WATCH", {}))
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
        self._pin = ffi.gc(lib.rdc_pin(self._client._handle, key, len(key)), lib.rdc_close)
        try:
            return self._run_now(wire, "WATCH", {})
        except BaseException:
            self._drop_pin()
            raise

    def unwatch(self) -> bool:  # type: ignore[override]
        """Forgets the watched keys and closes their connection."""
        if self._pin is None:
            return True
        self._drop_pin()
        return True

    def multi(self) -> None:
        """After watch(): from now on, commands are appended for execute()."""
        if self._multi:
            raise RedisError("Cannot issue nested calls to MULTI")
        if self._commands:
            raise RedisError("Commands without an initial WATCH have already been issued")
        self._multi = True

    def _run_now(self, wire: bytes, name: Any, options: dict[str, Any]) -> Any:
        reply = lib.rdc_command_resp(self._pin, wire, len(wire))
        return self._client._convert_reply(reply, _convert.read, name, options)

    def _run_watching(self, wire: bytes, name: Any, options: dict[str, Any]) -> Any:
        """Runs a command between watch() and multi()."""
        try:
            return self._run_now(wire, name, options)
        except (ClusterError, ConnectionError) as exception:
            if exception.sent:  # type: ignore[union-attr]
                raise
            self._raise_watch_lost(exception)

    def _raise_watch_lost(self, exception: Any) -> None:
        """Raises WatchError for an error of a transaction of which nothing has run."""
        if exception.code not in _WATCH_LOST:
            raise exception
        self._drop_pin()
        lost: Any = WatchError(f"the watch is lost, the transaction has not run: {exception}")
        lost.code, lost.sent, lost.node = exception.code, False, exception.node
        raise lost from exception

    def _exec(self, wire: list[bytes], commands: list[tuple[Any, dict[str, Any]]]) -> list[Any]:
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
            kind = lib.rdc_reply_type(reply)
            if kind == RDC_ERROR:
                exception = _convert.read(reply, None)
                if not exception.sent:
                    self._raise_watch_lost(exception)
                raise exception
            if kind == RDC_NIL:
                raise WatchError("Watched variable changed.")
            return self._read(reply, commands)
        finally:
            lib.rdc_reply_free(reply)

    def _queue(self, wire: list[bytes]) -> None:
        pipeline = ffi.gc(lib.rdc_pipeline_new(self._pin), lib.rdc_pipeline_free)
        for response in _send(
            pipeline,
            wire,
            lib.rdc_pipeline_execute,
            lambda r: _convert.elements(r, len(wire), None),
        ):
            if isinstance(response, Exception):
                raise response

    def _drop_pin(self) -> None:
        pin, self._pin, self._multi = self._pin, None, False
        if pin is not None:
            lib.rdc_close(pin)

    # ---- Other -----------------------------------------------------------------------------------

    def reset(self) -> None:  # type: ignore[override]
        """Forgets all commands and all watched keys."""
        self._wire, self._commands = [], []
        self._multi = False
        self._drop_pin()

    close = reset
    discard = reset

    def get_connection_kwargs(self) -> dict[str, Any]:
        """The settings of texts, as redis-py names them."""
        return self._client.get_connection_kwargs()

    def get_encoder(self) -> Any:
        """redis-py's encoder with the same settings."""
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


# The name of the class in the first releases of redis-py-cluster.
StrictClusterPipeline = ClusterPipeline


def for_callback(options: dict[str, Any]) -> dict[str, Any]:
    """The options for the conversion of a response. "keys" is for redis-py's client-side cache."""
    return {k: v for k, v in options.items() if k not in (EMPTY_RESPONSE, NEVER_DECODE, "keys")}


def may_begin_again(attempt: int) -> bool:
    """Pauses before a transaction is begun again; False if it was begun often enough."""
    if attempt >= _ATTEMPTS:
        return False
    time.sleep(_PAUSE * (attempt - 1))
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
