"""Makes what the site shows of the paper: python docs/make_reproduction.py [ITEM]..., with sets in LAMNET_DATA.

Half an hour on two processor cores, with Set5 and Set14. Each item is what lamnet reproduce ITEM makes, figure 5 of the
sample photographs.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from lamnet_cli.allocation import configure_allocator

from lamnet_models.explanation import explain
from lamnet_models.reproduction import ITEMS, reproduce

configure_allocator()

ASSETS = Path(__file__).parent / "assets"


def write(item: str) -> None:
    """Writes an item's text, and its picture if it has one."""
    with TemporaryDirectory() as folder:
        if item == "explain":
            explain("astronaut").draw(ASSETS / "explain.png")
            return
        options = {
            "figure5": {"dataset": "sample"},  # pictures that anyone may show
            "figure7": {"folder": Path(folder) / "runs"},
        }
        result = reproduce(item, **options.get(item, {}))
        (ASSETS / f"{item}.md").write_text(result.markdown(), encoding="utf-8")
        if result.draw:
            result.draw(ASSETS / f"{item}.png")


def main() -> None:
    """Writes the items named, or all."""
    for item in sys.argv[1:] or [*ITEMS, "explain"]:
        write(item)


if __name__ == "__main__":
    main()
