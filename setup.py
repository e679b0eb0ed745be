"""Build of the CPU kernels; everything else is in pyproject.toml.

The kernels are plain C++ without Python or PyTorch headers, so one build serves all versions of both. Each variant of
the processor is a library of its own, chosen at run time. Without a C++ compiler the package installs without them.
"""

import copy
import os
import platform
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

FOLDER = Path(os.path.relpath(Path(__file__).parent / "lamnet_layers" / "ops" / "native"))
FLAGS = ["-std=c++17", "-O3", "-g0", "-fvisibility=hidden"]
FLAGS += ["-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"]  # no other liberties with the arithmetic
OPENMP = ["-Xpreprocessor", "-fopenmp"] if sys.platform == "darwin" else ["-fopenmp"]  # compiled, not linked
VARIANTS = {
    "x86_64": {
        "sse2": ["-march=x86-64"],
        "avx2": ["-march=haswell", "-mtune=generic"],
        "avx512": ["-march=skylake-avx512", "-mtune=generic", "-mprefer-vector-width=512"],
    },
    "aarch64": {"neon": []},
}
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


class BuildKernels(build_ext):
    """Builds plain shared libraries: the file names have no Python version."""

    def build_extension(self, extension: Extension) -> None:
        """Build a library; with relative sources, objects could land outside the build folder."""
        extension = copy.copy(extension)
        extension.sources = [os.path.abspath(path) for path in extension.sources]
        super().build_extension(extension)

    def get_ext_filename(self, name: str) -> str:
        """Return the path of a library in the package."""
        return f"{name.replace('.', os.sep)}.so"


class Wheel(bdist_wheel):
    """Wheel for any Python 3 on this platform."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tags of the Python version, of its ABI and of the platform."""
        return "py3", "none", super().get_tag()[2]


machine = platform.machine().lower()
setup(
    ext_modules=[
        Extension(
            f"lamnet_layers.ops.native.kernels_{variant}",
            [str(FOLDER / "src" / "kernels.cpp")],
            depends=[str(path) for path in sorted((FOLDER / "src").glob("*.h"))],
            extra_compile_args=[*FLAGS, *OPENMP, *flags],
            language="c++",
            optional=True,
        )
        for variant, flags in VARIANTS.get(MACHINES.get(machine, machine), {}).items()
    ],
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": Wheel},
)
