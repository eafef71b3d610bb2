"""Publish/subscribe for asyncio: a subscriber of the library with redis-py's PubSub interface.

The loop watches the subscriber's descriptor while a task waits for a message. What no task reads
stays in the sockets.
"""

from __future__ import annotations

import asyncio
import inspect
import weakref
from asyncio import AbstractEventLoop, Future, get_running_loop
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from .._base_pubsub import (
    LONGEST_CONFIRMATION,
    NOT_CONNECTED,
    BasePubSub,
    Handler,
    Message,
    time_limit,
)
from .._native import lib

Self = TypeVar("Self", bound="PubSub")

# How many messages a task takes before it lets the other tasks run.
_MESSAGES_AT_ONCE = 128


class PubSub(BasePubSub):
    """Messages of channels, patterns and sharded channels. ``rc.pubsub()`` makes it.

    One event loop uses it. Any task may subscribe and unsubscribe while another one waits.
    """

    _loop: AbstractEventLoop | None = None  # the one that watches the descriptor

    def __init__(self, client: Any, *args: Any, **kwargs: Any) -> None:
        self._descriptor = -1
        self._waiting: set[Future[None]] = set()
        self._taken = 0
        super().__init__(client, *args, **kwargs)

    # ---- Begin and end ---------------------------------------------------------------------------

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def connect(self) -> None:
        """Makes the subscriber. It connects when it has something to subscribe to."""
        if self._native is None:
            await self._client._before_subscriber()
            self._descriptor = lib.rdc_subscriber_fd(self._open())

    async def aclose(self) -> None:
        """Ends all subscriptions at once, and the waits of all tasks. The object can be used
        again."""
        self._unwatch()
        self._native = None
        self._forget()
        self._wake_tasks()

    close = reset = aclose

    def __del__(self) -> None:
        loop = self._loop
        if loop is not None:
            try:
                # Any thread may collect this. The descriptor leaves the loop before it is closed.
                loop.call_soon_threadsafe(_forget_descriptor, loop, self._descriptor, self._native)
            except RuntimeError:
                pass  # the loop is closed

    # ---- Commands --------------------------------------------------------------------------------

    async def execute_command(self, *args: Any) -> None:
        """Runs SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE or one of their UN-. It does not wait for their
        confirmations, which are messages."""
        await self.connect()
        self._command(args)

    async def subscribe(self, *args: Any, **kwargs: Handler) -> None:
        """Subscribes to channels. A keyword argument is a channel with its handler, a function or a
        coroutine function, which is called for each of its messages."""
        await self._subscribe("SUBSCRIBE", "channels", args, kwargs)

    async def psubscribe(self, *args: Any, **kwargs: Handler) -> None:
        """The same for patterns."""
        await self._subscribe("PSUBSCRIBE", "patterns", args, kwargs)

    async def ssubscribe(self, *args: Any, target_node: None = None, **kwargs: Handler) -> None:
        """The same for sharded channels, of any slots. ``target_node`` is ignored: the channel
        determines the node."""
        await self._subscribe("SSUBSCRIBE", "shard_channels", args, kwargs)

    async def _subscribe(
        self, command: str, kind: str, args: tuple[Any, ...], kwargs: dict[str, Handler]
    ) -> None:
        wanted = self._wanted(args, kwargs)
        await self.execute_command(command, *wanted)
        self._subscribed_to(kind, wanted)
        try:
            await self._wait_for_confirmations()
        finally:
            self._wake_tasks()  # for what was received meanwhile

    async def _wait_for_confirmations(self) -> None:
        """What is published from now on arrives, as in redis-py. An error ends the wait."""
        loop = get_running_loop()
        deadline = loop.time() + LONGEST_CONFIRMATION
        while self._unconfirmed > 0 and self._native is not None:
            interrupted = self._take(0)
            if interrupted is not None:
                raise interrupted
            left = deadline - loop.time()
            if left <= 0:
                self._unconfirmed = 0
            elif self._unconfirmed > 0:
                await self._until_readable(loop, left)

    async def unsubscribe(self, *args: Any) -> None:
        """Ends the subscriptions to these channels, or to all. They end when the confirmation is
        read."""
        await self.execute_command("UNSUBSCRIBE", *self._unwanted("channels", args))

    async def punsubscribe(self, *args: Any) -> None:
        """The same for patterns."""
        await self.execute_command("PUNSUBSCRIBE", *self._unwanted("patterns", args))

    async def sunsubscribe(self, *args: Any, target_node: None = None) -> None:
        """The same for sharded channels."""
        await self.execute_command("SUNSUBSCRIBE", *self._unwanted("shard_channels", args))

    async def ping(self, message: Any = None) -> bool:
        """Checks that the cluster answers, over a connection of the client; the library checks
        those of the subscriptions itself. The next message is of the type "pong"."""
        await self._client.execute_command("ECHO", "" if message is None else message)
        self._pong(message)
        self._wake_tasks()
        return True

    # ---- Messages --------------------------------------------------------------------------------

    async def get_message(
        self, ignore_subscribe_messages: bool = False, timeout: float | None = 0.0
    ) -> Message | None:
        """The next message, or None: there is none within ``timeout`` seconds (None: without a
        limit), it was given to a handler, or it is ignored. A negative ``timeout`` does not wait. A
        task that is cancelled while it waits takes no message."""
        timeout = time_limit(timeout)
        response = await self._next(timeout)
        if response is None:
            return None
        message = self._message(response)
        handled = self._handled(message, response)
        if handled is not None:
            handler, argument = handled
            called = handler(argument)
            if inspect.isawaitable(called):
                await called
            return None
        return None if self._is_ignored(message, ignore_subscribe_messages) else message

    async def get_sharded_message(
        self,
        ignore_subscribe_messages: bool = False,
        timeout: float | None = 0.0,
        target_node: None = None,
    ) -> Message | None:
        """The same: one subscriber has the messages of all kinds and all nodes."""
        return await self.get_message(ignore_subscribe_messages, timeout)

    async def listen(self) -> AsyncIterator[Message]:
        """The messages, until there is no subscription any more."""
        while self.subscribed:
            message = await self.get_message(timeout=None)
            if message is not None:
                yield message

    async def run(
        self,
        *,
        exception_handler: Callable[[BaseException, PubSub], Any] | None = None,
        poll_timeout: float = 1.0,
    ) -> None:
        """Calls the handlers until the task is cancelled or the PubSub is closed. All subscriptions
        need one. ``exception_handler(exception, pubsub)`` may be a coroutine function; without it,
        an exception ends the task. ``poll_timeout``, the pause of redis-py, has no effect."""
        self._check_handlers()
        await self.connect()
        while self._native is not None:
            try:
                await self.get_message(ignore_subscribe_messages=True, timeout=None)
            except Exception as exception:
                if exception_handler is None:
                    raise
                called = exception_handler(exception, self)
                if inspect.isawaitable(called):
                    await called
                # An error that is raised at once each time, as that of a closed client, must not stop the loop.
                await asyncio.sleep(0)

    async def _next(self, timeout: float | None) -> Any:
        """The next response, or None after the time, or when the PubSub was closed."""
        if self._native is None:
            raise RuntimeError(NOT_CONNECTED)
        loop = get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        self._taken += 1
        if self._taken % _MESSAGES_AT_ONCE == 0:
            await asyncio.sleep(0)
        while self._native is not None:
            if not self._responses:
                interrupted = self._take(0)
                if interrupted is not None:
                    raise interrupted
            if self._responses:
                response = self._responses.popleft()
                if isinstance(response, Exception):
                    raise response
                return response
            left = None if deadline is None else deadline - loop.time()
            if left is not None and left <= 0:
                return None
            await self._until_readable(loop, left)
        return None

    # ---- The loop --------------------------------------------------------------------------------

    async def _until_readable(self, loop: AbstractEventLoop, seconds: float | None) -> None:
        self._watch(loop)
        future: Future[None] = loop.create_future()
        self._waiting.add(future)
        timer = None if seconds is None else loop.call_later(seconds, _complete, future)
        try:
            await future
        finally:
            self._waiting.discard(future)
            if timer is not None:
                timer.cancel()

    def _watch(self, loop: AbstractEventLoop) -> None:
        if self._loop is loop:
            return
        self._unwatch()
        reference: weakref.ref[PubSub] = weakref.ref(self)
        loop.add_reader(self._descriptor, _on_readable, reference)
        self._loop = loop

    def _unwatch(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._descriptor)

    def _on_readable(self) -> None:
        if self._waiting:
            self._wake_tasks()
        else:
            self._unwatch()  # it stays readable until a task reads

    def _wake_tasks(self) -> None:
        for future in self._waiting:
            _complete(future)


def _on_readable(reference: weakref.ref[PubSub]) -> None:
    pubsub = reference()
    if pubsub is not None:
        pubsub._on_readable()


def _forget_descriptor(loop: AbstractEventLoop, descriptor: int, _native: Any) -> None:
    loop.remove_reader(descriptor)


def _complete(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)
