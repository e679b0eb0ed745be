"""``lamnet bench``: how long networks take, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Device, DeviceName, Json, Overwrite, parse_choices, parse_size
from .output import check_output, print_error, print_json, print_table
from .progress import spinner

if TYPE_CHECKING:
    from lamnet_models.benchmarking import Measurement


def bench(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="Models, peers (swinir_light, omni_sr, safmn), files. [default: lamnet_xSCALE and all peers]",
            show_default=False,
        ),
    ] = None,
    scale: Annotated[int, typer.Option("--scale", "-s", min=1, help="Factor of enlargement.")] = 4,
    size: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT of the image to enlarge. [default: 1280x720 / scale]")
    ] = None,
    modes: Annotated[str, typer.Option("--mode", help="eager, compiled, onnxruntime, or several.")] = "eager",
    precisions: Annotated[str, typer.Option("--precision", help="fp32, fp16, bf16, or several.")] = "fp32",
    train: Annotated[
        str | None, typer.Option(metavar="BATCHxSIDE", help="Measure steps of training, on such patches.")
    ] = None,
    op: Annotated[bool, typer.Option("--op", help="Measure the aggregation alone, against copying memory.")] = False,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="The model that ratios refer to, in the same mode; a model alone, to its first. [default: the first]"
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured, in turn with the others.")] = 7,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads on the CPU. [default: one a core]")] = None,
    device: Device = DeviceName.auto,
    memory: Annotated[bool, typer.Option("--memory", help="Measure peak memory too.")] = False,
    chart: Annotated[
        Path | None, typer.Option(help="Picture to write, PNG or SVG: a bubble a model, time and parameters.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Measures models and peers in turn, in one run, and prints ratios.

    Times alone say little on a busy machine; ratios of times taken in turn do.
    A result that does not match the eager float32 one gets no ratio, and the exit code is 1.

    Example: lamnet bench lamnet_x4 swinir_light --mode eager,compiled
    """
    chosen_modes = parse_choices("--mode", modes, ("eager", "compiled", "onnxruntime"))
    chosen_precisions = parse_choices("--precision", precisions, ("fp32", "fp16", "bf16"))
    pixels = parse_size("--size", size, "WIDTHxHEIGHT") if size else None
    patches = parse_size("--train", train, "BATCHxSIDE") if train else None
    if chart is not None:
        check_output(chart, overwrite)
        if chart.suffix not in (".png", ".svg", ".pdf"):
            raise typer.BadParameter(f"{chart} must end in .png, .svg or .pdf")
    from lamnet_models.benchmarking import PEERS
    from lamnet_models.benchmarking import bench as measure

    if op:
        _print_aggregation(device.value, rounds, as_json)
        return
    names = models or [f"lamnet_x{scale}", *(PEERS if _has_spandrel() else ())]
    reference = baseline or names[0]
    if reference not in names:
        raise typer.BadParameter(f"--baseline is {reference}, but it must be one of {', '.join(names)}")
    with spinner() as say:
        try:
            results = measure(
                names,
                scale=scale,
                size=pixels,
                modes=chosen_modes,
                precisions=chosen_precisions,
                train=patches,
                rounds=rounds,
                threads=threads,
                device=device.value,
                memory=memory,
                progress=say,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    alone = results[0] if len(names) == 1 else None
    bases = {(result.mode, result.precision): alone or result for result in results if result.name == reference}
    rows = [_row(result, bases[result.mode, result.precision]) for result in results]
    if chart is not None:
        from lamnet_models.benchmarking.chart import draw_chart

        draw_chart(results, chart, scale)
    if as_json:
        print_json([{**row, "seconds": list(result.seconds)} for row, result in zip(rows, results, strict=True)])
    else:
        _print(rows, f"{reference}, {alone.mode}" if alone else reference)
    wrong = [result.label for result in results if not result.valid]
    if wrong:
        print_error(f"not the result of the eager float32 network: {', '.join(wrong)}")
        raise typer.Exit(1)


def _row(result: Measurement, base: Measurement) -> dict[str, object]:
    return {
        "model": result.name,
        "mode": result.mode,
        "precision": result.precision,
        "task": result.task,
        "median": result.median,
        "spread": result.spread,
        "images_per_second": result.images / result.median,
        "memory": result.memory,
        "difference": result.difference,
        "ratio": result.ratio(base) if result.valid and base.valid else None,
    }


def _print(rows: list[dict], reference: str) -> None:
    ratio = f"ratio to {reference}"
    columns = ["model", "mode", "type", "ms", "±", "images/s", "MB", ratio]
    if not any(row["memory"] for row in rows):
        columns.remove("MB")
    cells = [
        {
            "model": row["model"],
            "mode": row["mode"],
            "type": row["precision"],
            "ms": f"{1000 * row['median']:.4g}",
            "±": f"{row['spread']:.0%}",
            "images/s": f"{row['images_per_second']:.3g}",
            "MB": f"{row['memory'] / 1e6:.0f}" if row["memory"] else "",
            ratio: "differs" if row["ratio"] is None else f"{row['ratio']:.3f}",
        }
        for row in rows
    ]
    print_table(columns, [[row[name] for name in columns] for row in cells], ("ms", "±", "images/s", "MB", ratio))


def _print_aggregation(device: str, rounds: int, as_json: bool) -> None:
    from lamnet_models.benchmarking import AGGREGATION_SIZES, measure_aggregation

    with spinner() as say:
        results = []
        for shape in AGGREGATION_SIZES:
            for axis in ("horizontal", "vertical"):
                for backward in (False, True):
                    say(f"{shape}, {axis}, {'backward' if backward else 'forward'}")
                    results.append(
                        measure_aggregation(shape, axis, backward=backward, rounds=max(rounds, 3), device=device)
                    )
    rows = [
        {
            "shape": list(result.shape),
            "axis": result.axis,
            "pass": "backward" if result.backward else "forward",
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
            f"{1000 * row['seconds']:.4g}",
            f"{row['bytes'] / 1e6:.0f}",
            f"{row['bandwidth'] / 1e9:.4g}",
            f"{row['share']:.1%}",
        ]
        for row in rows
    ]
    columns = ["B×D×H×W", "axis", "pass", "ms", "MB", "GB/s", "of a copy"]
    print_table(columns, cells, ("ms", "MB", "GB/s", "of a copy"))


def _has_spandrel() -> bool:
    from importlib.util import find_spec

    return find_spec("spandrel") is not None
