"""Make the transcript of docs/your-photos.md: run its commands on sample photographs, with a shorter training.

Usage: ``python docs/_generate/walkthrough.py``; takes about five minutes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from assets import ASSETS, write_lines
from PIL import Image

from lamnet_models.data.catalog import SAMPLES, sample_path

PAGE = ASSETS.parent / "your-photos.md"
_MINUTES = 3
_INSTALL = "python3 -m venv .venv && . .venv/bin/activate && pip install '.[train,plot]'\n"
_MARKER = "@@ block"
_SHELL = """
set -euo pipefail
lamnet() {{
    echo "$ lamnet $*"
    if [ "$1" = train ]; then set -- "$@" {settings}; fi
    command lamnet "$@"
}}
"""


def commands(page: Path = PAGE) -> list[str]:
    """Return the bash blocks of a page in order, without the installation."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    if blocks[0] != _INSTALL:
        raise ValueError(f"{page.name} must start with the block {_INSTALL.strip()!r}, got {blocks[0].strip()!r}")
    return blocks[1:]


def write_photographs(folder: Path, side: int) -> None:
    """Write ten JPEG crops of the sample photographs.

    For a side of at most 192 pixels, none overlaps the last two.
    """
    folder.mkdir(parents=True)
    for index in range(10):
        with Image.open(sample_path(SAMPLES[-1 - index % len(SAMPLES)])) as photo:
            left, top = (index // 4 * (length - side) // 2 for length in photo.size)
            crop = photo.convert("RGB").crop((left, top, left + side, top + side))
        crop.save(folder / f"holiday {index}.jpg", quality=95)


def walk(blocks: list[str], home: Path, settings: str) -> list[str]:
    """Run blocks of commands in one shell and return the output of each.

    Args:
        blocks: Blocks of bash commands.
        home: The home and initial working directory.
        settings: Recipe settings to append to every ``lamnet train``.

    Raises:
        RuntimeError: If a command fails.
    """
    script = _SHELL.format(settings=settings) + "".join(f"echo '{_MARKER}'\n{block}" for block in blocks)
    scripts = str(Path(sys.executable).parent)  # contains this environment's lamnet
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    environment["PATH"] = os.pathsep.join([scripts, os.environ["PATH"]])
    process = subprocess.run(["bash", "-c", script], cwd=home, env=environment, capture_output=True, text=True)
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}\n{process.stdout}\n{process.stderr}")
    return [part.strip("\n") for part in process.stdout.split(f"{_MARKER}\n")[1:]]


def main() -> None:
    """Run the commands and write the transcript."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        write_photographs(home / "Pictures", 192)
        outputs = walk(commands(), home, f"minutes={_MINUTES}")
    transcripts = [output.replace("minutes=30", f"minutes={_MINUTES}").replace(folder, "~") for output in outputs]
    write_lines("walkthrough.md", ["\n\n".join(f"```console\n{transcript}\n```" for transcript in transcripts)])


if __name__ == "__main__":
    main()
