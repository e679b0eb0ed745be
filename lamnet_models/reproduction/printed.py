"""Comparison of counts with printed ones."""

from __future__ import annotations

_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9}


def format_like(value: float, like: str) -> str:
    """Format a count like a printed one: 185310000 like ``"186G"`` is ``"185G"``."""
    return f"{value / _UNITS[like[-1]]:.{_digits(like)}f}{like[-1]}"


def compare_with_printed(value: float, printed: str | None) -> str:
    """Return a short comparison of a count with a printed one."""
    if printed is None:
        return "not printed"
    unit, digits = _UNITS[printed[-1]], _digits(printed)
    number = float(printed[:-1])
    if abs(value / unit - number) <= 0.5 * 10**-digits * (1 + 1e-9):
        return "equal"
    if value / unit // 10**-digits * 10**-digits == number:
        return "equal if truncated"
    return f"differs by {value / unit / number - 1:+.1%}".replace("-", "−")


def _digits(printed: str) -> int:
    return len(printed[:-1].partition(".")[2])
