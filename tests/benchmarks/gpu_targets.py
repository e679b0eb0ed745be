"""Measures all that the kernels aim at on a GPU, in one run: python tests/benchmarks/gpu_targets.py [-o FILE]

Prints a table in Markdown: what, the target, what was measured, whether it is met. Without a GPU every row says that it
was not measured. Some ten minutes.
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
from lamnet_models.benchmarking.timing import time_interleaved

WINDOW = FocalWindow()
DIMS = {"horizontal": -1, "vertical": -2}


@dataclass(frozen=True)
class Plan:
    """What is measured, and at which size."""

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
    """A line of the table: ``measure`` gives the value, of which ``least`` is wanted; None is for what is only told."""

    what: str
    least: float | None
    form: str
    measure: Callable[[], float]


def rows(plan: Plan, device: torch.device) -> Iterator[Row]:
    """Yields the lines of the table; nothing is measured yet."""
    for dtype, shape, axis, backward in itertools.product(plan.dtypes, plan.shapes, DIMS, (False, True)):
        what = f"bandwidth as a share of a copy's: {name(shape, axis, backward)}, {str(dtype).removeprefix('torch.')}"
        yield Row(what, 0.7, "{:.0%}", lambda s=shape, a=axis, b=backward, d=dtype: share(plan, device, s, a, b, d))
    for axis, backward in itertools.product(DIMS, (False, True)):
        what = f"a plain kernel's time over ours: {name(plan.shapes[0], axis, backward)}, float32"
        least = 6 if backward else 3
        yield Row(what, least, "{:.1f}×", lambda a=axis, b=backward: against_plain(plan, device, a, b))
    yield Row("launch of a kernel on one element", None, "{:.1f} µs", lambda: launch(plan, device))
    for axis in DIMS:
        what = f"time of a call: {name(plan.small, axis, False)}, float32"
        yield Row(what, None, "{:.1f} µs", lambda a=axis: call(plan, device, a))
        yield Row(f"{what}, in a CUDA graph", None, "{:.1f} µs", lambda a=axis: call(plan, device, a, graph=True))
    yield Row(
        f"{plan.peer}'s time over {plan.network}'s: to 1280×720, float16, {plan.mode}",
        3,
        "{:.2f}×",
        lambda: networks(plan, device),
    )
    yield Row(
        f"the eager backend's time over the kernels': a step of training of {plan.network}, "
        f"{plan.train[0]} of {plan.train[1]}×{plan.train[1]}, bfloat16",
        2,
        "{:.2f}×",
        lambda: backends(plan, device, ("triton", "eager"), precisions=("bf16",), train=plan.train),
    )
    layers = {
        "focal pass, horizontal": (FocalPass, {"channels": 32, "heads": plan.heads, "axis": "horizontal"}),
        "focal pass, vertical": (FocalPass, {"channels": 32, "heads": plan.heads, "axis": "vertical"}),
        "DGFN": (DGFN, {"channels": 64}),
    }
    batch, _, height, width = plan.shapes[0]
    for layer, (kind, arguments) in layers.items():
        what = f"time without the fused kernel over that with it: B{batch} {width}×{height}, {layer}, float16"
        yield Row(what, None, "{:.2f}×", lambda k=kind, a=arguments: fused(plan, device, k, a))
    yield Row(
        f"backend triton's time over fused's: {plan.network} to 1280×720, float16, {plan.mode}",
        None,
        "{:.2f}×",
        lambda: backends(plan, device, ("fused", "triton"), precisions=("fp16",), modes=(plan.mode,), size=plan.size),
    )


def name(shape: tuple[int, ...], axis: str, backward: bool) -> str:
    """Returns a case of the aggregation in words."""
    return f"B{shape[0]} D{shape[1]} {shape[3]}×{shape[2]}, {axis}, {'backward' if backward else 'forward'}"


def share(plan: Plan, device: torch.device, shape, axis: str, backward: bool, dtype: torch.dtype) -> float:
    """Returns the bandwidth of the aggregation as a share of that of a copy."""
    options = {"heads": plan.heads, "dtype": dtype, "rounds": plan.rounds, "device": device}
    return measure_aggregation(shape, axis, backward=backward, backend="triton", **options).share


def tensors(plan: Plan, shape, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns features, weights and a gradient to measure with."""
    batch, _, height, width = shape
    weights = torch.randn(batch, plan.heads * WINDOW.taps, height, width, device=device).tanh()
    return torch.randn(shape, device=device), weights, torch.randn(shape, device=device)


def against_plain(plan: Plan, device: torch.device, axis: str, backward: bool) -> float:
    """Returns the time of the plain kernel as a multiple of ours; their results have to agree."""
    x, weights, grad = tensors(plan, plan.shapes[0], device)
    dim = DIMS[axis]
    if backward:
        inputs = x.requires_grad_(), weights.requires_grad_()
        out = focal_aggregate(*inputs, heads=plan.heads, dim=dim, backend="triton")

        def ours():
            return torch.autograd.grad(out, inputs, grad, retain_graph=True)

        def plain():
            return plain_kernels.backward(grad, x.detach(), weights.detach(), WINDOW, plan.heads, dim)
    else:

        def ours():
            return focal_aggregate(x, weights, heads=plan.heads, dim=dim, backend="triton")

        def plain():
            return plain_kernels.forward(x, weights, WINDOW, plan.heads, dim)

    return faster(plan, device, ours, plain)


def faster(plan: Plan, device: torch.device, ours: Callable, other: Callable) -> float:
    """Returns the time of the other as a multiple of ours, or refuses where their results differ."""
    result, expected = ours(), other()
    try:
        torch.testing.assert_close(result, expected, rtol=2e-2, atol=2e-2)
    except AssertionError:
        raise RuntimeError("the results differ") from None
    times = time_interleaved({"ours": ours, "other": other}, plan.rounds, device)
    return median(b / a for a, b in zip(times["ours"], times["other"], strict=True))


def microseconds(plan: Plan, device: torch.device, run: Callable) -> float:
    """Returns the median time of a call."""
    run()
    return 1e6 * median(time_interleaved({"run": run}, plan.rounds, device)["run"])


def launch(plan: Plan, device: torch.device) -> float:
    """Returns the time of a kernel that has nothing to do."""
    return microseconds(plan, device, torch.ones(1, device=device).zero_)


def call(plan: Plan, device: torch.device, axis: str, graph: bool = False) -> float:
    """Returns the time of the aggregation on little, called or replayed, in microseconds."""
    x, weights, _ = tensors(plan, plan.small, device)

    def run():
        return focal_aggregate(x, weights, heads=plan.heads, dim=DIMS[axis], backend="triton")

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
    """Returns the peer's time as a multiple of ours."""
    ours, other = bench(
        [plan.network, plan.peer],
        scale=plan.scale,
        size=plan.size,
        modes=(plan.mode,),
        precisions=("fp16",),
        rounds=plan.rounds,
        device=device,
    )
    return compared(ours, other)


def backends(plan: Plan, device: torch.device, pair: tuple[str, str], **options) -> float:
    """Returns the network's time with the second backend as a multiple of that with the first."""
    first, second = bench([plan.network], scale=plan.scale, backends=pair, rounds=plan.rounds, device=device, **options)
    return compared(first, second)


def compared(ours, other) -> float:
    """Returns a time as a multiple of ours, or refuses where a result is not the network's."""
    if not (ours.valid and other.valid):
        raise RuntimeError("the results differ")
    return other.ratio(ours)


def fused(plan: Plan, device: torch.device, kind: type, arguments: dict) -> float:
    """Returns the time of a layer as a multiple of that with its fused kernel."""
    torch.manual_seed(0)
    batch, _, height, width = plan.shapes[0]
    layer, plain = (
        kind(**arguments, backend=backend, device=device, dtype=torch.float16) for backend in ("fused", "triton")
    )
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(batch, arguments["channels"], height, width, device=device, dtype=torch.float16)
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        return faster(plan, device, lambda: layer(x), lambda: plain(x))


def table(plan: Plan, device: torch.device | None) -> list[str]:
    """Returns the table's lines, in Markdown.

    Args:
        plan: What to measure.
        device: Where; None measures nothing.
    """
    lines = ["| what | target | measured | met |", "| --- | --- | --- | --- |"]
    for row in rows(plan, device or torch.device("cuda")):
        target = "none" if row.least is None else "at least " + row.form.format(row.least)
        value, met = None, "" if row.least is None else "unknown"
        if device is None:
            measured = "*not measured*"
        else:
            try:
                value = row.measure()
                measured = row.form.format(value)
                met = "" if row.least is None else ("yes" if value >= row.least else "**no**")
            except RuntimeError as error:  # also: out of memory; the other rows are worth having
                measured = f"*{str(error).splitlines()[0]}*"
        lines.append(f"| {row.what} | {target} | {measured} | {met} |")
    return lines


def main() -> None:
    """Prints the table, and writes it to a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, help="Markdown file to write, too.")
    output = parser.parse_args().output
    device = torch.device("cuda") if torch.cuda.is_available() else None
    lines = table(Plan(), device)
    where = torch.cuda.get_device_name() if device else f"no GPU ({platform.machine()})"
    lines += ["", f"{where}; torch {torch.__version__}, triton {triton.__version__}; {date.today()}."]
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if output:
        output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
