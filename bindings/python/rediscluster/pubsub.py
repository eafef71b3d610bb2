"""Publish/subscribe: a subscriber of the library with redis-py's PubSub interface."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from redis.exceptions import PubSubError

from . import _wait_callback
from ._base_pubsub import LONGEST_CONFIRMATION, BasePubSub, Handler, Message, time_limit
from ._native import lib

Self = TypeVar("Self", bound="PubSub")

ExceptionHandler = Callable[[BaseException, "PubSub", "PubSubWorkerThread"], Any]

# A wait without an end, in milliseconds.
_FOREVER = -1
_LONGEST = 2**31 - 1


class PubSub(BasePubSub):
    """Messages of channels, patterns and sharded channels. ``rc.pubsub()`` makes it.

    One thread reads messages. Any thread may subscribe and unsubscribe meanwhile, and ``close()``
    ends the read.
    """

    def __init__(self, client: Any, *args: Any, **kwargs: Any) -> None:
        # A subscriber of the library is used by one thread at a time: the one that holds _in_use. A
        # command holds _next_turn too, so that the reader that it has woken lets it go first.
        self._in_use = threading.Lock()
        self._next_turn = threading.Lock()
        self._reader: int | None = None  # the thread that waits for a message
        self.subscribed_event = threading.Event()
        self._stop = False  # ends the wait of a reader
        self._close_later = False
        super().__init__(client, *args, **kwargs)

    # ---- Begin and end ---------------------------------------------------------------------------

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all subscriptions at once, and a read in another thread. The object can be used
        again."""
        self._stop = True
        if self._reader == threading.get_ident():
            # A signal handler that has interrupted a read: _next() closes when the read has ended.
            self._close_later = True
            self._wake()
            return
        with self._next_turn, _Exclusive(self):
            # The library frees it when no thread wakes it any more.
            self._native = None
            self._forget()
            self.subscribed_event.clear()
            self._stop = self._close_later = False

    reset = close

    def _wake(self) -> None:
        """Ends the wait of a reader, if there is one."""
        native = self._native
        if native is not None:
            lib.rdc_subscriber_wake(native)

    # ---- Commands --------------------------------------------------------------------------------

    def execute_command(self, *args: Any) -> None:
        """Runs SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE or one of their UN-. Their confirmations are
        messages."""
        if self._reader == threading.get_ident():
            raise PubSubError(f"{args[0]} in a signal handler, which has interrupted a read")
        with self._next_turn, _Exclusive(self):
            self._command(args)

    def subscribe(self, *args: Any, **kwargs: Handler) -> None:
        """Subscribes to channels, and waits for their confirmations, which are messages. A keyword
        argument is a channel with its handler, which is called for each of its messages."""
        self._subscribe("SUBSCRIBE", "channels", args, kwargs)

    def psubscribe(self, *args: Any, **kwargs: Handler) -> None:
        """The same for patterns."""
        self._subscribe("PSUBSCRIBE", "patterns", args, kwargs)

    def ssubscribe(self, *args: Any, target_node: None = None, **kwargs: Handler) -> None:
        """The same for sharded channels, of any slots. ``target_node`` is ignored: the channel
        determines the node."""
        self._subscribe("SSUBSCRIBE", "shard_channels", args, kwargs)

    def _subscribe(
        self, command: str, kind: str, args: tuple[Any, ...], kwargs: dict[str, Handler]
    ) -> None:
        wanted = self._wanted(args, kwargs)
        before, unconfirmed = dict(getattr(self, kind)), self._unconfirmed
        # Before the command: another thread may read the first message at once.
        self._subscribed_to(kind, wanted)
        try:
            self.execute_command(command, *wanted)
        except BaseException:
            setattr(self, kind, before)
            self._unconfirmed = unconfirmed
            raise
        self.subscribed_event.set()
        self._wait_for_confirmations()

    def _wait_for_confirmations(self) -> None:
        """What is published from now on arrives, as in redis-py. The confirmations, and what else comes
        meanwhile, stay stored; so does an error, which ends the wait."""
        deadline = time.monotonic() + LONGEST_CONFIRMATION
        while self._unconfirmed > 0 and not self._stop:
            left = math.ceil(1000 * (deadline - time.monotonic()))
            if left <= 0:
                self._unconfirmed = 0
                return
            with self._next_turn, _Exclusive(self):
                if self._unconfirmed > 0 and self._native is not None:
                    self._take_in_library(left)

    def unsubscribe(self, *args: Any) -> None:
        """Ends the subscriptions to these channels, or to all. They end when the confirmation is
        read."""
        self.execute_command("UNSUBSCRIBE", *self._unwanted("channels", args))

    def punsubscribe(self, *args: Any) -> None:
        """The same for patterns."""
        self.execute_command("PUNSUBSCRIBE", *self._unwanted("patterns", args))

    def sunsubscribe(self, *args: Any, target_node: None = None) -> None:
        """The same for sharded channels."""
        self.execute_command("SUNSUBSCRIBE", *self._unwanted("shard_channels", args))

    def ping(self, message: Any = None) -> bool:
        """Checks that the cluster answers, over a connection of the client; the library checks
        those of the subscriptions itself. The next message is of the type "pong"."""
        self._client.execute_command("ECHO", "" if message is None else message)
        self._pong(message)
        self._wake()
        return True

    # ---- Messages --------------------------------------------------------------------------------

    def get_message(
        self, ignore_subscribe_messages: bool = False, timeout: float | None = 0.0
    ) -> Message | None:
        """The next message, or None: there is none within ``timeout`` seconds (None: without a
        limit), it was given to a handler, or it is ignored. A negative ``timeout`` does not wait."""
        timeout = time_limit(timeout)
        deadline = None if timeout is None or self._responses else time.monotonic() + timeout
        if not self.subscribed_event.is_set() and not self.subscribed_event.wait(timeout):
            return None
        response = self._next(deadline)
        if response is None:
            return None
        return self._handle(response, ignore_subscribe_messages)

    def get_sharded_message(
        self,
        ignore_subscribe_messages: bool = False,
        timeout: float | None = 0.0,
        target_node: None = None,
    ) -> Message | None:
        """The same: one subscriber has the messages of all kinds and all nodes."""
        return self.get_message(ignore_subscribe_messages, timeout)

    def listen(self) -> Iterator[Message]:
        """The messages, until there is no subscription any more."""
        while self.subscribed:
            response = self._next(None)
            message = None if response is None else self._handle(response, False)
            if message is not None:
                yield message

    def _handle(self, response: list[Any], ignore_subscribe_messages: bool) -> Message | None:
        """A response as a dict; None if its handler was called, or if it is ignored. It is stored
        until then, because a signal handler may raise."""
        message = self._message(response)
        if not self.subscribed:
            self.subscribed_event.clear()
            if self.subscribed:  # by another thread, meanwhile
                self.subscribed_event.set()
        handled = self._handled(message, response)
        is_ignored = self._is_ignored(message, ignore_subscribe_messages)
        responses = self._responses
        if responses and responses[0] is response:  # it was not closed meanwhile
            del responses[0]
        if handled is not None:
            handler, argument = handled
            handler(argument)
            return None
        return None if is_ignored else message

    def _next(self, deadline: float | None) -> Any:
        """The next response, which stays stored, or None at the deadline or after a stop."""
        while not self._stop:
            if self._responses:
                response = self._responses[0]
                if isinstance(response, Exception):
                    del self._responses[0]
                    raise response
                return response
            pause = _FOREVER
            if deadline is not None:
                left = math.ceil(1000 * (deadline - time.monotonic()))
                pause = min(max(0, left), _LONGEST)
            self._wait(pause)
            # Nothing before the deadline: a command or a ping has woken the thread.
            if not self._responses and (pause == 0 or self._native is None):
                return None
        if self._close_later:
            self.close()
        return None

    def _wait(self, pause: int) -> None:
        """Waits for a response in the library, and stores it."""
        with self._next_turn:
            pass  # a command goes first
        with self._in_use:
            # A command that went first may have stored some.
            if self._native is not None and not self._responses:
                self._take_in_library(pause)

    def _take_in_library(self, pause: int) -> None:
        """The same, by the thread that has the subscriber."""
        if not _wait_callback.installed:
            _wait_callback.install()
        try:
            self._reader = threading.get_ident()
            interrupted = self._take(pause)
        finally:
            self._reader = None
        exception = _wait_callback.take_pending() if _wait_callback.pending else None
        if exception is not None:
            raise exception
        if interrupted is not None:
            raise interrupted

    # ---- Threads ---------------------------------------------------------------------------------

    def run_in_thread(
        self,
        sleep_time: float = 0.0,
        daemon: bool = False,
        exception_handler: ExceptionHandler | None = None,
        pubsub: PubSub | None = None,
        sharded_pubsub: bool = False,
    ) -> PubSubWorkerThread:
        """Starts a thread that calls the handlers. All subscriptions need one.

        The thread sleeps until a message comes: ``sleep_time``, the pause of redis-py, is accepted
        and has no effect. Without an ``exception_handler``, an exception ends the thread.
        """
        self._check_handlers()
        thread = PubSubWorkerThread(pubsub or self, sleep_time, daemon, exception_handler)
        thread.start()
        return thread


class _Exclusive:
    """The use of the subscriber by another thread than the one that reads, which is woken."""

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub

    def __enter__(self) -> None:
        pubsub = self._pubsub
        pause = 0.0
        while not pubsub._in_use.acquire(timeout=pause):
            pubsub._wake()
            pause = 0.05  # a reader may take the wake-up before it waits

    def __exit__(self, *_: object) -> None:
        self._pubsub._in_use.release()


class PubSubWorkerThread(threading.Thread):
    """The thread of run_in_thread()."""

    def __init__(
        self,
        pubsub: PubSub,
        sleep_time: float = 0.0,
        daemon: bool = False,
        exception_handler: ExceptionHandler | None = None,
    ) -> None:
        super().__init__(daemon=daemon)
        self.pubsub = pubsub
        self.sleep_time = sleep_time
        self.exception_handler = exception_handler
        self._running = threading.Event()
        self._running.set()

    def run(self) -> None:
        pubsub = self.pubsub
        try:
            while self._running.is_set():
                self._run_once(pubsub)
        finally:
            pubsub.close()

    def _run_once(self, pubsub: PubSub) -> None:
        try:
            pubsub.get_message(ignore_subscribe_messages=True, timeout=None)
        except BaseException as exception:
            if self.exception_handler is None:
                raise
            self.exception_handler(exception, pubsub, self)

    def stop(self) -> None:
        """Ends the thread after the handler that runs now, and closes the PubSub."""
        self._running.clear()
        self.pubsub._stop = True
        self.pubsub.subscribed_event.set()
        self.pubsub._wake()
