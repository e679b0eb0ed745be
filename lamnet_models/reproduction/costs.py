"""Tables 1 and 2: costs of token mixers and feed-forward networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..evaluation.published import published_data
from .modules import CHANNELS, GROUPS, HEIGHT, WIDTH, count_modules
from .printed import compare_with_printed, format_like
from .result import Cell, Reproduction, Table

K = 8
"""Window side, or number of taps, in the paper's example."""

PRINTED_GROUPS = 64
"""G stated in the paper's example. Its values match G = 4."""


@dataclass(frozen=True)
class Formula:
    """Cost formula in C channels, window K and G groups.

    Attributes:
        text: The formula.
        value: Function of C, K and G.
    """

    text: str
    value: Callable[[int, int, int], float]


PARAMS = {
    "SwinIR": (
        Formula("4C² + K⁴", lambda c, k, g: 4 * c**2 + k**4),
        Formula("4C²", lambda c, k, g: 4 * c**2),
    ),
    "DLGSANet": (
        Formula("5/2·C² + (G+1)/2·K²C", lambda c, k, g: 2.5 * c**2 + (g + 1) / 2 * k**2 * c),
        Formula("3C² + 18C", lambda c, k, g: 3 * c**2 + 18 * c),
    ),
    "LAMNet": (
        Formula("5/2·C² + (G+1)·KC", lambda c, k, g: 2.5 * c**2 + (g + 1) * k * c),
        Formula("4C² + 18C", lambda c, k, g: 4 * c**2 + 18 * c),
    ),
}
"""Parameters of token mixer and feed-forward network by method, the paper's table 1."""

MACS = {
    "SwinIR": (
        Formula("4C² + 2K²C", lambda c, k, g: 4 * c**2 + 2 * k**2 * c),
        Formula("4C² + 2C", lambda c, k, g: 4 * c**2 + 2 * c),
    ),
    "DLGSANet": (
        Formula("5/2·C² + (G+3)/2·K²C", lambda c, k, g: 2.5 * c**2 + (g + 3) / 2 * k**2 * c),
        Formula("3C² + 20C", lambda c, k, g: 3 * c**2 + 20 * c),
    ),
    "LAMNet": (
        Formula("5/2·C² + (G+2)·KC", lambda c, k, g: 2.5 * c**2 + (g + 2) * k * c),
        Formula("4C² + 21C", lambda c, k, g: 4 * c**2 + 21 * c),
    ),
}
"""Multiply-accumulates per pixel of both by method, the paper's table 2."""


def table1() -> Reproduction:
    """Reproduce table 1: parameters of token mixers and feed-forward networks."""
    return Reproduction(
        "table1",
        "Table 1: parameters of token mixers and feed-forward networks",
        (_formulas("Parameters by formula", PARAMS, 1, "params"), _counts("params")),
        (
            "The paper states G = 64. Its values match only G = 4, the number of groups of the published models.",
            *_without_spandrel(),
        ),
    )


def table2() -> Reproduction:
    """Reproduce table 2: multiply-accumulates of token mixers and feed-forward networks."""
    return Reproduction(
        "table2",
        "Table 2: multiply-accumulates of token mixers and feed-forward networks",
        (_formulas("Multiply-accumulates by formula, at 1280×720", MACS, HEIGHT * WIDTH, "macs"), _counts("macs")),
        (
            "SwinIR's mixer is printed as 4C² + 2K²; the printed total of 38G requires 2K²C. With G = 4, which alone "
            "matches the paper's parameters, the formulas differ from the paper's MACs for DLGSANet and LAMNet.",
            *_without_spandrel(),
        ),
    )


def _formulas(title: str, formulas: dict[str, tuple[Formula, Formula]], pixels: int, quantity: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for method, parts in formulas.items():
        printed = published_data()["table1_and_2"][method][quantity]
        values = [[pixels * part.value(CHANNELS, K, g) for part in parts] for g in (PRINTED_GROUPS, GROUPS)]
        unit = "0.0" + printed[-1]
        for index, name in enumerate(("token mixer", "feed-forward")):
            cells = (format_like(value[index], unit) for value in values)
            rows.append((method, name, parts[index].text, *cells, None, ""))
        totals = [sum(value) for value in values]
        comparisons = [compare_with_printed(total, printed) for total in totals]
        comparison = f"{comparisons[0]} with G = 64, {comparisons[1]} with G = 4"
        if totals[0] == totals[1]:
            comparison = comparisons[1]
        rows.append((method, "both", "", *(format_like(total, unit) for total in totals), printed, comparison))
    columns = ("method", "part", "formula", "G = 64, as printed", "G = 4", "paper", "ours and the paper's")
    return Table(f"{title}; C = {CHANNELS}, K = {K}", columns, tuple(rows))


def _counts(quantity: str) -> Table:
    unit, formulas = ("0.00K", PARAMS) if quantity == "params" else ("0.00G", MACS)
    pixels = 1 if quantity == "params" else HEIGHT * WIDTH
    rows = []
    for module in count_modules():
        formula = formulas[module.method][module.part == "feed-forward"].value(CHANNELS, module.k or K, GROUPS)
        counted, terms = (
            (module.params, module.params_terms) if quantity == "params" else (module.macs, module.macs_terms)
        )
        explanation = (
            "; ".join(f"{_signed(amount * pixels, unit)} {words}" for words, amount in terms.items()) or "equal"
        )
        values = (format_like(pixels * value, unit) for value in (formula, counted))
        rows.append((module.method, module.part, module.name, module.k, *values, explanation))
    columns = ("method", "part", "module", "K", "formula", "counted", "what the difference is")
    title = "Counted on modules, next to the formula for their K"
    return Table(f"{title}; C = {CHANNELS}, G = {GROUPS}", columns, tuple(rows))


def _signed(value: float, unit: str) -> str:
    return ("+" if value >= 0 else "−") + format_like(abs(value), unit)


def _without_spandrel() -> tuple[str, ...]:
    if any(module.method == "SwinIR" for module in count_modules()):
        return ()
    return ("SwinIR is shown by formula only: its modules require spandrel (pip install 'lamnet[peers]').",)
