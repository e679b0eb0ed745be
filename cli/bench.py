"""``lamnet bench``: how long networks take, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .bench_tables import network_row, print_aggregation, print_networks, print_windows
from .options import Device, DeviceName, Json, Overwrite, parse_choices, parse_size
from .output import check_output, print_error, print_json
from .progress import spinner


def bench(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="Models, peers (swinir_light, omni_sr, atd_light, dat_light, craft, dctlsa, safmn), files. "
            "[default: lamnet_xSCALE and all peers]",
            show_default=False,
        ),
    ] = None,
    scale: Annotated[int, typer.Option("--scale", "-s", min=1, help="Factor of enlargement.")] = 4,
    size: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT of the image to enlarge. [default: 1280x720 / scale]")
    ] = None,
    modes: Annotated[str, typer.Option("--mode", help="eager, compiled, onnxruntime, or several.")] = "eager",
    precisions: Annotated[str, typer.Option("--precision", help="fp32, fp16, bf16, or several.")] = "fp32",
    backends: Annotated[
        str | None,
        typer.Option("--backend", help="eager, triton, fused, or several: of our layers. [default: as available]"),
    ] = None,
    train: Annotated[
        str | None, typer.Option(metavar="BATCHxSIDE", help="Measure steps of training, on such patches.")
    ] = None,
    op: Annotated[bool, typer.Option("--op", help="Measure the aggregation alone, against copying memory.")] = False,
    windows: Annotated[
        bool, typer.Option("--windows", help="Measure attentions alone, by the size of their window.")
    ] = False,
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
        list[Path] | None,
        typer.Option(
            help="Picture to write, PNG, SVG or PDF, or several: a bubble a model, time and parameters; "
            "with --windows, time and operations by window."
        ),
    ] = None,
    psnr: Annotated[
        list[Path] | None,
        typer.Option(help="What lamnet eval or compare printed with --json: PSNR for the chart's vertical axis."),
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
    chosen_backends = parse_choices("--backend", backends, ("eager", "triton", "fused")) if backends else [None]
    pixels = parse_size("--size", size, "WIDTHxHEIGHT") if size else None
    patches = parse_size("--train", train, "BATCHxSIDE") if train else None
    charts = chart or []
    for path in charts:
        check_output(path, overwrite)
        if path.suffix not in (".png", ".svg", ".pdf"):
            raise typer.BadParameter(f"{path} must end in .png, .svg or .pdf")
    if op and windows:
        raise typer.BadParameter("--op and --windows measure different things: choose one")
    if op and charts:
        raise typer.BadParameter("--op has no chart: leave --chart out")
    if psnr and (windows or not charts):
        raise typer.BadParameter("--psnr is for the chart of networks: name one with --chart")
    from lamnet_models.benchmarking import PEERS, draw_chart, read_psnr
    from lamnet_models.benchmarking import bench as measure
    from lamnet_models.benchmarking.peers import has_spandrel

    _check_backends(chosen_backends, device.value)
    if op:
        _aggregation(device.value, chosen_backends, rounds, as_json)
        return
    if windows:
        _windows(pixels, rounds, threads, device.value, charts, as_json)
        return
    names = models or [f"lamnet_x{scale}", *(PEERS if has_spandrel() else ())]
    reference = baseline or names[0]
    if reference not in names:
        raise typer.BadParameter(f"--baseline is {reference}, but it must be one of {', '.join(names)}")
    quality = read_psnr(psnr) if psnr else None
    if quality is not None and not set(names) & set(quality):
        raise typer.BadParameter(f"--psnr tells of {', '.join(quality)}, none of which is measured")
    with spinner() as say:
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
                on_status=say,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    alone = results[0] if len(names) == 1 else None
    bases = {
        (result.mode, result.precision): alone or result for result in reversed(results) if result.name == reference
    }
    rows = [network_row(result, bases[result.mode, result.precision]) for result in results]
    for path in charts:
        draw_chart(results, path, scale, quality)
    if as_json:
        print_json([{**row, "seconds": list(result.seconds)} for row, result in zip(rows, results, strict=True)])
    else:
        print_networks(rows, f"{reference}, {alone.mode}" if alone else reference)
    wrong = [result.label for result in results if not result.valid]
    if wrong:
        print_error(f"not the result of the eager float32 network: {', '.join(wrong)}")
        raise typer.Exit(1)


def _check_backends(backends: list[str | None], device: str) -> None:
    from lamnet_layers.backends.select import select
    from lamnet_models.devices import resolve_device

    for backend in backends:
        try:
            select(backend, resolve_device(device).type)
        except (ValueError, RuntimeError) as error:
            raise typer.BadParameter(str(error)) from None


def _aggregation(device: str, backends: list[str | None], rounds: int, as_json: bool) -> None:
    from itertools import product

    from lamnet_models.benchmarking import AGGREGATION_SIZES, measure_aggregation

    results = []
    with spinner() as say:
        for shape, axis, backward in product(AGGREGATION_SIZES, ("horizontal", "vertical"), (False, True)):
            for backend in backends:
                say(f"{shape}, {axis}, {'backward' if backward else 'forward'}")
                options = {"backward": backward, "rounds": max(rounds, 3), "device": device, "backend": backend}
                results.append(measure_aggregation(shape, axis, **options))
    print_aggregation(results, as_json)


def _windows(
    size: tuple[int, int] | None, rounds: int, threads: int | None, device: str, charts: list[Path], as_json: bool
) -> None:
    from lamnet_models.benchmarking import draw_windows, measure_windows

    with spinner() as say:
        results = measure_windows(size=size or (320, 180), rounds=rounds, threads=threads, device=device, on_status=say)
    for path in charts:
        draw_windows(results, path)
    print_windows(results, as_json)
