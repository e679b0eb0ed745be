"""Make the transcript of docs/your-photos.md.

Usage: ``python docs/make_walkthrough.py``; takes about five minutes.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from walkthrough import commands, walk, write_photographs

TRANSCRIPT = Path(__file__).parent / "assets" / "walkthrough.md"
_MINUTES = 3


def main() -> None:
    """Run the commands and write the transcript."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        write_photographs(home / "Pictures", 192)
        outputs = walk(commands(), home, f"minutes={_MINUTES}")
    lines = []
    for output in outputs:
        lines += ["```console", output.replace("minutes=30", f"minutes={_MINUTES}").replace(folder, "~"), "```", ""]
    TRANSCRIPT.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
