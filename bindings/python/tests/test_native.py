"""The declarations match the header. `RDC_BLESS=1 pytest tests/test_native.py` regenerates them."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path

import rediscluster
from rediscluster import _native

HEADER = Path(__file__).resolve().parents[3] / "include" / "rediscluster.h"
NATIVE = Path(_native.__file__)


def header() -> str:
    """The header without comments."""
    return re.sub(r"//.*", "", re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S))


def declarations() -> str:
    """The types and functions of the header, without preprocessor lines."""
    plain = re.sub(r"\\\n", "", header())
    cpp = r"^#if(?:def __cplusplus| defined\(__cplusplus\)).*?^#endif.*?$"
    plain = re.sub(cpp, "", plain, flags=re.M | re.S)
    plain = "\n".join(line for line in plain.split("\n") if not line.startswith("#"))
    statements = (" ".join(part.split()) for part in plain.split(";"))
    return "".join("\n    ".join(textwrap.wrap(f"{s};", 96)) + "\n" for s in statements if s)


def constants() -> str:
    defined = re.findall(r"^#define (RDC_(?!VERSION)\w+) (\d+)$", header(), re.M)
    return "".join(f"{name} = {value}\n" for name, value in defined)


def test_declarations_and_constants_match_header():
    text = NATIVE.read_text()
    fresh = re.sub(
        r'(DECLARATIONS = """\n).*?(""")', lambda m: m[1] + declarations() + m[2], text, flags=re.S
    )
    fresh = re.sub(r"(RDC_\w+ = \d+\n)+", lambda _: constants(), fresh, count=1)
    if os.environ.get("RDC_BLESS"):
        NATIVE.write_text(fresh)
    assert NATIVE.read_text() == fresh, "stale: run RDC_BLESS=1 pytest tests/test_native.py"


def test_version_matches_header():
    version = [
        re.search(rf"RDC_VERSION_{part} (\d+)", header())[1] for part in ("MAJOR", "MINOR", "PATCH")
    ]
    assert rediscluster.__version__ == ".".join(version)
    project = (NATIVE.parents[1] / "pyproject.toml").read_text()
    assert f'version = "{rediscluster.__version__}"' in project
    assert 1000000 * int(version[0]) + 1000 * int(version[1]) == _native.MIN_VERSION
    assert _native.lib.rdc_version_number() >= _native.MIN_VERSION
