"""Make the chart and the tables of docs/performance.md.

Usage: ``python docs/_generate/performance.py [native] [chart] [networks] [bandwidth]``, on an otherwise idle machine.
Makes all by default, in about half an hour on two cores. ``native`` makes the chart, too; ``chart`` draws it again from
the table.
"""

import sys

import torch
from assets import ASSETS, machine, read_tables, table, write_lines
from diagrams import bars_svg
from lamnet_cli.allocator import configure_allocator

from lamnet_models.benchmarking import AGGREGATION_SIZES, PEERS, bench, measure_aggregation

CLOSEST = ["omni_sr", "swinir_light"]
OTHERS = [name for name in PEERS if name not in CLOSEST]


def measure(arguments: str, rounds: int, **options) -> list[str]:
    """Return the table of one run, with the time of the first network over each."""
    results = bench(arguments.partition(" --")[0].split(), rounds=rounds, backends=("eager",), **options)
    first = results[0].name
    references = {(result.mode, result.precision): result for result in reversed(results) if result.name == first}
    has_memory = any(result.memory is not None for result in results)
    columns = ("network", "mode", "type", "s", "±", *(["MB"] if has_memory else []), "ratio")
    rows = []
    for result in results:
        memory = [f"{result.memory / 1e6:.0f}" if result.memory else ""] if has_memory else []
        reference = references[result.mode, result.precision]
        ratio = f"{reference.ratio(result):.2f}" if reference.valid and result.valid else "differs"
        seconds, spread = f"{result.median:.2f}", f"{result.spread:.0%}"
        rows.append((result.name, result.mode, result.precision, seconds, spread, *memory, ratio))
    return [f"`lamnet bench {arguments} --rounds {rounds}`:", "", *table(columns, rows), ""]


TASKS = {"Inference, 320×180 → ×4": {}, "Training step, 8×32×32": {"train": (8, 32)}}


def native() -> None:
    """Write the tables and the chart that compare the CPU kernels with eager code and other networks."""
    command = "lamnet bench lamnet_x4 omni_sr swinir_light --backend native,eager --threads N [--train 8x32] --rounds 5"
    columns = ("network", "threads", "s", "±", "of mm", "MB", "ratio")
    lines = [f"`{command} --memory`:", ""]
    for task, options in TASKS.items():
        rows = []
        for threads in (1, 2):
            measured = {"backends": ("native", "eager"), "rounds": 5, "memory": True, "threads": threads}
            results = bench(["lamnet_x4", *CLOSEST], **options, **measured)
            for result in results:
                name = ", ".join(filter(None, (result.name, result.backend)))
                figures = (f"{result.median:.2f}", f"{result.spread:.0%}", f"{result.matrix_share:.0%}")
                ratio = f"{1 / result.ratio(results[0]):.2f}"
                rows.append((name, threads, *figures, f"{result.memory / 1e6:.0f}", ratio))
        lines += [f"**{task}**", "", *table(columns, rows), ""]
    lines += [
        "*of mm*: FLOPs per second as a share of those of `torch.mm` in float32, measured in the same rounds; a",
        "training step counts as three forward passes. *MB*: peak memory in addition to the network. *ratio*: time of",
        "`lamnet_x4` with the kernels divided by that of the row.",
    ]
    write_lines("native.md", [*lines, "", f"{machine()}."])
    write_chart()


def chart() -> str:
    """Return the chart of the times on two threads in the tables of ``native``."""
    panels = {
        task: {row["network"]: float(row["s"]) for row in rows if row["threads"] == "2"}
        for task, rows in zip(TASKS, read_tables("native.md"), strict=True)
    }
    return bars_svg(panels, "s", "Seconds of inference and of a training step, by network", marked="lamnet")


def write_chart() -> None:
    """Write the chart."""
    (ASSETS / "native.svg").write_text(chart(), encoding="utf-8")


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
                figures = (f"{1000 * result.seconds:.0f}", f"{result.bandwidth / 1e9:.2f}")
                rows.append((*cells, *figures, f"{result.share:.1%}"))
    columns = ("B×D×H×W", "axis", "pass", "ms", "GB/s", "of a copy")
    lines = ["`lamnet bench --op --rounds 3`:", "", *table(columns, rows), "", f"{machine()}."]
    write_lines("bandwidth.md", lines)


PARTS = {"native": native, "chart": write_chart, "networks": networks, "bandwidth": bandwidth}

if __name__ == "__main__":
    configure_allocator()  # as `lamnet` does; not applied in processes that measure memory
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
