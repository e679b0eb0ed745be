"""SVG drawings: diagrams of the network, ULM and DGFN, the cells of focal windows, and bar charts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lamnet_layers import FocalWindow

_PIXEL = 28


def drawings() -> dict[str, str]:
    """Return the drawings by file name; they do not depend on weights."""
    return {
        "window.svg": window_svg([FocalWindow()]),
        "windows.svg": window_svg([FocalWindow((1,), (6,)), FocalWindow()]),
        "plane.svg": plane_svg(FocalWindow()),
        "network.svg": network_svg(),
        "ulm.svg": ulm_svg(),
        "dgfn.svg": dgfn_svg(),
    }


def network_svg() -> str:
    """Return the diagram of the network, with one LAM block below it."""
    y, low = 46, 150
    parts = [
        label(28, y - 7, "LR"),
        wire((6, y), (52, y)),
        box(92, y, 76, 44, "Conv 3×3\n3 → 64"),
        wire((130, y), (172, y)),
        box(226, y, 104, 44, "LAM blocks\n4, large: 5", "blue"),
        wire((278, y), (312, y)),
        box(352, y, 76, 44, "Conv 3×3"),
        wire((390, y), (425, y)),
        label(407, y - 7, "·α"),
        node(437, y, "+"),
        wire((150, y), (150, y + 46), (437, y + 46), (437, y + 12)),
        wire((448, y), (478, y)),
        box(518, y, 76, 44, "Conv 3×3\n64 → 3r²"),
        wire((556, y), (582, y)),
        box(630, y, 92, 44, "PixelShuffle\n×r"),
        wire((676, y), (714, y)),
        label(696, y - 7, "SR"),
        label(48, low - 38, "one LAM block"),
        wire((6, low), (60, low)),
        box(100, low, 78, 40, "ULM", "blue"),
        wire((139, low), (172, low)),
        box(212, low, 78, 40, "DGFN", "warm"),
        wire((251, low), (286, low)),
        label(312, low + 5, "six times"),
        wire((338, low), (372, low)),
        box(412, low, 78, 40, "ULM", "blue"),
        wire((451, low), (484, low)),
        box(524, low, 78, 40, "DGFN", "warm"),
        wire((563, low), (620, low)),
        label(594, low - 7, "·α"),
        node(632, low, "+"),
        wire((30, low), (30, low + 44), (632, low + 44), (632, low + 12)),
        wire((643, low), (714, low)),
    ]
    return svg(720, 206, parts, "LAMNet: convolution, LAM blocks, convolution, residual, upsampling")


def ulm_svg() -> str:
    """Return the diagram of ULM: two branches and the exchange between them."""
    y, up, down = 100, 46, 154
    parts = [
        wire((6, y), (40, y)),
        box(80, y, 80, 44, "Conv 1×1\n64 → 64"),
        wire((120, y), (146, y), (146, up), (176, up)),
        wire((146, y), (146, down), (176, down)),
        label(160, up - 8, "32"),
        label(160, down + 18, "32"),
        box(262, up, 172, 48, "CSM\n32 → 16 → 32, per pixel"),
        box(214, down, 76, 48, "FSA\nalong rows", "blue"),
        wire((252, down), (264, down)),
        box(306, down, 84, 48, "FSA\nalong columns", "blue"),
        wire((348, up), (476, up)),
        wire((348, down), (476, down)),
        label(366, up - 8, "c"),
        label(366, down + 18, "a"),
        box(420, y, 76, 36, "IEM", "warm"),
        wire((390, up), (390, y - 18)),
        wire((390, down), (390, y + 18)),
        wire((448, y - 18), (448, up + 26), (487, up + 26), (487, up + 12)),
        wire((448, y + 18), (448, down - 26), (487, down - 26), (487, down - 12)),
        node(487, up, "×"),
        node(487, down, "×"),
        label(524, up + 30, "spatial gate"),
        label(526, down - 22, "channel gate"),
        wire((498, up), (590, up), (590, y - 8)),
        wire((498, down), (590, down), (590, y + 8)),
        label(566, y + 4, "concat"),
        wire((590, y), (614, y)),
        box(654, y, 80, 44, "Conv 1×1\n64 → 64"),
        wire((694, y), (720, y)),
    ]
    return svg(726, 196, parts, "ULM: a channel branch and a spatial branch that gate each other")


def dgfn_svg() -> str:
    """Return the diagram of DGFN with its two gates."""
    y, up, down = 84, 38, 130
    parts = [
        wire((6, y), (40, y)),
        box(80, y, 80, 44, "Conv 1×1\n64 → 128"),
        wire((120, y), (148, y)),
        box(192, y, 88, 44, "DWConv 3×3\nper channel"),
        wire((236, y), (258, y), (258, up), (470, up)),
        wire((258, y), (258, down), (470, down)),
        label(280, up - 8, "x₁"),
        label(280, down + 18, "x₂"),
        wire((318, up), (318, y), (346, y)),
        box(386, y, 80, 36, "GELU", "warm"),
        wire((426, y), (482, y), (482, up + 11)),
        wire((482, y), (482, down - 11)),
        label(448, y - 8, "u"),
        node(482, up, "×"),
        node(482, down, "×"),
        wire((493, up), (590, up), (590, y - 8)),
        wire((493, down), (590, down), (590, y + 8)),
        label(540, up - 8, "self-gate u·x₁"),
        label(540, down + 18, "cross-gate u·x₂"),
        label(566, y + 4, "concat"),
        wire((590, y), (614, y)),
        box(654, y, 80, 44, "Conv 1×1\n128 → 64"),
        wire((694, y), (720, y)),
    ]
    return svg(726, 168, parts, "DGFN: one activation gates both halves")


def window_svg(windows: list[FocalWindow]) -> str:
    """Return a drawing of stacked windows with aligned centers, tap numbers and pixel offsets."""
    radius = max(window.radius for window in windows)
    parts, top = [], 0
    for window in windows:
        for tap, (first, length) in enumerate(window.spans):
            x = (radius + first) * _PIXEL
            parts.append(
                f'<rect class="{_css_class(first)}" opacity="{_opacity(length)}" x="{x + 1}" y="{top + 1}" '
                f'width="{length * _PIXEL - 2}" height="{_PIXEL - 2}" rx="4"/>'
                f'<text class="on" x="{x + length * _PIXEL / 2:.1f}" y="{top + _PIXEL * 0.65:.1f}">{tap}</text>'
            )
        top += round(1.4 * _PIXEL)
    for offset in range(-radius, radius + 1):
        x = (radius + offset + 0.5) * _PIXEL
        text = str(offset).replace("-", "−")
        parts.append(f'<text class="quiet" x="{x}" y="{top + _PIXEL * 0.3:.1f}">{text}</text>')
    title = f"Cells of {' and '.join(f'a window of {window.size} pixels' for window in windows)}"
    return svg((2 * radius + 1) * _PIXEL, top + round(0.6 * _PIXEL), parts, title, font_size=12)


def plane_svg(window: FocalWindow, pixel: int = 14) -> str:
    """Return a drawing of the 2D cells of both passes: horizontal cells × vertical cells."""
    parts = []
    for y, height in window.spans:
        for x, width in window.spans:
            left, top = (window.radius + x) * pixel + 0.5, (window.radius + y) * pixel + 0.5
            parts.append(
                f'<rect class="{_css_class(0 if x == y == 0 else 1)}" opacity="{_opacity(max(width, height))}" '
                f'x="{left}" y="{top}" width="{width * pixel - 1}" height="{height * pixel - 1}" rx="2"/>'
            )
    side = window.size * pixel
    return svg(side, side, parts, f"{window.taps}×{window.taps} cells over {window.size}×{window.size} pixels")


def _css_class(first: int) -> str:
    return "center" if first == 0 else "cell"


def _opacity(length: int) -> float:
    return round(0.35 + 0.65 / length, 2)


def bars_svg(panels: Mapping[str, Mapping[str, float]], unit: str, title: str, marked: str) -> str:
    """Return horizontal bars, one panel below the other, each with a scale of its own.

    Args:
        panels: Values by name of the bar, by title of the panel.
        unit: Unit of the values.
        title: Title of the chart, which is not drawn.
        marked: Prefix of the names of bars with a color of their own.
    """
    width, left, right, pitch = 480, 146, 60, 25  # narrow, so that the text is readable on a phone
    parts, y = [], 0
    for heading, bars in panels.items():
        parts.append(f'<text text-anchor="start" font-weight="600" x="0" y="{y + 17}">{heading}</text>')
        y += 28
        scale = (width - left - right) / max(bars.values())
        for name, value in bars.items():
            css_class, length = "center" if name.startswith(marked) else "cell", round(value * scale, 1)
            parts += [
                f'<text text-anchor="end" x="{left - 8}" y="{y + 14}">{name}</text>',
                f'<rect class="{css_class}" x="{left}" y="{y}" width="{length}" height="{pitch - 6}" rx="3"/>',
                f'<text text-anchor="start" x="{left + length + 7:.1f}" y="{y + 14}">{value:.2f} {unit}</text>',
            ]
            y += pitch
        y += 12
    return svg(width, y - 16, parts, title, font_size=14)


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
