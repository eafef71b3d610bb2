"""The base classes of the client and of its pipelines: of the C extension, or else in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from . import _convert, _wait_callback
from ._load_extension import extension
from ._native import ffi, lib
from .exceptions import error

Class = TypeVar("Class", bound="type[Any]")


def _address(name: str) -> int:
    return int(ffi.cast("uintptr_t", ffi.addressof(lib, name)))


def _set_up(module: Any) -> None:
    objects = {
        "make_error": error,
        "bad_argument": _convert.bad_argument,
        "pairs": _convert.pairs,
        "as_text": bytes.decode,
        "install_callback": _wait_callback.install,
        "pending": _wait_callback.pending,
        "take_pending": _wait_callback.take_pending,
    }
    module.setup({name: _address(name) for name in module.LIBRARY_FUNCTIONS}, objects)


def own_methods(kind: Class) -> Class:
    """Gives a class the methods of the C extension as its own, which makes their calls cheaper."""
    if extension is not None:
        extension.own_methods(kind)
    return kind


if TYPE_CHECKING or extension is None:
    from ._dispatch_python import ClientDispatcher, PipelineDispatcher
else:
    _set_up(extension)
    ClientDispatcher = extension.ClientDispatcher
    PipelineDispatcher = extension.PipelineDispatcher

__all__ = ["ClientDispatcher", "PipelineDispatcher", "own_methods"]
