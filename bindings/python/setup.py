"""Puts the shared library into the wheel, which is therefore one platform's, and any Python's."""

import os
import shutil
import subprocess
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
BUILT = HERE.parent.parent / "target" / "release" / "librediscluster.so"


class WithLibrary(build_py):
    def run(self):
        super().run()
        library = Path(os.environ.get("RDC_LIBRARY") or BUILT)
        if not library.exists():
            raise SystemExit(f"{library} is not there: run make, or set RDC_LIBRARY to the library")
        copy = Path(self.build_lib) / "rediscluster" / "librediscluster.so.0"
        shutil.copyfile(library, copy)
        # What is for debuggers alone is seven times as large as the rest.
        if shutil.which("strip"):
            subprocess.run(["strip", "--strip-debug", copy], check=True)


class OfThisPlatform(Distribution):
    def has_ext_modules(self):
        return True


class AnyPython(bdist_wheel):
    def get_tag(self):
        return ("py3", "none", super().get_tag()[2])


setup(distclass=OfThisPlatform, cmdclass={"build_py": WithLibrary, "bdist_wheel": AnyPython})
