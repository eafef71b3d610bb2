"""The messages of the library in the logger "rediscluster"."""

from __future__ import annotations

import atexit
import logging
from typing import Any

from . import _wait_callback
from ._native import ffi, lib

logger = logging.getLogger("rediscluster")
# A program that has not configured logging sees nothing.
logger.addHandler(logging.NullHandler())

_LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG}


def _log(_: object, level: int, message: Any) -> None:
    logger.log(
        _LEVELS.get(level, logging.DEBUG), "%s", ffi.string(message).decode("utf-8", "replace")
    )


# The exception of a signal handler that runs in the main thread meanwhile ends the call that logs.
_callback: Any = ffi.callback("rdc_log_fn", _log, onerror=_wait_callback.store_of_main_thread)


def follow_level() -> None:
    """Lets the library report what the logger accepts now. Each new client calls it."""
    wanted = [level for level, number in _LEVELS.items() if logger.isEnabledFor(number)]
    if wanted:
        lib.rdc_set_logger(_callback, ffi.NULL, max(wanted))
    else:
        lib.rdc_set_logger(ffi.NULL, ffi.NULL, 0)


def _remove() -> None:
    lib.rdc_set_logger(ffi.NULL, ffi.NULL, 0)


atexit.register(_remove)
