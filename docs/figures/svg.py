"""SVG primitives: boxes, nodes, wires and labels."""

from __future__ import annotations

from collections.abc import Iterable


def svg(width: float, height: float, parts: Iterable[str], title: str, font_size: int = 13) -> str:
    """Return an SVG element for inlining in a page; its colors come from the style sheet."""
    head = (
        f'<svg class="drawing" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{title}" data-search-exclude="" style="max-width: {width}px" font-size="{font_size}" '
        'text-anchor="middle">'
    )
    return "\n".join([head, *parts, "</svg>", ""])


def box(x: float, y: float, width: float, height: float, lines: str, css_class: str = "box") -> str:
    """Return a rectangle centered on (x, y) with a title line and smaller lines below it."""
    first, *rest = lines.split("\n")
    top = y - 7 * len(rest) + 4.5
    texts = [f'<text x="{x}" y="{top}">{first}</text>']
    texts += [
        f'<text class="quiet" font-size="11" x="{x}" y="{top + 15 * index}">{line}</text>'
        for index, line in enumerate(rest, 1)
    ]
    return (
        f'<rect class="{css_class}" x="{x - width / 2}" y="{y - height / 2}" width="{width}" height="{height}" rx="6"/>'
        + "".join(texts)
    )


def node(x: float, y: float, sign: str) -> str:
    """Return a circle with an operator sign, where two wires meet."""
    return f'<circle class="box" cx="{x}" cy="{y}" r="11"/><text x="{x}" y="{y + 4.5}">{sign}</text>'


def wire(*points: tuple[float, float], tip: bool = True) -> str:
    """Return a polyline with an arrowhead at its end."""
    path = "M" + "L".join(f"{x} {y}" for x, y in points)
    line = f'<path class="wire" d="{path}"/>'
    if not tip:
        return line
    (x0, y0), (x, y) = points[-2:]
    dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
    corners = f"{x},{y} {x - 7 * dx - 3.5 * dy},{y - 7 * dy - 3.5 * dx} {x - 7 * dx + 3.5 * dy},{y - 7 * dy + 3.5 * dx}"
    return f'{line}<polygon class="tip" points="{corners}"/>'


def label(x: float, y: float, text: str) -> str:
    """Return a small text label."""
    return f'<text class="quiet" font-size="11" x="{x}" y="{y}">{text}</text>'
