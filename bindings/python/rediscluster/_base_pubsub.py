"""What a subscriber wants, and its messages as redis-py's dicts. It is the part that the synchronous
and the asyncio PubSub share.

Nothing here waits. A subscriber of the library follows the cluster by itself: it subscribes again
when a slot moves or a node fails, and announces a gap wherever messages may have been missed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any

from redis.exceptions import PubSubError

from . import _convert
from ._native import RDC_STRING, ffi, lib
from .exceptions import InterruptedCall, RedisClusterException

Handler = Callable[[Any], Any]

# The attribute that has the handlers of a kind of message.
_HANDLERS = {"message": "channels", "pmessage": "patterns", "smessage": "shard_channels"}
# The attribute of the subscription that a confirmation ends.
_ENDED = {
    "unsubscribe": "channels",
    "punsubscribe": "patterns",
    "sunsubscribe": "shard_channels",
}
# How many elements a push has, if not three. The rest is the node of a notification.
_PUSH_LENGTHS = {"pmessage": 4, "gap": 5}
_CONFIRMATIONS = frozenset((*_ENDED, "subscribe", "psubscribe", "ssubscribe"))

_SUBSCRIBED = frozenset((b"subscribe", b"psubscribe", b"ssubscribe"))

# The longest wait of subscribe(), in seconds: another thread may end a subscription before it is
# confirmed.
LONGEST_CONFIRMATION = 5.0
# How many messages are read at once.
_READ_AHEAD = 32
# More elements than a message has. A gap has as many, and is read like other replies.
_PARTS = 5
_ARRAYS = ("int32_t", "const char *", "int64_t")
_unpack = ffi.unpack

# rdc_reply_int() of the error of a lost connection. Gaps follow, and redis-py does not raise either.
_SUBSCRIBED_AGAIN = 1

NOT_CONNECTED = (
    "pubsub connection not set: did you forget to call subscribe() or psubscribe()? "
    "(or ssubscribe(), for sharded channels)"
)


class Message(dict):  # type: ignore[type-arg]
    """A message as redis-py returns it: a dict of ``type``, ``pattern``, ``channel`` and ``data``.

    ``node`` is the "host:port" that sent a keyspace notification, which are local to a node; it is
    None for all other messages. A message of the type "gap" says that messages may have been missed
    on its channel or pattern; ``data`` is the reason, and it has two more keys, ``kind`` and
    ``node``.
    """

    __slots__ = ("node",)
    node: str | None


class BasePubSub:
    """The state of redis-py's PubSub."""

    PUBLISH_MESSAGE_TYPES = tuple(_HANDLERS)
    UNSUBSCRIBE_MESSAGE_TYPES = tuple(_ENDED)
    _native: Any = None
    _reply: Any = None

    def __init__(
        self,
        client: Any,
        node: None = None,
        host: None = None,
        port: None = None,
        *,
        ignore_subscribe_messages: bool = False,
        push_handler_func: Handler | None = None,
        gap_handler: Handler | None = None,
    ) -> None:
        if not (node is host is port is None):
            raise RedisClusterException(
                "pubsub() takes no node: the library chooses it, and another one when it fails; "
                "remove node, host and port"
            )
        self._client = client
        # Out-parameters for reuse.
        self._arrays = tuple(ffi.new(f"{each}[{_PARTS}]") for each in _ARRAYS)
        self._encoding: tuple[str, str] = client._encoding
        self._decode: _convert.Decode = client._decode
        self.ignore_subscribe_messages = ignore_subscribe_messages
        _check_handler("push_handler_func", push_handler_func)
        _check_handler("gap_handler", gap_handler)
        self.push_handler_func = push_handler_func
        self.gap_handler = gap_handler
        self._forget()

    def _forget(self) -> None:
        # By channel or pattern, as texts are returned: the handler, or None.
        self.channels: dict[Any, Handler | None] = {}
        self.patterns: dict[Any, Handler | None] = {}
        self.shard_channels: dict[Any, Handler | None] = {}
        # Whose confirmation of an unsubscription has not been read yet.
        self._ending: dict[str, set[Any]] = {name: set() for name in _HANDLERS.values()}
        # What has not been returned: responses of the library, exceptions, and pongs.
        self._responses: deque[Any] = deque()
        # How many subscriptions the servers have not confirmed yet.
        self._unconfirmed = 0
        # A reply that is not among them, because a signal handler has raised.
        reply, self._reply = self._reply, None
        if reply is not None:
            lib.rdc_reply_free(reply)

    @property
    def subscribed(self) -> bool:
        """Whether there is a subscription, or one whose end has not been confirmed yet."""
        return bool(self.channels or self.patterns or self.shard_channels)

    def _open(self) -> Any:
        """The subscriber of the library, which the first command makes. This does no I/O."""
        if self._native is None:
            native = lib.rdc_subscriber_new(self._client._handle)
            self._native = ffi.gc(native, lib.rdc_subscriber_free)
        return self._native

    # ---- Subscriptions ---------------------------------------------------------------------------

    def _text(self, name: Any) -> Any:
        """A channel as it is returned in messages."""
        data = _convert.argument(name, *self._encoding)
        return data if self._decode is None else self._decode(data)

    def _wanted(
        self, names: Iterable[Any], handlers: dict[str, Handler]
    ) -> dict[Any, Handler | None]:
        """The handlers by channel for the arguments of subscribe()."""
        wanted: dict[Any, Handler | None] = {}
        for name in _flat(names):
            # redis-py 7 and later have Subscription(name, handler).
            handler = getattr(name, "handler", None)
            wanted[self._text(getattr(name, "name", name))] = handler
        for name, handler in handlers.items():
            wanted[self._text(name)] = handler
        for name, handler in wanted.items():
            _check_handler(f"the handler of {name!r}", handler)
        return wanted

    def _subscribed_to(self, kind: str, wanted: dict[Any, Handler | None]) -> None:
        """From now on, messages find their handlers."""
        getattr(self, kind).update(wanted)
        self._unconfirmed += len(wanted)
        self._ending[kind].difference_update(wanted)

    def _unwanted(self, kind: str, names: Iterable[Any]) -> list[Any]:
        """The arguments of UNSUBSCRIBE. Without names, these are all."""
        texts = [self._text(name) for name in _flat(names)]
        self._ending[kind].update(texts or getattr(self, kind))
        return texts

    def _check_handlers(self) -> None:
        """Raises if a message would have no handler, in a loop that drops what it returns."""
        for what, attribute in (
            ("Channel", "channels"), ("Pattern", "patterns"), ("Sharded channel", "shard_channels"),
        ):  # fmt: skip
            for name, handler in getattr(self, attribute).items():
                if handler is None:
                    raise PubSubError(f"{what}: {name!r} has no handler registered")

    # ---- Messages --------------------------------------------------------------------------------

    def _take(self, milliseconds: int) -> InterruptedCall | None:
        """Stores the next response of the library, if there is one within the time, and further ones
        that have been received already, up to a number. Returns the error of an interrupted call.

        A signal handler that raises may end this after each call of a function. A reply is kept then,
        and is stored once, because no function is called between the two statements that do it. Only
        a reply that the library returns while the handler is due is lost, so there is a gap.
        """
        responses = self._responses
        for _ in range(_READ_AHEAD):
            if self._reply is None:
                try:
                    self._reply = lib.rdc_subscriber_next(self._native, milliseconds)
                except BaseException:
                    self._store_gaps()
                    raise
            response = self._response(self._reply)
            is_stored = response is not None and type(response) is not InterruptedCall
            reply, self._reply = self._reply, None
            if is_stored:
                responses += (response,)
                if self._unconfirmed:
                    self._count_confirmation(response)
            lib.rdc_reply_free(reply)
            if not is_stored:
                interrupted: InterruptedCall | None = response
                return interrupted
            milliseconds = 0
        return None

    def _count_confirmation(self, response: Any) -> None:
        """Counts the confirmation of a subscription. After an error, none may come for long."""
        if isinstance(response, Exception):
            self._unconfirmed = 0
        elif response[0] in _SUBSCRIBED:
            self._unconfirmed -= 1

    def _store_gaps(self) -> None:
        """The next response of each channel and pattern is a gap."""
        for kind, attribute in _HANDLERS.items():
            for name in getattr(self, attribute):
                text = _convert.argument(name, *self._encoding)
                self._responses.append([b"gap", kind.encode(), text, b"interrupted", b""])

    def _response(self, reply: Any) -> Any:
        """The response in a reply, with bytes as texts; None for NIL, or an exception."""
        kinds, strs, nums = self._arrays
        count = lib.rdc_reply_read_array(reply, 0, _PARTS, kinds, strs, nums)
        if 3 <= count < _PARTS and kinds[count - 1] == RDC_STRING:  # a message
            response: Any = list(map(_unpack, _unpack(strs, count), _unpack(nums, count)))
            # Keyspace notifications are those of one node.
            if response[-2].startswith(b"__key"):
                response.append(_convert.node(reply))
            return response
        response = _convert.read(reply, None)
        if isinstance(response, Exception) and lib.rdc_reply_int(reply) == _SUBSCRIBED_AGAIN:
            return None
        return response

    def _command(self, args: tuple[Any, ...]) -> None:
        """Runs a command of a subscriber. The library does not wait."""
        argc, argv, lens, _alive = _convert.arguments(args, *self._encoding)
        reply = lib.rdc_subscriber_command(self._open(), argc, argv, lens)
        try:
            response = _convert.read(reply, None)
        finally:
            lib.rdc_reply_free(reply)
        if isinstance(response, Exception):
            raise response

    def _message(self, response: list[Any]) -> Message:
        """A response as redis-py's dict."""
        kind = response[0].decode()
        message = Message(type=kind, pattern=None, channel=None, data=None)
        message.node = None
        if kind == "gap":
            self._fill_gap(message, *response[1:5])
        elif kind == "pong":
            message["data"] = self._decoded(response[1])
        elif kind == "pmessage":
            message["pattern"] = self._decoded(response[1])
            self._fill(message, *response[2:])
        else:
            self._fill(message, *response[1:])
        if kind in _ENDED:
            self._confirm_end(_ENDED[kind], message["channel"])
        return message

    def _fill(self, message: Message, channel: Any, data: Any, node: str | None = None) -> None:
        message["channel"], message["data"] = self._decoded(channel), self._decoded(data)
        message.node = node

    def _fill_gap(self, message: Message, kind: bytes, name: Any, reason: Any, node: Any) -> None:
        message["kind"] = kind.decode()
        message["pattern" if message["kind"] == "pmessage" else "channel"] = self._decoded(name)
        message["data"] = self._decoded(reason)
        message["node"] = message.node = node.decode() if node else None

    def _decoded(self, value: Any) -> Any:
        return self._decode(value) if self._decode and isinstance(value, bytes) else value

    def _confirm_end(self, kind: str, name: Any) -> None:
        if name in self._ending[kind]:
            self._ending[kind].remove(name)
            getattr(self, kind).pop(name, None)

    def _handled(self, message: Message, response: list[Any]) -> tuple[Handler, Any] | None:
        """The function that gets a message instead of the caller, and what it gets."""
        kind = message["type"]
        handler: Handler | None = None
        if kind == "gap" and self.gap_handler is not None:
            handler = self.gap_handler
        elif self.push_handler_func is not None and kind != "pong":
            return self.push_handler_func, response[: _PUSH_LENGTHS.get(kind, 3)]
        elif kind in _HANDLERS:
            name = message["pattern" if kind == "pmessage" else "channel"]
            handler = getattr(self, _HANDLERS[kind]).get(name)
        return None if handler is None else (handler, message)

    def _is_ignored(self, message: Message, ignore_subscribe_messages: bool) -> bool:
        ignores = ignore_subscribe_messages or self.ignore_subscribe_messages
        return ignores and message["type"] in _CONFIRMATIONS

    def _pong(self, message: Any) -> None:
        """After a ping: the next message is its response."""
        text = "" if message is None else message
        self._responses.append([b"pong", _convert.argument(text, *self._encoding)])


def time_limit(timeout: float | None) -> float | None:
    """The argument ``timeout`` of get_message(): seconds, or None for a wait without a limit."""
    if timeout is None:
        return None
    if not isinstance(timeout, (float, int, Real)):
        raise TypeError(
            f"timeout must be a number of seconds, or None to wait without a limit, not {timeout!r}"
        )
    if timeout != timeout:
        raise ValueError(
            "timeout must not be NaN: pass a number of seconds, or None to wait without a limit"
        )
    # More than a lock can wait for. Infinity is, too.
    return None if timeout > threading.TIMEOUT_MAX else max(timeout, 0)


def _check_handler(what: str, handler: Any) -> None:
    if handler is not None and not callable(handler):
        raise TypeError(f"{what} must be a function of a message, or None, not {handler!r}")


def _flat(names: Iterable[Any]) -> Iterable[Any]:
    """The names, each of which may be a list of names."""
    for name in names:
        if isinstance(name, (list, tuple, set, frozenset)):
            yield from name
        else:
            yield name
