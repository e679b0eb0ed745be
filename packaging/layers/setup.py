"""Build of the CPU kernels, by the ``setup.py`` of the whole project."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).resolve().parents[2] / "setup.py"))
