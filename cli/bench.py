"""``lamnet bench``: speed of models, relative to each other."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Device, DeviceName, Json, Overwrite, check_chart, check_models, parse_choices, parse_size
from .output import print_error, print_json, print_table, spinner

_BACKENDS = ("eager", "native", "triton", "fused")

_SUPPORTED = {  # parameters by the option that measures something else than models
    "op": ("op", "backends", "rounds", "device", "as_json"),
    "windows": ("windows", "size", "rounds", "threads", "device", "chart", "overwrite", "as_json"),
}

if TYPE_CHECKING:
    from lamnet_models.benchmarking import Measurement, OperatorMeasurement, WindowMeasurement


def bench(
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="Models, checkpoint files, or baselines (swinir_light, omni_sr, atd_light, dat_light, craft, dctlsa, "
            "safmn).",
            show_default="lamnet_xSCALE and all baselines",
        ),
    ] = None,
    scale: Annotated[int, typer.Option("--scale", "-s", min=1, help="Upscaling factor.")] = 4,
    size: Annotated[
        str | None,
        typer.Option(metavar="WIDTHxHEIGHT", help="Input size in pixels.", show_default="1280x720 / scale"),
    ] = None,
    modes: Annotated[
        str, typer.Option("--mode", help="Comma-separated execution modes: eager, compiled, onnxruntime.")
    ] = "eager",
    precisions: Annotated[
        str, typer.Option("--precision", help="Comma-separated precisions: fp32, fp16, bf16.")
    ] = "fp32",
    backends: Annotated[
        str | None,
        typer.Option(
            "--backend",
            help="Comma-separated backends of lamnet_layers: eager, native, triton, fused.",
            show_default="auto",
        ),
    ] = None,
    train: Annotated[
        str | None,
        typer.Option(
            metavar="BATCHxSIDE", help="Measure training steps instead, on BATCH patches of SIDE×SIDE pixels."
        ),
    ] = None,
    op: Annotated[bool, typer.Option("--op", help="Measure the aggregation alone, relative to a memory copy.")] = False,
    windows: Annotated[bool, typer.Option("--windows", help="Measure attention layers alone, by window size.")] = False,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Model whose time is 1 in the ratios of each mode. A single model is compared with its first mode.",
            show_default="the first model",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Number of timing rounds, each over all models in turn.")] = 7,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="one per core")] = None,
    device: Device = DeviceName.auto,
    memory: Annotated[
        bool, typer.Option("--memory", help="Also measure peak memory; on CPUs in float32 only.")
    ] = False,
    chart: Annotated[
        list[Path] | None,
        typer.Option(
            help="Chart to write (.png, .svg or .pdf; repeatable): a bubble chart of latency and parameters; with "
            "--windows, time and operations by window size."
        ),
    ] = None,
    psnr: Annotated[
        list[Path] | None,
        typer.Option(help="JSON output of lamnet eval or compare, for PSNR on the chart's vertical axis; repeatable."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Benchmark the latency of models.

    Models and baselines are measured in alternation, and ratios are printed.
    Ratios of alternating measurements are robust to other load on the machine.
    "of mm" is FLOPs per second as a share of those of torch.mm, measured in turn
    in the same precision. A training step counts as three forward passes.
    Models whose output differs from the eager float32 output get no ratio, and the exit code is 1.

    Example: lamnet bench lamnet_x4 swinir_light --mode eager,compiled
    """
    for name in _SUPPORTED:
        if context.params[name]:
            _check_supported(context, name)
    chosen_modes = parse_choices("--mode", modes, ("eager", "compiled", "onnxruntime"))
    chosen_precisions = parse_choices("--precision", precisions, ("fp32", "fp16", "bf16"))
    chosen_backends = parse_choices("--backend", backends, _BACKENDS) if backends else [None]
    pixels = parse_size("--size", size, "WIDTHxHEIGHT") if size else None
    patches = parse_size("--train", train, "BATCHxSIDE") if train else None
    charts = chart or []
    for path in charts:
        check_chart("--chart", path, overwrite)
    if psnr and not charts:
        raise typer.BadParameter("--psnr requires --chart")
    from lamnet_models.names import BASELINES, default_model_for_scale, display_name

    check_models(*(models or []), baselines=BASELINES)
    from lamnet_models.benchmarking import bench as measure
    from lamnet_models.benchmarking import draw_chart, read_psnr
    from lamnet_models.benchmarking.peers import has_spandrel

    _check_backends(chosen_backends, device.value)
    if op:
        _bench_aggregation(device.value, chosen_backends, rounds, as_json)
        return
    if windows:
        _bench_windows(pixels, rounds, threads, device.value, charts, as_json)
        return
    names = models or [default_model_for_scale(scale), *(BASELINES if has_spandrel() else ())]
    reference = baseline or names[0]
    if reference not in names:
        raise typer.BadParameter(f"--baseline must be one of {', '.join(names)}, got {reference}")
    quality = read_psnr(psnr) if psnr else None
    if quality is not None and quality.keys().isdisjoint(map(display_name, names)):
        raise typer.BadParameter(f"--psnr must contain a measured model, got {', '.join(quality)}")
    with spinner() as on_status:
        try:
            results = measure(
                names,
                scale=scale,
                size=pixels,
                modes=chosen_modes,
                precisions=chosen_precisions,
                backends=chosen_backends,
                train=patches,
                rounds=rounds,
                threads=threads,
                device=device.value,
                memory=memory,
                on_status=on_status,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    single = results[0] if len(names) == 1 else None
    bases = {
        (result.mode, result.precision): single or result for result in reversed(results) if result.name == reference
    }
    rows = [network_row(result, bases[result.mode, result.precision]) for result in results]
    for path in charts:
        draw_chart(results, path, scale, quality)
    if as_json:
        print_json([{**row, "seconds": list(result.seconds)} for row, result in zip(rows, results, strict=True)])
    else:
        name = display_name(reference)
        print_networks(rows, f"{name}, {single.mode}" if single else name)
    wrong = [result.label for result in results if not result.valid]
    if wrong:
        print_error(f"output differs from the eager float32 output: {', '.join(wrong)}")
        raise typer.Exit(1)


def _check_supported(context: typer.Context, name: str) -> None:
    """Reject parameters that were passed with ``--op`` or ``--windows`` but have no effect."""
    for parameter in context.command.params:
        is_passed = context.get_parameter_source(parameter.name).name == "COMMANDLINE"
        if is_passed and parameter.name not in _SUPPORTED[name]:
            label = parameter.metavar if parameter.param_type_name == "argument" else parameter.opts[0]
            raise typer.BadParameter(f"{label} cannot be used with --{name}")


def _check_backends(backends: list[str | None], device: str) -> None:
    from lamnet_layers.backend import select_backend
    from lamnet_models.devices import resolve_device

    for backend in backends:
        try:
            select_backend(backend, resolve_device(device).type)
        except (ValueError, RuntimeError) as error:
            raise typer.BadParameter(str(error)) from None


def _bench_aggregation(device: str, backends: list[str | None], rounds: int, as_json: bool) -> None:
    from itertools import product

    from lamnet_models.benchmarking import AGGREGATION_SIZES, measure_aggregation

    results = []
    with spinner() as on_status:
        for shape, axis, backward in product(AGGREGATION_SIZES, ("horizontal", "vertical"), (False, True)):
            for backend in backends:
                on_status(f"{shape}, {axis}, {'backward' if backward else 'forward'}")
                options = {"backward": backward, "rounds": max(rounds, 3), "device": device, "backend": backend}
                results.append(measure_aggregation(shape, axis, **options))
    print_aggregation(results, as_json)


def _bench_windows(
    size: tuple[int, int] | None, rounds: int, threads: int | None, device: str, charts: list[Path], as_json: bool
) -> None:
    from lamnet_models.benchmarking import draw_windows, measure_windows

    with spinner() as on_status:
        results = measure_windows(
            size=size or (320, 180), rounds=rounds, threads=threads, device=device, on_status=on_status
        )
    for path in charts:
        draw_windows(results, path)
    print_windows(results, as_json)


# Tables


def network_row(result: Measurement, base: Measurement) -> dict[str, object]:
    """Return the table row of a measurement; its ratio is None if an output is invalid."""
    from lamnet_models.names import display_name

    return {
        "model": display_name(result.name),
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
        "flops": result.flops,
        "matrix_share": result.matrix_share if result.valid else None,
    }


def print_networks(rows: list[dict], reference: str) -> None:
    """Print a table of models with ratios to one of them."""
    ratio = f"ratio to {reference}"
    columns = ["model", "mode", "dtype", "backend", "ms", "±", "images/s", "of mm", "MB", ratio]
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
            "of mm": "" if row["matrix_share"] is None else f"{row['matrix_share']:.0%}",
            "MB": f"{row['memory'] / 1e6:.0f}" if row["memory"] else "",
            ratio: "differs" if row["ratio"] is None else f"{row['ratio']:.3f}",
        }
        for row in rows
    ]
    print_table(
        columns, [[row[name] for name in columns] for row in cells], ("ms", "±", "images/s", "of mm", "MB", ratio)
    )


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
