"""Make the figures of the documentation.

Usage: ``python docs/_generate/figures.py``.
"""

import network_figures
from assets import ASSETS
from diagrams import drawings

from lamnet_models.evaluation.compare import demo
from lamnet_models.image_io import write_image


def main() -> None:
    """Write all figures."""
    for name, drawing in drawings().items():
        (ASSETS / name).write_text(drawing, encoding="utf-8")
    network_figures.write_all(ASSETS)
    write_image(ASSETS / "before-after.png", demo("astronaut").picture)


if __name__ == "__main__":
    main()
