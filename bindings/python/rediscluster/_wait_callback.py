"""The wait callback: runs Python's signal handlers while a call waits for a server.

Python runs signal handlers in the main thread, between two instructions, so none can run while the
thread is inside the library. While the library waits, it calls the thread's wait callback. The
callback runs the due handlers. If one raises an exception, for example KeyboardInterrupt, the
callback stores it and ends the call, and the exception is raised after the call has returned. A
handler that raises nothing does not end the call.

Only the main thread has a wait callback: no handler runs in other threads, and a thread that still
waits when the interpreter exits must not call back into it.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from signal import SIG_BLOCK, pthread_sigmask
from typing import Any

from ._load_extension import extension
from ._native import ffi, lib

# Whether install() has nothing to do any more.
installed = False
# The exceptions that handlers raised during the current call of the main thread.
pending: list[BaseException] = []


def _run_handlers(_: object) -> int:
    # This call changes nothing, but runs the due handlers. (Usually they have run on entry to this
    # function, but not in a child forked by a thread of Python 3.13.) If a handler raises, cffi
    # calls _store_exception() and returns 0.
    pthread_sigmask(SIG_BLOCK, ())
    # A handler may also have run while the library logged.
    return 0 if pending else 1


def _store_exception(_: object, exception: BaseException, __: object) -> None:
    pending.append(exception)


def store_of_main_thread(_: object, exception: BaseException, __: object) -> None:
    """Stores the exception of another callback, in which a signal handler has raised it. No signal
    handler runs in other threads."""
    if threading.current_thread() is threading.main_thread():
        pending.append(exception)


_callback: Any = ffi.callback("rdc_wait_fn", _run_handlers, error=0, onerror=_store_exception)


def install() -> None:
    """Sets the wait callback if this is the main thread."""
    global installed
    if threading.current_thread() is threading.main_thread():
        lib.rdc_set_wait_callback(_callback, ffi.NULL)
        installed = True
        if extension is not None:
            extension.wait_callback_installed()


def take_pending() -> BaseException | None:
    """In the main thread, removes and returns the exception of a handler; in others, None."""
    if threading.current_thread() is not threading.main_thread():
        return None
    exception = pending[-1]
    pending.clear()
    return exception


def raise_pending(free: Callable[[Any], Any], handle: Any) -> None:
    """In the main thread, frees the result of the call and raises the exception of a handler."""
    exception = take_pending()
    if exception is not None:
        free(handle)
        raise exception


def _after_fork() -> None:
    """In a forked child, whose only thread is the main thread, whichever thread it was before."""
    pending.clear()
    install()


def _remove() -> None:
    global installed
    lib.rdc_set_wait_callback(ffi.NULL, ffi.NULL)
    # Later calls, made by exit handlers, run without the callback: do not install it again.
    installed = True


install()
os.register_at_fork(after_in_child=_after_fork)
atexit.register(_remove)
