"""The C extension, if it is there: it makes the frequent calls cheap. Without it, the package does
the same with cffi.

RDC_PYTHON_EXTENSION chooses: "no" for the package without it, "yes" for the one in the package, or
the path of another one. By default, the one in the package is used if it can be loaded.
"""

from __future__ import annotations

import os
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import Any


def _load() -> Any:
    chosen = os.environ.get("RDC_PYTHON_EXTENSION", "")
    if chosen == "no":
        return None
    if chosen not in ("", "yes"):
        loader = ExtensionFileLoader(f"{__package__}._extension", chosen)
        spec = spec_from_loader(loader.name, loader)
        module = module_from_spec(spec)  # type: ignore[arg-type]
        loader.exec_module(module)
        return module
    try:
        from . import _extension  # type: ignore[attr-defined]
    except ImportError:
        if chosen:
            raise
        return None  # there is none for this interpreter
    return _extension


extension: Any = _load()
