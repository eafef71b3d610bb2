"""The wheel is built, installed in an empty environment, and used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SESSION = """
import asyncio, os, sys
from rediscluster import RedisCluster, _native
with RedisCluster.from_url(os.environ["RDC_URL"], decode_responses=True) as rc:
    rc.set("wheel", "works")
    print(rc.get("wheel"), rc.pipeline().get("wheel").get("none").execute())
from rediscluster.asyncio import RedisCluster as AsyncRedisCluster
print(asyncio.run(AsyncRedisCluster.from_url(os.environ["RDC_URL"]).get("wheel")))
loaded = open("/proc/self/maps").read()
print([line.split()[-1] for line in loaded.splitlines() if "librediscluster" in line][0])
"""


def run(*command: object, **environment: str) -> str:
    found = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(arg) for arg in command],
        env={**found, **environment},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_is_built_installed_and_used(rc, tmp_path):
    source = tmp_path / "python"
    shutil.copytree(HERE.parent, source, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, source)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith("rediscluster-") and "-py3-none-linux" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    for needed in ("client.py", "asyncio/client.py", "py.typed", "librediscluster.so.0"):
        assert f"rediscluster/{needed}" in names
    assert not any(name.startswith("tests") for name in names)

    home = tmp_path / "home"
    run(sys.executable, "-m", "venv", "--without-pip", home)
    run(*pip, "--python", home / "bin" / "python", "install", "--no-deps", "--no-index", wheel)
    # The dependencies are taken from the environment of the tests, the library from the wheel.
    printed = run(
        "env",
        "-u",
        "RDC_LIBRARY",
        "-u",
        "LD_LIBRARY_PATH",
        home / "bin" / "python",
        "-c",
        SESSION,
        PYTHONPATH=sysconfig.get_path("purelib"),
    ).splitlines()
    assert printed[0] == "works ['works', None]"
    assert printed[1] == "b'works'"
    assert Path(printed[2]).is_relative_to(home.resolve())
