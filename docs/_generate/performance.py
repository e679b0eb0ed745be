"""Make the tables of docs/performance.md.

Usage: ``python docs/_generate/performance.py [native] [networks] [bandwidth]``, on an otherwise idle machine. Makes all
tables by default, in about half an hour on two cores.
"""

import sys

import torch
from assets import machine, table, write_lines
from lamnet_cli.main import configure_allocator

from lamnet_models.benchmarking import AGGREGATION_SIZES, PEERS, bench, measure_aggregation

CLOSEST = ["swinir_light", "omni_sr"]
OTHERS = [name for name in PEERS if name not in CLOSEST]


def measure(arguments: str, rounds: int, **options) -> list[str]:
    """Return the table of one run, with the time of the first network over each."""
    results = bench(arguments.partition(" --")[0].split(), rounds=rounds, backends=("eager",), **options)
    first = results[0].name
    references = {(result.mode, result.precision): result for result in reversed(results) if result.name == first}
    columns = ("network", "mode", "type", "seconds", "spread", "MB", f"`{first}` / network")
    rows = []
    for result in results:
        memory = "" if result.memory is None else f"{result.memory / 1e6:.0f}"
        reference = references[result.mode, result.precision]
        ratio = f"{reference.ratio(result):.2f}" if reference.valid and result.valid else "differs"
        seconds, spread = f"{result.median:.2f}", f"±{result.spread:.0%}"
        rows.append((result.name, result.mode, result.precision, seconds, spread, memory, ratio))
    return [f"`lamnet bench {arguments} --rounds {rounds}`:", "", *table(columns, rows), ""]


def native() -> None:
    """Write the table that compares the CPU kernels with eager code and other networks."""
    rows = []
    for task, threads, options in (
        ("320×180 → ×4", 1, {}),
        ("320×180 → ×4", 2, {}),
        ("training step, 8×32×32", 1, {"train": (8, 32)}),
        ("training step, 8×32×32", 2, {"train": (8, 32)}),
    ):
        results = bench(["lamnet_x4", *CLOSEST], backends=("native", "eager"), rounds=3, threads=threads, **options)
        first = results[0]
        for result in results:
            if result.name == first.name or result.backend == first.backend:  # other networks have no backends
                name = f"{result.name}, {result.backend}" if result.name == first.name else result.name
                figures = (f"{result.median:.2f}", f"±{result.spread:.0%}", f"{1 / result.ratio(first):.2f}")
                rows.append((task, str(threads), name, *figures))
    columns = ("task", "threads", "network", "seconds", "spread", "`lamnet_x4`, native / network")
    command = (
        "`lamnet bench lamnet_x4 swinir_light omni_sr --backend native,eager --threads N [--train 8x32] --rounds 3`:"
    )
    write_lines("native.md", [command, "", *table(columns, rows), "", f"{machine()}."])


def networks() -> None:
    """Write the tables that compare networks."""
    precisions = ("fp32", "bf16") if torch.ops.mkldnn._is_mkldnn_bf16_supported() else ("fp32",)
    closest = f"lamnet_x4 {' '.join(CLOSEST)}"
    lines = []
    for _ in range(2):  # two runs show how stable the ratios are
        lines += measure(f"{closest} --backend eager --mode eager --memory", 5, memory=True)
    lines += measure(f"lamnet_x4 {' '.join(OTHERS)} --backend eager --mode eager", 3)
    for _ in range(2):
        arguments = f"{closest} --backend eager --mode compiled --precision {','.join(precisions)}"
        lines += measure(arguments, 5, modes=("compiled",), precisions=precisions)
    lines += measure(f"{closest} --backend eager --train 4x48", 3, train=(4, 48))
    write_lines("performance.md", [*lines, f"{machine()}."])


def bandwidth() -> None:
    """Write the table of the aggregation's bandwidth relative to a memory copy."""
    rows = []
    for shape in AGGREGATION_SIZES:
        for axis in ("horizontal", "vertical"):
            for backward in (False, True):
                result = measure_aggregation(shape, axis, backward=backward, rounds=3)
                cells = ("×".join(map(str, shape)), axis, "backward" if backward else "forward")
                figures = (f"{1000 * result.seconds:.0f}", f"{result.bytes / 1e6:.0f}", f"{result.bandwidth / 1e9:.2f}")
                rows.append((*cells, *figures, f"{result.share:.1%}"))
    columns = ("B×D×H×W", "axis", "pass", "ms", "MB", "GB/s", "of a copy")
    lines = ["`lamnet bench --op --rounds 3`:", "", *table(columns, rows), "", f"{machine()}."]
    write_lines("bandwidth.md", lines)


PARTS = {"native": native, "networks": networks, "bandwidth": bandwidth}

if __name__ == "__main__":
    configure_allocator()  # as `lamnet` does; not applied in processes that measure memory
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
