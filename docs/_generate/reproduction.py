"""Make the tables and figures of docs/reproduce.md and docs/explain.md.

Usage: ``python docs/_generate/reproduction.py [ITEM]...``, with Set5 and Set14 in ``LAMNET_DATA``. Makes all items by
default, in half an hour on two CPU cores. Each item is the output of ``lamnet reproduce ITEM``, except that figure 5
uses the sample photographs.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from assets import ASSETS
from lamnet_cli.allocator import configure_allocator

from lamnet_models.paper import ITEMS, explain, reproduce

configure_allocator()


def write(item: str) -> None:
    """Write the text of an item, and its picture if it has one."""
    with TemporaryDirectory() as folder:
        if item == "explain":
            explain("astronaut").draw(ASSETS / "explain.png")
            return
        options = {
            "figure5": {"dataset": "sample"},  # freely redistributable
            "figure7": {"folder": Path(folder) / "runs"},
        }
        result = reproduce(item, **options.get(item, {}))
        (ASSETS / f"{item}.md").write_text(result.markdown(), encoding="utf-8")
        if result.draw:
            result.draw(ASSETS / f"{item}.png")


def main() -> None:
    """Write the items named on the command line, or all of them."""
    for item in sys.argv[1:] or [*ITEMS, "explain"]:
        write(item)


if __name__ == "__main__":
    main()
