"""The package, its examples and the sessions of its README pass mypy's strict checks."""

from __future__ import annotations

import doctest
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import rediscluster

ROOT = Path(__file__).resolve().parents[1]


def programs_of(document: Path) -> list[str]:
    """The sessions in a document as programs. A block that begins with an import begins another one."""
    programs: list[str] = []
    for block in document.read_text().split("```"):
        text = "".join(each.source for each in doctest.DocTestParser().get_examples(block))
        if text.startswith(("import ", "from ")):
            programs.append("")
        if text:
            programs[-1] += text
    return programs


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="needs mypy")
@pytest.mark.skipif(rediscluster._load_extension.extension is None, reason="once is enough")
def test_package_and_sessions_pass_strict_checks(tmp_path):
    programs = list((ROOT / "examples").glob("*.py"))
    for document in (ROOT / "README.md", ROOT / "tests" / "readonly-mode.rst"):
        for number, text in enumerate(programs_of(document)):
            programs.append(tmp_path / f"{document.stem.replace('-', '_')}_{number}.py")
            programs[-1].write_text(text)
    assert len(programs) > 5
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path)]
    for what in (["-p", "rediscluster"], programs):
        found = subprocess.run([*command, *map(str, what)], cwd=ROOT, capture_output=True, text=True)
        assert found.returncode == 0, found.stdout + found.stderr
