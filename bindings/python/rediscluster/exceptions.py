"""The exceptions, which are redis-py's own, so that its users' except clauses go on working.

Each that comes from the library has besides its words

- ``code``: the name of the error in docs/errors.md, such as ``"TIMEOUT"`` or ``"READONLY"``;
- ``sent``: False if the command certainly did not run, so that sending it again is safe; True if
  it ran or may have run;
- ``node``: ``"host:port"`` of the node that it is about, or None.
"""

from __future__ import annotations

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    ClusterError,
    ConnectionError,
    DataError,
    ExecAbortError,
    InvalidResponse,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    SlotNotCoveredError,
    TimeoutError,
    TryAgainError,
    WatchError,
)

# redis-py-cluster has these besides, for the same.
ClusterDownException = ClusterDownError
RedisClusterError = RedisClusterException
RedisClusterConfigError = RedisClusterException

__all__ = [
    "AskError",
    "AuthenticationError",
    "BusyLoadingError",
    "ClusterCrossSlotError",
    "ClusterDownError",
    "ClusterDownException",
    "ClusterError",
    "ClusterUnreachable",
    "ConnectionError",
    "DataError",
    "ExecAbortError",
    "InterruptedCall",
    "InvalidResponse",
    "MasterDownError",
    "MovedError",
    "NoPermissionError",
    "NoScriptError",
    "OutOfMemoryError",
    "ReadOnlyError",
    "RedisClusterConfigError",
    "RedisClusterError",
    "RedisClusterException",
    "RedisError",
    "ResponseError",
    "SlotNotCoveredError",
    "TimeoutError",
    "TryAgainError",
    "WatchError",
    "error",
]


class ClusterUnreachable(RedisClusterException, ConnectionError):
    """No node answered when the client was made, for which redis-py raises the first of the two."""


class InterruptedCall(RedisError):
    """Another thread called ``interrupt()``."""


# What the server's first word says, where it says more than "no".
_BY_WORD: dict[str, type[Exception]] = {
    "CLUSTERDOWN": ClusterDownError,
    "CROSSSLOT": ClusterCrossSlotError,
    "EXECABORT": ExecAbortError,
    "LOADING": BusyLoadingError,
    "MASTERDOWN": MasterDownError,
    "NOPERM": NoPermissionError,
    "NOSCRIPT": NoScriptError,
    "OOM": OutOfMemoryError,
    "READONLY": ReadOnlyError,
    "TRYAGAIN": TryAgainError,
}

_BY_CODE: dict[str, type[Exception]] = {
    "SERVER": ResponseError,
    "INVALID": DataError,
    "CONNECT": ConnectionError,
    "IO": ConnectionError,
    "TIMEOUT": TimeoutError,
    "PROTOCOL": InvalidResponse,
    "AUTH": AuthenticationError,
    "DOWN": ClusterDownError,
    "CROSSSLOT": ClusterCrossSlotError,
    "REDIRECTS": ClusterError,
    "READONLY": ReadOnlyError,
    "INTERRUPTED": InterruptedCall,
    "INTERNAL": RedisError,
    "CLOSED": ConnectionError,
    "TLS": ConnectionError,
}


def error(code: str, words: str, sent: bool, node: str | None) -> Exception:
    """The exception for an error of the library, of a code that is perhaps newer than this."""
    kind = _BY_CODE.get(code, RedisError)
    if code in ("SERVER", "AUTH"):
        # In a pipeline "Command # 2 (SET foo) of pipeline: " stands before the first word.
        kind = _BY_WORD.get(words.rpartition(" of pipeline: ")[2].split(" ", 1)[0], kind)
    raised: Exception = kind(words)
    raised.code, raised.sent, raised.node = code, sent, node  # type: ignore[attr-defined]
    return raised
