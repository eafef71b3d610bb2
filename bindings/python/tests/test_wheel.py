"""The wheel is built, installed in an empty environment, and used."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SESSION = """
import asyncio, os, sys
from rediscluster import RedisCluster, _load_extension
with RedisCluster.from_url(os.environ["RDC_URL"], decode_responses=True) as rc:
    rc.set("wheel", "works")
    print(rc.get("wheel"), rc.pipeline().get("wheel").get("none").execute())
from rediscluster.asyncio import RedisCluster as AsyncRedisCluster
print(asyncio.run(AsyncRedisCluster.from_url(os.environ["RDC_URL"]).get("wheel")))
loaded = open("/proc/self/maps").read()
print([line.split()[-1] for line in loaded.splitlines() if "librediscluster" in line][0])
print(_load_extension.extension and _load_extension.extension.__file__)
"""


HAS_STABLE_ABI = sys.implementation.name == "cpython" and sys.version_info >= (3, 10)


def run(*command: object, folder: Path = Path("/"), **environment: str) -> str:
    unset = ("PYTHONPATH", "RDC_PYTHON_EXTENSION")
    found = {key: value for key, value in os.environ.items() if key not in unset}
    done = subprocess.run(
        [str(arg) for arg in command],
        env={**found, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_is_built_installed_and_used(rc, tmp_path):
    sdist = ("setup.py", "-q", "egg_info", "--egg-base", tmp_path, "sdist", "--dist-dir", tmp_path)
    run(sys.executable, *sdist, folder=HERE.parent)
    (source,) = tmp_path.glob("*.tar.gz")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, source)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith("librediscluster-") and "-py3-none-linux" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    for needed in ("client.py", "asyncio/client.py", "py.typed", "librediscluster.so.0"):
        assert f"rediscluster/{needed}" in names
    assert ("rediscluster/_extension.abi3.so" in names) == HAS_STABLE_ABI
    assert not any(name.startswith(("tests", "src")) for name in names)

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
    for loaded in printed[2:] if HAS_STABLE_ABI else printed[2:3]:
        assert Path(loaded).is_relative_to(home.resolve())
