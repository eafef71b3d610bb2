"""Includes the shared library in the wheel, which is for one platform and any Python version, and the
C extension where a compiler is there."""

import ctypes
import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Distribution, Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILT = ROOT / "target" / "release" / "stripped" / "librediscluster.so"
SONAME = "librediscluster.so.0"
SONAME_OF_MACOS = "librediscluster.0.dylib"
IS_REPOSITORY = (ROOT / "include" / "rediscluster.h").exists()
# In an sdist, the header is beside the sources.
HEADER = (ROOT / "include" if IS_REPOSITORY else HERE / "src") / "rediscluster.h"
SOURCES = ("module", "call", "names", "arguments", "reply", "commands", "queue")
# The first version of the stable ABI that has all that the extension needs.
STABLE_ABI = (3, 10)


def extensions():
    """The C extension. Other interpreters, and those without the GIL, have no stable ABI: there, the
    package works without it."""
    without_gil = sysconfig.get_config_var("Py_GIL_DISABLED")
    if sys.version_info < STABLE_ABI or sys.implementation.name != "cpython" or without_gil:
        return []
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden"]
    is_required = os.environ.get("RDC_PYTHON_EXTENSION") == "yes"
    if is_required:
        flags.append("-Werror")
    version = f"0x{STABLE_ABI[0]:02X}{STABLE_ABI[1]:02X}0000"
    return [
        Extension(
            "rediscluster._extension",
            [f"src/{name}.c" for name in SOURCES],
            depends=["src/extension.h"],
            include_dirs=["src", str(HEADER.parent)],
            define_macros=[("Py_LIMITED_API", version)],
            extra_compile_args=flags,
            extra_link_args=["-s"],
            py_limited_api=True,
            # Without a compiler or Python's headers, the wheel has no extension; with "yes", the build
            # fails.
            optional=not is_required,
        )
    ]


def library():
    """The library to include; None in an sdist on a system that has the library."""
    chosen = os.environ.get("RDC_LIBRARY")
    if chosen or IS_REPOSITORY:
        path = Path(chosen or BUILT)
        if not path.exists():
            raise SystemExit(f"{path} does not exist: run `make`, or set RDC_LIBRARY to its path")
        return path
    try:
        ctypes.CDLL(SONAME_OF_MACOS if sys.platform == "darwin" else SONAME)
    except OSError as error:
        raise SystemExit(
            f"cannot load the library: {error}; install librediscluster "
            "(https://github.com/librediscluster/librediscluster), or set RDC_LIBRARY to the library to include"
        ) from None
    return None


class BuildPyWithLibrary(build_py):
    def run(self):
        super().run()
        found = library()
        if found:
            name = SONAME_OF_MACOS if Path(found).suffix == ".dylib" else SONAME
            shutil.copyfile(found, Path(self.build_lib) / "rediscluster" / name)


class SdistWithHeader(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        shutil.copyfile(HEADER, Path(base_dir) / "src" / HEADER.name)


class PlatformDistribution(Distribution):
    def has_ext_modules(self):
        return True


class AnyPythonWheel(bdist_wheel):
    def get_tag(self):
        # An interpreter that cannot load the extension does without it. Who links for other systems than
        # this one knows for which (dist/packages/wheel.sh).
        return ("py3", "none", os.environ.get("RDC_WHEEL_PLATFORM") or super().get_tag()[2])


setup(
    distclass=PlatformDistribution,
    ext_modules=extensions(),
    cmdclass={
        "build_py": BuildPyWithLibrary,
        "bdist_wheel": AnyPythonWheel,
        "sdist": SdistWithHeader,
    },
)
