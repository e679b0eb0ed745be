"""Build of the CPU kernels, and of the released form of lamnet; everything else is in pyproject.toml.

The kernels are plain C++ without Python or PyTorch headers, so one build serves all versions of both. Each variant of
the processor is a library of its own, chosen at run time. Without a C++ compiler the package installs without them.

A checkout installs everything as lamnet. Releases are built from source distributions: lamnet-layers has lamnet_layers,
and lamnet requires it.
"""

import os
import platform
import re
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

FOLDER = Path("lamnet_layers", "ops", "native", "src")
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

    def get_ext_filename(self, name: str) -> str:
        """Return the path of a library in the package."""
        return f"{name.replace('.', os.sep)}.so"


class Wheel(bdist_wheel):
    """Wheel for any Python 3 on this platform."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tags of the Python version, of its ABI and of the platform."""
        return "py3", "none", super().get_tag()[2]


class SourceDistribution(sdist):
    """Source distribution; that of lamnet requires lamnet-layers of the same version instead of containing it."""

    def run(self) -> None:
        """Remove lamnet_layers from the project and add the requirement."""
        project = self.distribution
        if project.get_name() == "lamnet":
            project.packages = [name for name in project.packages if not name.startswith("lamnet_layers")]
            project.ext_modules = []
            old = project.install_requires
            requirements = type(old)([f"lamnet-layers=={project.get_version()}", *old])  # a list that counts as static
            project.install_requires = project.metadata.install_requires = requirements
        super().run()

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Copy the files; the project file gets the same changes, and needs no ``setup.py``."""
        if self.distribution.get_name() != "lamnet":
            return super().make_release_tree(base_dir, files)
        names = ("LICENSE", "README.md", "pyproject.toml", "cli", "lamnet_models")
        super().make_release_tree(base_dir, [file for file in files if Path(file).parts[0] in names])
        version = self.distribution.get_version()
        text = Path("pyproject.toml").read_text(encoding="utf-8")
        for pattern, replacement in {
            r'^dynamic = \["version"\]\n': f'version = "{version}"\n',
            r"^dependencies = \[\n": f'dependencies = [\n    "lamnet-layers=={version}",\n',
            r'(^ +"lamnet_layers[\w.]*",\n)+': "",
            r"^lamnet_layers = .*\n": "",
            r"^\[tool\.setuptools\.dynamic\]\n(.+\n)+\n": "",
        }.items():
            text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
            assert count == 1, f"pyproject.toml must contain {pattern} once"
        Path(base_dir, "pyproject.toml").write_text(text, encoding="utf-8")


machine = platform.machine().lower()
setup(
    ext_modules=[
        Extension(
            f"lamnet_layers.ops.native.kernels_{variant}",
            [str(FOLDER / "kernels.cpp")],
            depends=[str(path) for path in sorted(FOLDER.glob("*.h"))],
            extra_compile_args=[*FLAGS, *OPENMP, *flags],
            language="c++",
            optional=True,
        )
        for variant, flags in VARIANTS.get(MACHINES.get(machine, machine), {}).items()
    ],
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": Wheel, "sdist": SourceDistribution},
)
