"""The exceptions: redis-py's own classes or subclasses, so that existing clauses keep working.

An exception that the library raises has these attributes:

- ``code``: the name of the error in docs/errors.md, such as ``"TIMEOUT"`` or ``"READONLY"``;
- ``sent``: False if the command did not run, so that sending it again is safe; True if it ran or
  may have run;
- ``node``: ``"host:port"`` of the node that the error concerns, or None.
"""

from __future__ import annotations

from typing import Any

import redis.exceptions
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
    "ClusterTimeout",
    "ClusterUnreachable",
    "ConnectionError",
    "CrossSlotError",
    "DataError",
    "ExecAbortError",
    "InterruptedCall",
    "InvalidError",
    "InvalidResponse",
    "MasterDownError",
    "MovedError",
    "NoPermissionError",
    "NoScriptError",
    "OutOfMemoryError",
    "QueueFullError",
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


class ClusterTimeout(ClusterUnreachable, TimeoutError):
    """No node replied to the constructor in time."""


class InvalidError(DataError, ResponseError, RedisClusterException):
    """The library refused an argument, an option or a command. redis-py raises DataError for an
    argument, ResponseError for a wrong number of arguments, and RedisClusterException for a command
    without its key or for an unknown node. redis-py-cluster raises the last for commands that it
    refuses in a cluster."""


# redis-py has this class since version 6.
_OfTransaction: Any = getattr(
    redis.exceptions, "CrossSlotTransactionError", RedisClusterException
)


class CrossSlotError(ClusterCrossSlotError, _OfTransaction):  # type: ignore[misc]
    """The library refused a command or a transaction because its keys are in different slots. redis-py
    raises RedisClusterException for a command, and CrossSlotTransactionError, which is one too, for a
    transaction."""


class InterruptedCall(RedisError):
    """Another thread ended the call with ``interrupt()``."""


class QueueFullError(RedisError):
    """More commands were in progress in one event loop than ``queue_limit`` allows. Nothing was
    sent."""


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
    "INVALID": InvalidError,
    "CONNECT": ConnectionError,
    "IO": ConnectionError,
    "TIMEOUT": TimeoutError,
    "PROTOCOL": InvalidResponse,
    "AUTH": AuthenticationError,
    "DOWN": ClusterDownError,
    "CROSSSLOT": CrossSlotError,
    "REDIRECTS": ClusterError,
    "READONLY": ReadOnlyError,
    "INTERRUPTED": InterruptedCall,
    "INTERNAL": RedisError,
    "CLOSED": ConnectionError,
    "TLS": ConnectionError,
    "QUEUE_FULL": QueueFullError,
}

# The classes of errors in the constructor, where redis-py raises RedisClusterException.
_BY_CODE_IN_CONSTRUCTOR: dict[str, type[Exception]] = {
    "CONNECT": ClusterUnreachable,
    "IO": ClusterUnreachable,
    "TIMEOUT": ClusterTimeout,
    "TLS": ClusterUnreachable,
}


# What the library's messages recommend to C programs, and what it is called here.
_IN_PYTHON = {
    "a handle from rdc_pin()": "a client from pin()",
    "a subscriber (rdc_subscriber_new)": "pubsub()",
    "rdc_command_to() with": "target_nodes with",
    "rdc_command_to()": "target_nodes",
    "rdc_pin()": "pin()",
    "rdc_readonly()": "with_options(readonly=True)",
    "rdc_with()": "with_options()",
}


# How the library and redis-py name the command of a pipeline that an error is about.
_OF_PIPELINE, _OF_PIPELINE_HERE = " of pipeline: ", " of pipeline caused error: "


def python_message(message: str) -> str:
    """A message of the library with the names of this package."""
    for of_c, of_python in _IN_PYTHON.items():
        message = message.replace(of_c, of_python)
    return message


def error(code: str, message: str, sent: bool, node: str | None) -> Exception:
    """The exception for an error of the library. An unknown code gives RedisError."""
    kind = _BY_CODE.get(code, RedisError)
    if code != "SERVER" and "rdc_" in message:
        message = python_message(message)
    if code in ("SERVER", "AUTH"):
        # In a pipeline, the message begins with "Command # 2 (SET foo) of pipeline: ".
        kind = _BY_SERVER_CODE.get(message.rpartition(_OF_PIPELINE)[2].split(" ", 1)[0], kind)
    if message.startswith("Command # "):
        message = message.replace(_OF_PIPELINE, _OF_PIPELINE_HERE, 1)
    return _with_attributes(kind, code, message, sent, node)


def constructor_error(message: str, code: str = "") -> Exception:
    """The exception for an error that rdc_client_error() returns, whose message begins with the
    code."""
    code, message = code or message.split(" ", 1)[0], python_message(message)
    kind = _BY_CODE_IN_CONSTRUCTOR.get(code) or _BY_CODE.get(code, RedisError)
    return _with_attributes(kind, code, message, False, None)


def _with_attributes(
    kind: type[Exception], code: str, message: str, sent: bool, node: str | None
) -> Exception:
    exception: Exception = kind(message)
    exception.code, exception.sent, exception.node = code, sent, node  # type: ignore[attr-defined]
    return exception
