"""Puts the shared library into the wheel, which is therefore one platform's, and any Python's."""

import os
import shutil
from pathlib import Path

from setuptools import setup
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
        shutil.copyfile(library, Path(self.build_lib) / "rediscluster" / "librediscluster.so.0")


class OfThisPlatform(bdist_wheel):
    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return ("py3", "none", super().get_tag()[2])


setup(cmdclass={"build_py": WithLibrary, "bdist_wheel": OfThisPlatform})
