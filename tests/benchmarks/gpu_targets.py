"""Measure the GPU performance targets of the kernels.

    python tests/benchmarks/gpu_targets.py [-o FILE]

Prints a Markdown table of quantities, targets, measurements and whether the targets are met. Without a GPU, no row is
measured. Takes about ten minutes.
"""

from __future__ import annotations

import argparse
import itertools
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median

import plain_kernels
import torch
import triton

from lamnet_layers import DGFN, FocalPass, FocalWindow, focal_aggregate
from lamnet_models.benchmarking import AGGREGATION_SIZES, bench, measure_aggregation
from lamnet_models.benchmarking.measure import time_interleaved

WINDOW = FocalWindow()
DIMS = {"horizontal": -1, "vertical": -2}


@dataclass(frozen=True)
class Plan:
    """Networks, shapes and options of the measurements."""

    shapes: tuple[tuple[int, int, int, int], ...] = AGGREGATION_SIZES[:3]
    small: tuple[int, int, int, int] = AGGREGATION_SIZES[3]
    network: str = "lamnet_x4"
    peer: str = "swinir_light"
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float16)
    heads: int = 4
    scale: int = 4
    size: tuple[int, int] | None = None
    train: tuple[int, int] = (32, 64)
    mode: str = "compiled"
    rounds: int = 20


@dataclass(frozen=True)
class Row:
    """Table row: ``measure`` returns the value, ``target`` is its minimum or None."""

    label: str
    target: float | None
    form: str
    measure: Callable[[], float]


def rows(plan: Plan, device: torch.device) -> Iterator[Row]:
    """Yield the rows of the table, without measuring."""
    for dtype, shape, axis, backward in itertools.product(plan.dtypes, plan.shapes, DIMS, (False, True)):
        label = f"bandwidth relative to a copy: {name(shape, axis, backward)}, {str(dtype).removeprefix('torch.')}"
        yield Row(label, 0.7, "{:.0%}", lambda s=shape, a=axis, b=backward, d=dtype: share(plan, device, s, a, b, d))
    for axis, backward in itertools.product(DIMS, (False, True)):
        label = f"time of the plain kernel / LAMNet kernel: {name(plan.shapes[0], axis, backward)}, float32"
        target = 6 if backward else 3
        yield Row(label, target, "{:.1f}×", lambda a=axis, b=backward: against_plain(plan, device, a, b))
    yield Row("launch time of a kernel on one element", None, "{:.1f} µs", lambda: launch(plan, device))
    for axis in DIMS:
        label = f"time of a call: {name(plan.small, axis, False)}, float32"
        yield Row(label, None, "{:.1f} µs", lambda a=axis: call(plan, device, a))
        yield Row(f"{label}, in a CUDA graph", None, "{:.1f} µs", lambda a=axis: call(plan, device, a, graph=True))
    yield Row(
        f"time of {plan.peer} / {plan.network}: output 1280×720, float16, {plan.mode}",
        3,
        "{:.2f}×",
        lambda: networks(plan, device),
    )
    yield Row(
        f"time of backend eager / triton: training step of {plan.network}, batch {plan.train[0]}, "
        f"{plan.train[1]}×{plan.train[1]}, bfloat16",
        2,
        "{:.2f}×",
        lambda: backends(plan, device, ("triton", "eager"), precisions=("bf16",), train=plan.train),
    )
    layers = {
        "focal pass, horizontal": (FocalPass, {"dim": 32, "num_heads": plan.heads, "axis": "horizontal"}),
        "focal pass, vertical": (FocalPass, {"dim": 32, "num_heads": plan.heads, "axis": "vertical"}),
        "DGFN": (DGFN, {"dim": 64}),
    }
    batch, _, height, width = plan.shapes[0]
    for layer, (layer_type, arguments) in layers.items():
        label = f"time without / with the fused kernel: B{batch} {width}×{height}, {layer}, float16"
        yield Row(label, None, "{:.2f}×", lambda t=layer_type, a=arguments: fused(plan, device, t, a))
    yield Row(
        f"time of backend triton / fused: {plan.network}, output 1280×720, float16, {plan.mode}",
        None,
        "{:.2f}×",
        lambda: backends(plan, device, ("fused", "triton"), precisions=("fp16",), modes=(plan.mode,), size=plan.size),
    )


def name(shape: tuple[int, ...], axis: str, backward: bool) -> str:
    """Return the label of an aggregation case."""
    return f"B{shape[0]} D{shape[1]} {shape[3]}×{shape[2]}, {axis}, {'backward' if backward else 'forward'}"


def share(plan: Plan, device: torch.device, shape, axis: str, backward: bool, dtype: torch.dtype) -> float:
    """Return the bandwidth of the aggregation relative to that of a copy."""
    options = {"heads": plan.heads, "dtype": dtype, "rounds": plan.rounds, "device": device}
    return measure_aggregation(shape, axis, backward=backward, backend="triton", **options).share


def tensors(plan: Plan, shape, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return random features, weights and output gradient."""
    batch, _, height, width = shape
    weights = torch.randn(batch, plan.heads * WINDOW.taps, height, width, device=device).tanh()
    return torch.randn(shape, device=device), weights, torch.randn(shape, device=device)


def against_plain(plan: Plan, device: torch.device, axis: str, backward: bool) -> float:
    """Return the time of the plain kernel relative to the library's; their results must agree."""
    x, weights, grad = tensors(plan, plan.shapes[0], device)
    dim = DIMS[axis]
    if backward:
        inputs = x.requires_grad_(), weights.requires_grad_()
        out = focal_aggregate(*inputs, num_heads=plan.heads, dim=dim, backend="triton")

        def library():
            return torch.autograd.grad(out, inputs, grad, retain_graph=True)

        def plain():
            return plain_kernels.backward(grad, x.detach(), weights.detach(), WINDOW, plan.heads, dim)
    else:

        def library():
            return focal_aggregate(x, weights, num_heads=plan.heads, dim=dim, backend="triton")

        def plain():
            return plain_kernels.forward(x, weights, WINDOW, plan.heads, dim)

    return speedup(plan, device, library, plain)


def speedup(plan: Plan, device: torch.device, candidate: Callable, baseline: Callable) -> float:
    """Return time(baseline) / time(candidate); raise RuntimeError if their results differ."""
    result, expected = candidate(), baseline()
    try:
        torch.testing.assert_close(result, expected, rtol=2e-2, atol=2e-2)
    except AssertionError:
        raise RuntimeError("the results differ") from None
    times = time_interleaved({"candidate": candidate, "baseline": baseline}, plan.rounds, device)
    return median(b / a for a, b in zip(times["candidate"], times["baseline"], strict=True))


def microseconds(plan: Plan, device: torch.device, run: Callable) -> float:
    """Return the median time of a call in microseconds."""
    run()
    return 1e6 * median(time_interleaved({"run": run}, plan.rounds, device)["run"])


def launch(plan: Plan, device: torch.device) -> float:
    """Return the time of a kernel on one element in microseconds."""
    return microseconds(plan, device, torch.ones(1, device=device).zero_)


def call(plan: Plan, device: torch.device, axis: str, graph: bool = False) -> float:
    """Return the time of a small aggregation in µs, called or replayed as a CUDA graph."""
    x, weights, _ = tensors(plan, plan.small, device)

    def run():
        return focal_aggregate(x, weights, num_heads=plan.heads, dim=DIMS[axis], backend="triton")

    run()
    if graph:
        if device.type != "cuda":
            raise RuntimeError("not measured")
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            run()
        run = recorded.replay
    return microseconds(plan, device, run)


def networks(plan: Plan, device: torch.device) -> float:
    """Return the time of the peer network relative to LAMNet's."""
    lamnet, peer = bench(
        [plan.network, plan.peer],
        scale=plan.scale,
        size=plan.size,
        modes=(plan.mode,),
        precisions=("fp16",),
        rounds=plan.rounds,
        device=device,
    )
    return time_ratio(lamnet, peer)


def backends(plan: Plan, device: torch.device, pair: tuple[str, str], **options) -> float:
    """Return the network's time with the second backend relative to the first."""
    first, second = bench([plan.network], scale=plan.scale, backends=pair, rounds=plan.rounds, device=device, **options)
    return time_ratio(first, second)


def time_ratio(candidate, baseline) -> float:
    """Return time(baseline) / time(candidate); raise RuntimeError if a result is invalid."""
    if not (candidate.valid and baseline.valid):
        raise RuntimeError("the results differ")
    return baseline.ratio(candidate)


def fused(plan: Plan, device: torch.device, layer_type: type, arguments: dict) -> float:
    """Return the time of a layer relative to that with its fused kernel."""
    torch.manual_seed(0)
    batch, _, height, width = plan.shapes[0]
    layer, plain = (
        layer_type(**arguments, backend=backend, device=device, dtype=torch.float16) for backend in ("fused", "triton")
    )
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(batch, arguments["dim"], height, width, device=device, dtype=torch.float16)
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        return speedup(plan, device, lambda: layer(x), lambda: plain(x))


def table(plan: Plan, device: torch.device | None) -> list[str]:
    """Return the lines of the Markdown table.

    Args:
        plan: Networks, shapes and options.
        device: Device to measure on; None measures nothing.
    """
    lines = ["| quantity | target | measured | met |", "| --- | --- | --- | --- |"]
    for row in rows(plan, device or torch.device("cuda")):
        target = "none" if row.target is None else "≥ " + row.form.format(row.target)
        value, met = None, "" if row.target is None else "unknown"
        if device is None:
            measured = "*not measured*"
        else:
            try:
                value = row.measure()
                measured = row.form.format(value)
                met = "" if row.target is None else ("yes" if value >= row.target else "**no**")
            except RuntimeError as error:  # includes out of memory; measure the other rows
                measured = f"*{str(error).splitlines()[0]}*"
        lines.append(f"| {row.label} | {target} | {measured} | {met} |")
    return lines


def main() -> None:
    """Print the table and optionally write it to a file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, help="Also write the table to this Markdown file.")
    output = parser.parse_args().output
    device = torch.device("cuda") if torch.cuda.is_available() else None
    lines = table(Plan(), device)
    device_name = torch.cuda.get_device_name() if device else f"no GPU ({platform.machine()})"
    lines += ["", f"{device_name}; torch {torch.__version__}, triton {triton.__version__}; {date.today()}."]
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if output:
        output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
