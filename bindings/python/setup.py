"""Includes the shared library in the wheel, which is for one platform and any Python version."""

import os
import shutil
import subprocess
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
BUILT = HERE.parent.parent / "target" / "release" / "librediscluster.so"


class BuildPyWithLibrary(build_py):
    def run(self):
        super().run()
        library = Path(os.environ.get("RDC_LIBRARY") or BUILT)
        if not library.exists():
            raise SystemExit(
                f"{library} does not exist: run `make`, or set RDC_LIBRARY to its path"
            )
        copy = Path(self.build_lib) / "rediscluster" / "librediscluster.so.0"
        shutil.copyfile(library, copy)
        # The debug information is seven times as large as the rest.
        if shutil.which("strip"):
            subprocess.run(["strip", "--strip-debug", copy], check=True)


class PlatformDistribution(Distribution):
    def has_ext_modules(self):
        return True


class AnyPythonWheel(bdist_wheel):
    def get_tag(self):
        return ("py3", "none", super().get_tag()[2])


setup(
    distclass=PlatformDistribution,
    cmdclass={"build_py": BuildPyWithLibrary, "bdist_wheel": AnyPythonWheel},
)
