"""Makes the pictures of the documentation: python docs/make_figures.py."""

from pathlib import Path

from lamnet_layers import FocalWindow
from lamnet_models.demo import demo
from lamnet_models.images import write_image

ASSETS = Path(__file__).parent / "assets"


def window_svg(window: FocalWindow, pixel: int = 28) -> str:
    """Returns a drawing of a window's cells as SVG: cells coloured by their length, offsets of the pixels below."""
    width, height = window.size * pixel, 2 * pixel
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="{pixel * 0.42:.0f}" text-anchor="middle">'
    ]
    for tap, (first, length) in enumerate(window.spans):
        x = (window.radius + first) * pixel
        fill = "#3f51b5" if first == 0 and length == 1 else f"hsl(231, 48%, {85 - 45 / length:.0f}%)"
        parts.append(
            f'<rect x="{x + 1}" y="1" width="{length * pixel - 2}" height="{pixel - 2}" rx="4" fill="{fill}"/>'
            f'<text x="{x + length * pixel / 2}" y="{pixel * 0.65:.1f}" fill="#fff">{tap}</text>'
        )
    for offset in range(-window.radius, window.radius + 1):
        x = (window.radius + offset + 0.5) * pixel
        text = str(offset).replace("-", "−")
        parts.append(f'<text x="{x}" y="{pixel * 1.6:.1f}" fill="#888">{text}</text>')
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """Writes all pictures."""
    ASSETS.mkdir(exist_ok=True)
    (ASSETS / "window.svg").write_text(window_svg(FocalWindow()), encoding="utf-8")
    write_image(ASSETS / "before-after.png", demo("astronaut").picture)


if __name__ == "__main__":
    main()
