"""Make the tables of docs/performance.md.

Usage: ``python docs/make_performance.py [networks] [bandwidth]``, on an otherwise idle machine. Makes both tables by
default, in about twenty minutes on two cores.
"""

import platform
import sys
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import torch
from lamnet_cli.allocation import configure_allocator

from lamnet_models.benchmarking import AGGREGATION_SIZES, PEERS, bench, measure_aggregation

ASSETS = Path(__file__).parent / "assets"
CLOSEST = ["swinir_light", "omni_sr"]
OTHERS = [name for name in PEERS if name not in CLOSEST]


def table(arguments: str, rounds: int, **options) -> list[str]:
    """Return the rows of one run's table, with the time of the first network over each."""
    results = bench(arguments.partition(" --")[0].split(), rounds=rounds, **options)
    first = results[0].name
    references = {(result.mode, result.precision): result for result in reversed(results) if result.name == first}
    lines = [f"`lamnet bench {arguments} --rounds {rounds}`:", ""]
    lines += [f"| network | mode | type | seconds | spread | MB | `{first}` / network |", "| --- " * 7 + "|"]
    for result in results:
        memory = "" if result.memory is None else f"{result.memory / 1e6:.0f}"
        reference = references[result.mode, result.precision]
        ratio = f"{reference.ratio(result):.2f}" if reference.valid and result.valid else "differs"
        cells = (result.name, result.mode, result.precision, f"{result.median:.2f}", f"±{result.spread:.0%}", memory)
        lines.append(f"| {' | '.join(cells)} | {ratio} |")
    return [*lines, ""]


def machine() -> str:
    """Return a line that describes the machine, the torch version and the date."""
    threads, capability = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} with {capability}, {threads} threads; torch {torch.__version__}; {date.today()}."


def write(name: str, lines: Iterable[str]) -> None:
    """Write one of the tables that the page includes."""
    (ASSETS / name).write_text("\n".join([*lines, machine(), ""]), encoding="utf-8")


def networks() -> None:
    """Write the tables that compare networks."""
    precisions = ("fp32", "bf16") if torch.ops.mkldnn._is_mkldnn_bf16_supported() else ("fp32",)
    closest = f"lamnet_x4 {' '.join(CLOSEST)}"
    lines = []
    for _ in range(2):  # two runs show how stable the ratios are
        lines += table(f"{closest} --mode eager --memory", 5, memory=True)
    lines += table(f"lamnet_x4 {' '.join(OTHERS)} --mode eager", 3)
    for _ in range(2):
        arguments = f"{closest} --mode compiled --precision {','.join(precisions)}"
        lines += table(arguments, 5, modes=("compiled",), precisions=precisions)
    lines += table(f"{closest} --train 4x48", 3, train=(4, 48))
    write("performance.md", lines)


def bandwidth() -> None:
    """Write the table of the aggregation's bandwidth relative to a memory copy."""
    lines = ["`lamnet bench --op --rounds 3`:", ""]
    lines += ["| B×D×H×W | axis | pass | ms | MB | GB/s | of a copy |", "| --- " * 7 + "|"]
    for shape in AGGREGATION_SIZES:
        for axis in ("horizontal", "vertical"):
            for backward in (False, True):
                result = measure_aggregation(shape, axis, backward=backward, rounds=3)
                cells = ("×".join(map(str, shape)), axis, "backward" if backward else "forward")
                figures = (f"{1000 * result.seconds:.0f}", f"{result.bytes / 1e6:.0f}", f"{result.bandwidth / 1e9:.2f}")
                lines.append(f"| {' | '.join((*cells, *figures))} | {result.share:.1%} |")
    write("bandwidth.md", [*lines, ""])


PARTS = {"networks": networks, "bandwidth": bandwidth}

if __name__ == "__main__":
    configure_allocator()  # as `lamnet` does; not applied in processes that measure memory
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
