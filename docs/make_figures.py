"""Make the figures of the documentation.

Usage: ``python docs/make_figures.py``.
"""

from pathlib import Path

from figures import diagrams, model, window

from lamnet_layers import FocalWindow
from lamnet_models.demo import demo
from lamnet_models.images import write_image

ASSETS = Path(__file__).parent / "assets"


def drawings() -> dict[str, str]:
    """Return the drawings that do not depend on weights, by file name."""
    return {
        "window.svg": window.window_svg([FocalWindow()]),
        "windows.svg": window.window_svg([FocalWindow((1,), (6,)), FocalWindow()]),
        "plane.svg": window.plane_svg(FocalWindow()),
        "network.svg": diagrams.network_svg(),
        "ulm.svg": diagrams.ulm_svg(),
        "dgfn.svg": diagrams.dgfn_svg(),
    }


def main() -> None:
    """Write all figures."""
    ASSETS.mkdir(exist_ok=True)
    for name, drawing in drawings().items():
        (ASSETS / name).write_text(drawing, encoding="utf-8")
    model.write_all(ASSETS)
    write_image(ASSETS / "before-after.png", demo("astronaut").picture)


if __name__ == "__main__":
    main()
