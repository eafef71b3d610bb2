"""The sessions of the documentation, in a cluster on the ports that they use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.parametrize("page", [HERE / "readonly-mode.rst", HERE.parent / "README.md"])
def test_documented_session_runs_as_written(page):
    command = [os.environ["RDC_CLUSTER"], "run", "--ports", "7000-7005", "--"]
    command += [sys.executable, "-W", "error", str(HERE / "session.py"), str(page)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout
