"""The commands of one client in one event loop, as a queue of the library.

The loop watches the queue's descriptor, which is readable whenever the queue has something to do. So
what the tasks of one iteration of the loop submit is sent in the next one, in one batch per node.
"""

from __future__ import annotations

import itertools
from asyncio import AbstractEventLoop, CancelledError, Future
from collections.abc import Callable
from typing import Any

from .. import _convert
from .._convert import Decode
from .._load_extension import extension
from .._native import ffi, lib
from ..exceptions import error

# How many replies are taken before the loop resumes the tasks that wait for them.
_REPLIES_AT_ONCE = 256

_PING = b"*1\r\n$4\r\nPING\r\n"

_next_tag = itertools.count(1).__next__

# Reads a reply as a Python value.
Read = Callable[[Any, Decode], Any]


class Queue:
    """A queue of the library, to be used by the thread that runs the loop.

    Only the loop holds a lasting reference to it. So the queue is freed when the loop is closed,
    or by close().
    """

    __slots__ = ("__weakref__", "_address", "_descriptor", "_loop", "_native", "_tag", "_waiting")

    def __init__(self, handle: Any, loop: AbstractEventLoop) -> None:
        self._native = ffi.gc(lib.rdc_queue_new(handle), lib.rdc_queue_free)
        self._loop = loop
        # By tag: who waits for the reply, and how to read it.
        self._waiting: dict[int, tuple[Any, Read, Decode]] = {}
        # An out-parameter of rdc_queue_next() for reuse.
        self._tag = ffi.new("uint64_t *")
        self._descriptor = lib.rdc_queue_fd(self._native)
        if self._descriptor < 0:
            raise self._error()
        self._address = int(ffi.cast("uintptr_t", self._native))
        loop.add_reader(self._descriptor, self.run)

    def _error(self) -> Any:
        """Why the queue has no descriptor: each command completes at once with this error."""
        lib.rdc_queue_resp(self._native, 0, _PING, len(_PING))
        reply = lib.rdc_queue_next(self._native, ffi.NULL)
        try:
            return _convert.read(reply, None)
        finally:
            lib.rdc_reply_free(reply)

    # ---- Commands --------------------------------------------------------------------------------

    async def command(
        self, command: Any, read: Read, decode: Decode, encoding: tuple[str, str] | None = None
    ) -> Any:
        """Runs a command: bytes in RESP, or a tuple of arguments and the encoding of their texts. An
        error is returned and not raised. If the task is cancelled, so is the command."""
        tag = _next_tag()
        if encoding is None:
            lib.rdc_queue_resp(self._native, tag, command, len(command))
        elif extension is not None:
            extension.queue_submit(self._address, tag, command, _unless_utf8(encoding))
        else:
            wire = _convert.encode(command, *encoding)
            lib.rdc_queue_resp(self._native, tag, wire, len(wire))
        future = self._loop.create_future()
        self._waiting[tag] = (future, read, decode)
        try:
            return await future
        except CancelledError as exception:
            exception.sent = self._give_up(tag, future)  # type: ignore[attr-defined]
            raise

    async def pipeline(self, pipeline: Any, atomic: bool, read: Read) -> Any:
        """Runs the commands of a pipeline of the library, which is empty afterwards."""
        pending = self._expect(read, None)
        submit = lib.rdc_queue_pipeline_atomic if atomic else lib.rdc_queue_pipeline
        submit(self._native, pending[0], pipeline)
        return (await self._all([pending]))[0]

    async def command_to(
        self, targets: list[tuple[bytes, Read]], arguments: tuple[Any, ...], decode: Decode
    ) -> list[Any]:
        """Runs a command at the nodes of each target, all at the same time. ``arguments`` are those
        of the C function; a target has a function that reads its reply."""
        argc, argv, lens = arguments
        all_pending = []
        for where, read in targets:
            pending = self._expect(read, decode)
            lib.rdc_queue_command_to(self._native, pending[0], where, argc, argv, lens)
            all_pending.append(pending)
        return await self._all(all_pending)

    def _expect(self, read: Read, decode: Decode) -> tuple[int, Future[Any]]:
        """A new tag, and the future of its reply."""
        tag = _next_tag()
        future = self._loop.create_future()
        self._waiting[tag] = (future, read, decode)
        return tag, future

    async def _all(self, all_pending: list[tuple[int, Future[Any]]]) -> list[Any]:
        """The replies of several commands. If the task is cancelled, so are the commands."""
        try:
            return [await future for _, future in all_pending]
        except CancelledError as exception:
            given_up = [self._give_up(tag, future) for tag, future in all_pending]
            exception.sent = any(given_up)  # type: ignore[attr-defined]
            raise

    def _give_up(self, tag: int, future: Future[Any]) -> bool:
        """Cancels a command. Returns False if it has not run; True if it ran or may have run."""
        if tag in self._waiting:
            last = self._loop.create_future()
            self._waiting[tag] = (last, _convert.read, None)
            lib.rdc_queue_cancel(self._native, tag)
            # Its reply is complete now, behind those of other commands.
            while not last.done() and self._take_one():
                pass
            future = last
        # Otherwise its reply came in the same iteration of the loop as the cancellation.
        value = None if future.cancelled() or not future.done() else future.result()
        return bool(getattr(value, "sent", True))

    # ---- Replies ---------------------------------------------------------------------------------

    def run(self) -> bool:
        """Sends and receives what is possible without waiting. Returns whether more replies wait to
        be taken: the descriptor is readable until they are."""
        if self._native is None:
            return False
        ready = lib.rdc_queue_run(self._native, 0)
        if extension is not None:
            extension.queue_take(
                self._address, self._waiting, _REPLIES_AT_ONCE, _convert.read, _read_at
            )
        else:
            for _ in range(min(ready, _REPLIES_AT_ONCE)):
                self._take_one()
        return bool(ready > _REPLIES_AT_ONCE)

    def _take_one(self) -> bool:
        """Takes the next complete reply; False if there is none."""
        reply = lib.rdc_queue_next(self._native, self._tag)
        if not reply:
            return False
        try:
            # A cancelled command has no entry, or a future that is done: its reply is dropped.
            waiting = self._waiting.pop(self._tag[0], None)
            if waiting is not None:
                future, read, decode = waiting
                if not future.done():
                    future.set_result(_read_or_error(read, reply, decode))
        finally:
            lib.rdc_reply_free(reply)
        return True

    # ---- The end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Frees the queue, in the thread of its loop. The commands that wait raise."""
        if self._native is None:
            return
        if not self._loop.is_closed():
            self._loop.remove_reader(self._descriptor)
        native, self._native = self._native, None
        ffi.release(native)
        waiting, self._waiting = self._waiting, {}
        for future, _, _ in waiting.values():
            if not future.done():
                message = "CLOSED the client or the pipeline was closed during the command"
                future.set_result(error("CLOSED", message, True, None))

    def close_soon(self) -> None:
        """The same from any thread, and also while an object is finalized."""
        try:
            self._loop.call_soon_threadsafe(self.close)
        except RuntimeError:
            pass  # the loop is closed, and frees the queue


def _unless_utf8(encoding: tuple[str, str]) -> tuple[str, str] | None:
    return None if encoding == ("utf-8", "strict") else encoding


def _read_at(address: int, read: Read, decode: Decode) -> Any:
    """What a function reads of the reply at an address."""
    return read(ffi.cast("rdc_reply *", address), decode)


def _read_or_error(read: Read, reply: Any, decode: Decode) -> Any:
    try:
        return read(reply, decode)
    except Exception as exception:
        return exception
