"""Print the registers, memory and access widths of the compiled Triton kernels; no GPU is needed.

    python tests/benchmarks/kernel_resources.py [--arch 80 90 100] [-o FILE]

Runs the published network, and its layers on contiguous tensors, on the CPU, where each launch only compiles the kernel
for its arguments.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.errors import PTXASError
from triton.runtime.jit import JITFunction, KernelInterface

from lamnet_layers import backend, use_backend
from lamnet_layers.ops import triton as package
from lamnet_models import LAMNet

ARCHITECTURES = (80, 90, 100)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
SIZES = ((64, 64),)  # all strides are multiples of 16, or 1
CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


@dataclass(frozen=True)
class Resources:
    """Resources of one compiled kernel.

    Args:
        kernel: Module and name of the kernel.
        axis: Axis of the aggregation, empty for other kernels.
        dtype: Data type of the network or of autocast.
        layout: Memory format of the features.
        size: Height and width of the feature maps.
        arch: Compute capability, 90 for sm_90.
        warps: Warps per program.
        registers: Registers per thread.
        spilled: Bytes of local memory per thread.
        shared: Bytes of shared memory per program.
        loads: Global load instructions by width in bits.
        stores: Global store instructions by width in bits.
    """

    kernel: str
    axis: str
    dtype: str
    layout: str
    size: tuple[int, int]
    arch: int
    warps: int
    registers: int
    spilled: int
    shared: int
    loads: dict[int, int]
    stores: dict[int, int]


class _Driver:
    """Stand-in for Triton's CUDA driver that names the target and has no device."""

    def __init__(self, arch: int) -> None:
        self.arch = arch

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.arch, 32)

    def get_current_device(self) -> int:
        return self.arch  # Triton caches what it compiled by device

    def get_current_stream(self, device: int) -> int:
        return 0


@triton.jit
def _empty_kernel():
    pass


def measure(
    arch: int, dtypes=DTYPES, sizes=SIZES, wide_offsets: bool = False, contiguous: bool = True
) -> list[Resources]:
    """Return the resources of each kernel that the published network launches. To be called ``in_process``.

    Args:
        arch: Compute capability, 90 for sm_90.
        dtypes: Data types; half precision by autocast, as in training and upscaling.
        sizes: Heights and widths of the images.
        wide_offsets: Whether to compile for offsets of 64 bits, as for feature maps of 2³¹ elements and more.
        contiguous: Whether to also run the network's layers by themselves, on contiguous tensors.

    Raises:
        NotImplementedError: If Triton cannot compile for the architecture.
    """
    results = {}
    run = JITFunction.run
    case = ()

    def compile_only(kernel, *args, grid, warmup, **options):
        if wide_offsets and "INDEX" in options:
            options["INDEX"] = tl.int64
        binary = run(kernel, *args, grid=grid, warmup=True, **options)
        axis = {True: "horizontal", False: "vertical"}.get(options.get("HORIZONTAL"), "")
        name = f"{kernel.__module__.rpartition('.')[2]}.{kernel.__name__}"
        key = (name, axis, *case, arch)
        if (key, binary.hash) not in results:
            results[key, binary.hash] = Resources(*key, binary.metadata.num_warps, **_inspect(binary))

    driver.set_active(_Driver(arch))
    try:
        _empty_kernel.warmup(grid=(1,))
    except (PTXASError, RuntimeError) as error:  # not CompilationError, which is the kernel's
        raise NotImplementedError(f"triton {triton.__version__} cannot compile for sm_{arch}: {error}") from None
    with (
        mock.patch.object(JITFunction, "run", compile_only),
        mock.patch.object(backend, "unavailable_reason", return_value=None),
        use_backend("fused"),
    ):
        for dtype in dtypes:
            for size in sizes:
                for layout, module, x in _inputs(size, dtype, contiguous):
                    case = (str(dtype).removeprefix("torch."), layout, size)
                    with torch.autocast("cpu", dtype) if dtype != torch.float32 else nullcontext():
                        with torch.no_grad():
                            module(x)
                        out = module(x.requires_grad_())
                        out.backward(torch.ones_like(out))
    return list(results.values())


def names() -> set[str]:
    """Return the kernels of the library, as module and name: its Triton functions that no other one calls."""
    functions = [
        (module.name, value)
        for module in pkgutil.iter_modules(package.__path__)
        for value in vars(importlib.import_module(f"{package.__name__}.{module.name}")).values()
        if isinstance(value, KernelInterface) and value.fn.__module__.endswith(f".{module.name}")
    ]
    called = {name for _, function in functions for name in function.fn.__code__.co_names}
    return {f"{module}.{function.__name__}" for module, function in functions if function.__name__ not in called}


def _inputs(size: tuple[int, int], dtype: torch.dtype, contiguous: bool) -> Iterator[tuple[str, nn.Module, Tensor]]:
    network = LAMNet(num_blocks=1, depth=1)  # the published blocks and layers repeat these
    yield "channels_last", network, torch.zeros(1, 3, *size)
    for layer in network.modules():
        if contiguous and hasattr(layer, "backend"):
            yield "contiguous", layer, torch.zeros(1, layer.dim, *size, dtype=dtype)


def _inspect(binary) -> dict[str, object]:
    with TemporaryDirectory() as folder:
        file = Path(folder, "kernel.cubin")
        file.write_bytes(binary.asm["cubin"])
        command = [CUOBJDUMP, "-sass", "-res-usage", file]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    usage = {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", text)}
    return {
        "registers": usage["REG"],
        "spilled": usage["STACK"] + usage["LOCAL"],
        "shared": binary.metadata.shared,
        "loads": _widths("LDG", text),
        "stores": _widths("STG", text),
    }


def _widths(instruction: str, text: str) -> dict[int, int]:
    # LDG.E.128 and LDG.E.U16 name their width; LDG.E is 32 bits wide.
    widths = re.findall(rf"\b{instruction}\b(?:\.(?:[US]?(8|16|64|128|256)\b|\w+))*", text)
    return dict(sorted(Counter(int(width or 32) for width in widths).items(), reverse=True))


def table(results: list[Resources]) -> list[str]:
    """Return the lines of a table in Markdown, a row per kernel, axis, data type and layout."""
    lines = [
        "`python tests/benchmarks/kernel_resources.py`:",
        "",
        "| kernel | axis | data type | layout | warps | registers | spilled bytes | shared bytes | loads | stores |",
        "| --- " * 10 + "|",
    ]

    def row(result: Resources) -> tuple[str, ...]:
        return result.kernel, result.axis, result.dtype, result.layout

    for cells, group in groupby(sorted(results, key=lambda result: (row(result), result.arch)), row):
        group = list(group)
        for field in ("warps", "registers", "spilled", "shared", "loads", "stores"):
            values = [_cell(getattr(result, field)) for result in group]
            cells += (values[0] if len(set(values)) == 1 else " / ".join(values),)
        lines.append(f"| `{cells[0]}` | {' | '.join(cells[1:])} |")
    return lines


def _cell(value: int | dict[int, int]) -> str:
    if isinstance(value, int):
        return str(value)
    return ", ".join(f"{count}×{width}" for width, count in value.items())


def in_process(function: Callable, *args):
    """Return the result of a function in a new process, where Triton compiles and does not interpret."""
    with (
        mock.patch.dict(os.environ, {"TRITON_INTERPRET": "0"}),
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
    ):
        return pool.submit(function, *args).result()


def main() -> None:
    """Print the table, and write it to a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--arch", type=int, nargs="+", default=ARCHITECTURES, help="compute capabilities, such as 90")
    parser.add_argument("--size", type=int, nargs=2, action="append", metavar=("HEIGHT", "WIDTH"), help="of the images")
    parser.add_argument("-o", "--output", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    results = []
    for arch in arguments.arch:
        try:
            results += in_process(measure, arch, DTYPES, [tuple(size) for size in arguments.size or SIZES])
        except NotImplementedError as error:
            print(error, file=sys.stderr)
    targets = " / ".join(f"sm_{arch}" for arch in sorted({result.arch for result in results}))
    lines = [*table(results), "", f"{targets}; torch {torch.__version__}, triton {triton.__version__}; {date.today()}."]
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
