"""Drawings of focal windows: the cells of one pass and of both passes together."""

from __future__ import annotations

from lamnet_layers import FocalWindow

from .svg import svg

_PIXEL = 28


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
