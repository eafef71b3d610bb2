"""The commands of a pipeline and their responses: what both kinds of pipelines share. Each command is
encoded when it is called, and all are sent in one buffer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from redis.client import EMPTY_RESPONSE, NEVER_DECODE

from . import _convert
from ._commands import DEFAULT_TARGETS, CommandArguments, Commands
from ._dispatch import PipelineDispatcher
from ._dispatch_python import for_callback
from ._handle import Handle
from ._load_extension import extension
from ._native import RDC_ERROR, RDC_NIL, ffi, lib
from .exceptions import RedisError, WatchError

Self = TypeVar("Self", bound="BasePipeline")

MULTI = b"*1\r\n$5\r\nMULTI\r\n"
EXEC = b"*1\r\n$4\r\nEXEC\r\n"

# The name of a command, and the options for the conversion of its response.
Command = tuple[Any, dict[str, Any]]

# The library's errors after which keys are not watched any more.
_WATCH_LOST = frozenset(("REDIRECTS", "CONNECT", "IO"))
# How often a transaction is begun that a moving slot refuses or that loses its connection, and the
# pause in seconds, which grows by itself: about a second in all.
_ATTEMPTS = 16
_PAUSE = 0.01


def pause_before(attempt: int) -> float | None:
    """The pause in seconds before a transaction is begun again; None if it was begun often
    enough."""
    return None if attempt >= _ATTEMPTS else _PAUSE * (attempt - 1)


if TYPE_CHECKING:

    class AppendedCommands(CommandArguments):
        """To type checkers, each method of a command accepts anything and returns Any: the pipeline, or
        the response while keys are watched. The annotations of redis-py are those of a client."""

        def __getattr__(self, name: str) -> Callable[..., Any]: ...
else:
    AppendedCommands = Commands


def _of_client(name: str) -> Any:
    """An attribute of the client as one of its pipelines."""
    return property(lambda self: getattr(self._client, name), doc=getattr(getattr(Handle, name, None), "__doc__", None))


class BasePipeline(PipelineDispatcher, AppendedCommands):
    """The commands of a pipeline, and the conversion of the replies.

    The C extension appends commands to the library's pipeline at once. Without it, and while keys
    are watched, they are encoded in ``_wire`` and sent in one buffer.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "execute_command" in vars(cls):
            # That of the C extension does not call execute_command(). (An assignment would tell type
            # checkers another type.)
            setattr(cls, "get", Commands.get)

    def __init__(self, client: Handle, transaction: bool) -> None:
        self._client = client
        self._transaction = transaction
        self._encoding, self._decode = client._encoding, client._decode
        self.response_callbacks = client.response_callbacks
        self._wire: list[bytes] = []
        self._commands = []
        # How many of these have their response already, because they have no keys.
        self._answered = 0
        # The library's pipeline.
        self._native: Any = None
        self._address = 0
        # A handle with a dedicated connection, while keys are watched.
        self._pin: Any = None
        self._multi = False

    def _open(self, handle: Any) -> None:
        """Makes the library's pipeline, which is executed with the options of this handle."""
        self._native = ffi.gc(lib.rdc_pipeline_new(handle), lib.rdc_pipeline_free)
        self._clear()

    def _clear(self) -> None:
        """Removes all commands. From now on, the C extension appends to the library's pipeline."""
        self._wire, self._commands, self._answered = [], [], 0
        if self._native is not None and extension is not None:
            lib.rdc_pipeline_clear(self._native)
            self._address = int(ffi.cast("uintptr_t", self._native))

    def _append(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Appends a command that the C extension does not append to the library's pipeline."""
        if "target_nodes" in options:
            raise RedisError(
                "target_nodes is not supported in a pipeline, which routes each command by itself: "
                "call the method of the client instead"
            )
        if self._pin is not None and not self._multi:
            return self._run_watching(args, options)
        if EMPTY_RESPONSE in options:
            self._answered += 1
        else:
            self._wire.append(_convert.encode(args, *self._encoding))
        self._commands.append((args[0], options))
        return self

    # The name of this method in redis-py.
    pipeline_execute_command = PipelineDispatcher.execute_command

    def mset_nonatomic(self: Self, mapping: Mapping[Any, Any]) -> Self:
        """Appends one SET per pair."""
        for key, value in mapping.items():
            self.set(key, value)
        return self

    def _run_watching(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Runs a command between watch() and multi()."""
        raise NotImplementedError

    def _take(self) -> tuple[list[bytes], list[Command], list[Command]]:
        """Empties the pipeline. Returns the commands to send in RESP, their names and options, and
        those of all commands: one without keys has its response, and is not sent."""
        wire, commands = self._wire, self._commands
        self._wire, self._commands = [], []
        # While the pipeline is executed, no thread appends to the library's one.
        self._address = 0
        sent = commands
        if self._answered:
            sent = [each for each in commands if EMPTY_RESPONSE not in each[1]]
        return wire, sent, commands

    def _responses(
        self, responses: list[Any], sent: list[Command], all_commands: list[Command], strict: bool
    ) -> list[Any]:
        """The responses of all commands; if ``strict``, raises the first error among them."""
        self._apply_callbacks(responses, sent, strict)
        if len(sent) == len(all_commands):
            return responses
        received = iter(responses)
        return [
            options[EMPTY_RESPONSE] if EMPTY_RESPONSE in options else next(received)
            for _, options in all_commands
        ]

    def _convert_response(
        self, responses: list[Any], i: int, command: Command, callback: Any, strict: bool
    ) -> None:
        """Converts a response in place. One that cannot be converted becomes the exception, so that
        the others are not lost. If ``strict``, an exception is raised."""
        response, (name, options) = responses[i], command
        if isinstance(response, Exception):
            if strict:
                raise response
            return
        extra = for_callback(options) if options else {}
        try:
            if name in DEFAULT_TARGETS and isinstance(response, dict):
                responses[i] = {node: callback(value, **extra) for node, value in response.items()}
            else:
                responses[i] = callback(response, **extra)
        except Exception as exception:
            if strict:
                raise
            responses[i] = exception

    def _read_exec(self, reply: Any, commands: list[Command]) -> Any:
        """The responses of EXEC. An error is returned and not raised."""
        kind = lib.rdc_reply_type(reply)
        if kind == RDC_ERROR:
            return _convert.read(reply, None)
        if kind == RDC_NIL:
            return WatchError("Watched variable changed.")
        return self._read(reply, commands)

    def _read(self, reply: Any, commands: list[Command]) -> list[Any]:
        if self._decode is None or not any(NEVER_DECODE in options for _, options in commands):
            try:
                responses: list[Any] = _convert.read(reply, self._decode)
                return responses
            except (ValueError, LookupError):
                pass  # a text that cannot be decoded: convert each response by itself
        decoders = (None if NEVER_DECODE in options else self._decode for _, options in commands)
        return _convert.elements_by_decoder(reply, decoders)

    def _watch_command(self, names: tuple[Any, ...]) -> bytes:
        """WATCH in RESP, if it is allowed here."""
        if self._multi or self._commands:
            raise RedisError("Cannot issue a WATCH after a MULTI")
        if not names:
            raise RedisError("watch() needs at least one key")
        return _convert.encode(("WATCH", *names), *self._encoding)

    def multi(self) -> None:
        """After watch(): from now on, commands are appended for execute()."""
        if self._multi:
            raise RedisError("Cannot issue nested calls to MULTI")
        if self._commands:
            raise RedisError("Commands without an initial WATCH have already been issued")
        self._multi = True

    def _executed(self, found: Any) -> list[Any]:
        """What _read_exec() has read; raises an error."""
        if isinstance(found, WatchError):
            raise found
        if isinstance(found, Exception):
            if not found.sent:  # type: ignore[attr-defined]
                self._raise_watch_lost(found)
            raise found
        responses: list[Any] = found
        return responses

    def _raise_watch_lost(self, exception: Any) -> None:
        """Raises WatchError for an error of a transaction of which nothing has run."""
        if exception.code not in _WATCH_LOST:
            raise exception
        self._drop_pin()
        lost: Any = WatchError(f"the watch is lost, the transaction has not run: {exception}")
        lost.code, lost.sent, lost.node = exception.code, False, exception.node
        raise lost from exception

    def _drop_pin(self) -> None:
        pin, self._pin, self._multi = self._pin, None, False
        if pin is not None:
            lib.rdc_close(pin)

    # redis-py's pipeline is a client.
    PRIMARIES, REPLICAS, ALL_NODES = Handle.PRIMARIES, Handle.REPLICAS, Handle.ALL_NODES
    RANDOM, DEFAULT_NODE, NODE_FLAGS = Handle.RANDOM, Handle.DEFAULT_NODE, Handle.NODE_FLAGS
    determine_slot = _of_client("determine_slot")
    encoder = _of_client("encoder")
    get_connection_kwargs = _of_client("get_connection_kwargs")
    get_default_node = _of_client("get_default_node")
    get_encoder = _of_client("get_encoder")
    get_node = _of_client("get_node")
    get_node_from_key = _of_client("get_node_from_key")
    get_nodes = _of_client("get_nodes")
    get_nodes_from_slot = _of_client("get_nodes_from_slot")
    get_primaries = _of_client("get_primaries")
    get_random_node = _of_client("get_random_node")
    get_random_primary_node = _of_client("get_random_primary_node")
    get_random_primary_or_all_nodes = _of_client("get_random_primary_or_all_nodes")
    get_redis_connection = _of_client("get_redis_connection")
    get_replicas = _of_client("get_replicas")
    keyslot = _of_client("keyslot")
    load_balancing_strategy = _of_client("load_balancing_strategy")
    nodes_manager = _of_client("nodes_manager")
    read_from_replicas = _of_client("read_from_replicas")
    set_response_callback = _of_client("set_response_callback")
    startup_nodes = _of_client("startup_nodes")

    def __len__(self) -> int:
        return len(self._commands)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} of {len(self)} commands>"
