"""Tables of ``lamnet bench``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .output import print_json, print_table

if TYPE_CHECKING:
    from lamnet_models.benchmarking import Measurement, OperatorMeasurement, WindowMeasurement


def network_row(result: Measurement, base: Measurement) -> dict[str, object]:
    """Return the table row of a measurement; its ratio is None if an output is invalid."""
    return {
        "model": result.name,
        "mode": result.mode,
        "precision": result.precision,
        "backend": result.backend,
        "task": result.task,
        "median": result.median,
        "spread": result.spread,
        "images_per_second": result.images / result.median,
        "memory": result.memory,
        "difference": result.difference,
        "ratio": result.ratio(base) if result.valid and base.valid else None,
    }


def print_networks(rows: list[dict], reference: str) -> None:
    """Print a table of models with ratios to one of them."""
    ratio = f"ratio to {reference}"
    columns = ["model", "mode", "dtype", "backend", "ms", "±", "images/s", "MB", ratio]
    if not any(row["memory"] for row in rows):
        columns.remove("MB")
    if not any(row["backend"] for row in rows):
        columns.remove("backend")
    cells = [
        {
            "model": row["model"],
            "mode": row["mode"],
            "dtype": row["precision"],
            "backend": row["backend"] or "",
            "ms": f"{1000 * row['median']:.4g}",
            "±": f"{row['spread']:.0%}",
            "images/s": f"{row['images_per_second']:.3g}",
            "MB": f"{row['memory'] / 1e6:.0f}" if row["memory"] else "",
            ratio: "differs" if row["ratio"] is None else f"{row['ratio']:.3f}",
        }
        for row in rows
    ]
    print_table(columns, [[row[name] for name in columns] for row in cells], ("ms", "±", "images/s", "MB", ratio))


def print_aggregation(results: Iterable[OperatorMeasurement], as_json: bool) -> None:
    """Print times and bandwidths of the aggregation."""
    rows = [
        {
            "shape": list(result.shape),
            "axis": result.axis,
            "pass": "backward" if result.backward else "forward",
            "backend": result.backend,
            "seconds": result.seconds,
            "bytes": result.bytes,
            "bandwidth": result.bandwidth,
            "share": result.share,
        }
        for result in results
    ]
    if as_json:
        print_json(rows)
        return
    cells = [
        [
            "×".join(map(str, row["shape"])),
            row["axis"],
            row["pass"],
            row["backend"] or "auto",
            f"{1000 * row['seconds']:.4g}",
            f"{row['bytes'] / 1e6:.0f}",
            f"{row['bandwidth'] / 1e9:.4g}",
            f"{row['share']:.1%}",
        ]
        for row in rows
    ]
    columns = ["B×D×H×W", "axis", "pass", "backend", "ms", "MB", "GB/s", "of a copy"]
    print_table(columns, cells, ("ms", "MB", "GB/s", "of a copy"))


def print_windows(results: Iterable[WindowMeasurement], as_json: bool) -> None:
    """Print times and operations of token mixers by window size."""
    rows = [
        {
            "mixer": result.mixer,
            "side": result.side,
            "operations": result.operations,
            "median": result.median,
            "seconds": list(result.seconds),
        }
        for result in results
    ]
    if as_json:
        print_json(rows)
        return
    cells = [
        [row["mixer"], row["side"], f"{row['operations'] / 1e9:.3f}", f"{1000 * row['median']:.4g}"] for row in rows
    ]
    columns = ["mixer", "window", "10⁹ operations", "ms"]
    print_table(columns, cells, ("window", "10⁹ operations", "ms"))
