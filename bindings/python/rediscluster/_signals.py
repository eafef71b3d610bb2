"""Signals while a call waits: Ctrl-C raises at once, and a handler that raises nothing ends nothing.

Python's handlers run in the main thread, between two of its instructions, and so not while the
thread is inside the library. But the library asks a thread whether to wait on: there they run, and
what one of them raises is kept until the call has ended. Other threads are never asked: no handler
runs in them, and one that is left behind when the interpreter ends must not come back into it.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from signal import SIG_BLOCK, pthread_sigmask
from typing import Any

from ._native import ffi, lib

# Whether the main thread's calls ask.
ready = False
# What a handler has raised while the main thread's call waited.
raised: list[BaseException] = []


def _go_on(_: object) -> int:
    # Changes nothing, but runs the handlers that are due. (As a rule they have run on the way here,
    # but not in a child that a thread of Python 3.13 forked.) Where one raises, cffi calls _keep()
    # and answers with 0.
    pthread_sigmask(SIG_BLOCK, ())
    return 1


def _keep(_: object, exception: BaseException, __: object) -> None:
    raised.append(exception)


_callback: Any = ffi.callback("rdc_wait_fn", _go_on, error=0, onerror=_keep)


def prepare() -> None:
    """Before a call, as long as nothing is ready."""
    global ready
    if threading.current_thread() is threading.main_thread():
        lib.rdc_set_wait_callback(_callback, ffi.NULL)
        ready = True


def settle(free: Callable[[Any], Any], handle: Any) -> None:
    """After a call: raises what a handler raised meanwhile, instead of what the call came to."""
    if threading.current_thread() is threading.main_thread():
        free(handle)
        exception = raised[-1]
        raised.clear()
        raise exception


def _forked() -> None:
    """In a child, whose only thread is the main thread, whichever it was."""
    raised.clear()
    prepare()


def _end() -> None:
    global ready
    lib.rdc_set_wait_callback(ffi.NULL, ffi.NULL)
    # Whoever calls later, from an exit handler, waits as long as it takes.
    ready = True


prepare()
os.register_at_fork(after_in_child=_forked)
atexit.register(_end)
