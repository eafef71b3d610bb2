"""The base classes of the client and of its pipelines, where there is no C extension. They run the
usual commands; what is unusual goes to methods of their subclasses."""

from __future__ import annotations

from typing import Any

from redis.client import EMPTY_RESPONSE, NEVER_DECODE

from . import _convert, _wait_callback
from ._native import lib

_UNUSUAL = frozenset(("target_nodes", EMPTY_RESPONSE, NEVER_DECODE))


def for_callback(options: dict[str, Any]) -> dict[str, Any]:
    """The options for the conversion of a response. "keys" is for redis-py's client-side cache."""
    return {k: v for k, v in options.items() if k not in (EMPTY_RESPONSE, NEVER_DECODE, "keys")}


class ClientDispatcher:
    _handle: Any
    # The address of the handle, which the C extension uses.
    _address: int
    _encoding: tuple[str, str]
    _decode: _convert.Decode
    _default_targets: dict[str, Any]
    response_callbacks: Any

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Runs any command. ``target_nodes`` sets the target: "primaries", "replicas", "all",
        "random", "slot:N", "key:K", "host:port", a ClusterNode, or several of these."""
        if args[0] in self._default_targets or not _UNUSUAL.isdisjoint(options):
            return self._execute(args, options)
        # The short path of most commands. (A KeyboardInterrupt that is raised between the return of
        # the call and the next statement leaks the reply.)
        if not _wait_callback.installed:
            _wait_callback.install()
        wire = _convert.encode(args, *self._encoding)
        reply = lib.rdc_command_resp(self._handle, wire, len(wire))
        if _wait_callback.pending:
            _wait_callback.raise_pending(lib.rdc_reply_free, reply)
        try:
            value = _convert.read(reply, self._decode)
        finally:
            lib.rdc_reply_free(reply)
        if isinstance(value, Exception):
            raise value
        callback = self.response_callbacks.get(args[0])
        if callback is None:
            return value
        return callback(value, **for_callback(options)) if options else callback(value)

    def _execute(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        raise NotImplementedError


class PipelineDispatcher:
    # The address of the library's pipeline, to which the C extension appends; or 0.
    _address: int
    _encoding: tuple[str, str]
    _decode: _convert.Decode
    response_callbacks: Any
    # The name and the options of each command.
    _commands: list[tuple[Any, dict[str, Any]]]

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Appends a command. Between watch() and multi(), runs it at once instead."""
        return self._append(args, options)

    def _append(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _apply_callbacks(self, responses: list[Any], commands: list[Any], strict: bool) -> None:
        """Calls _convert_response() for each response that is an error or has a callback."""
        callbacks: dict[Any, Any] = {}
        for i, response in enumerate(responses):
            name = commands[i][0]
            # Most pipelines repeat one command, and a lookup in redis-py's table is slow.
            if name in callbacks:
                callback = callbacks[name]
            else:
                callback = callbacks[name] = self.response_callbacks.get(name)
            if callback is not None or isinstance(response, Exception):
                self._convert_response(responses, i, commands[i], callback, strict)

    def _convert_response(
        self, responses: list[Any], i: int, command: Any, callback: Any, strict: bool
    ) -> None:
        raise NotImplementedError
