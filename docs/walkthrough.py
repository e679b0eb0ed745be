"""Runs the commands of a page as a newcomer would, in a home with ten photographs and with a shorter training."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

from lamnet_models.datasets.samples import SAMPLES, sample_path

PAGE = Path(__file__).parent / "your-photos.md"
_INSTALL = "python3 -m venv .venv && . .venv/bin/activate && pip install .\n"
_MARK = "@@ block"
_SHELL = """
set -euo pipefail
lamnet() {{
    echo "$ lamnet $*"
    if [ "$1" = train ]; then set -- "$@" {settings}; fi
    command lamnet "$@"
}}
"""


def commands(page: Path = PAGE) -> list[str]:
    """Returns the blocks of commands of a page, in their order, without the one that installs."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    if blocks[0] != _INSTALL:
        raise ValueError(f"{page.name} should begin by installing: {_INSTALL.strip()}")
    return blocks[1:]


def write_photographs(folder: Path, side: int) -> None:
    """Writes ten JPEG files, pieces of the sample photographs; up to 192 pixels a side none overlaps the last two."""
    folder.mkdir(parents=True)
    for index in range(10):
        with Image.open(sample_path(SAMPLES[-1 - index % len(SAMPLES)])) as photo:
            left, top = (index // 4 * (length - side) // 2 for length in photo.size)
            piece = photo.convert("RGB").crop((left, top, left + side, top + side))
        piece.save(folder / f"holiday {index}.jpg", quality=95)


def walk(blocks: list[str], home: Path, settings: str) -> list[str]:
    """Runs blocks of commands in one shell, up to the first failure; returns what each printed, and its commands.

    Args:
        blocks: The commands.
        home: The user's home, and the folder to start in.
        settings: What to put behind every ``lamnet train``, so that it ends soon.

    Raises:
        RuntimeError: If a command fails.
    """
    script = _SHELL.format(settings=settings) + "".join(f"echo '{_MARK}'\n{block}" for block in blocks)
    scripts = str(Path(sys.executable).parent)  # where this environment's lamnet is
    surroundings = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "COLUMNS": "100"}
    surroundings["PATH"] = os.pathsep.join([scripts, os.environ["PATH"]])
    done = subprocess.run(["bash", "-c", script], cwd=home, env=surroundings, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return [part.strip("\n") for part in done.stdout.split(f"{_MARK}\n")[1:]]
