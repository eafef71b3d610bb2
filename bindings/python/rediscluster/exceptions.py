"""The exceptions. They are redis-py's own classes, so that existing except clauses keep working.

An exception that the library raises has these attributes:

- ``code``: the name of the error in docs/errors.md, such as ``"TIMEOUT"`` or ``"READONLY"``;
- ``sent``: False if the command did not run, so that sending it again is safe; True if it ran or
  may have run;
- ``node``: ``"host:port"`` of the node that the error concerns, or None.
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

# Additional names of the same classes in redis-py-cluster.
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
    """No node was reachable by the constructor. redis-py raises RedisClusterException for this."""


class InterruptedCall(RedisError):
    """Another thread ended the call with ``interrupt()``."""


# Classes by the error code of the server. Other error replies are ResponseError.
_BY_SERVER_CODE: dict[str, type[Exception]] = {
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


def error(code: str, message: str, sent: bool, node: str | None) -> Exception:
    """The exception for an error of the library. An unknown code gives RedisError."""
    kind = _BY_CODE.get(code, RedisError)
    if code in ("SERVER", "AUTH"):
        # In a pipeline, the message begins with "Command # 2 (SET foo) of pipeline: ".
        kind = _BY_SERVER_CODE.get(message.rpartition(" of pipeline: ")[2].split(" ", 1)[0], kind)
    exception: Exception = kind(message)
    exception.code, exception.sent, exception.node = code, sent, node  # type: ignore[attr-defined]
    return exception
