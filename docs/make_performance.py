"""Makes the tables of times: python docs/make_performance.py, on a machine that does nothing else; some ten minutes."""

import os
import platform
from datetime import date
from pathlib import Path

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the command line does, before torch allocates

import torch

from lamnet_models.benchmarking import Measurement, bench

TABLE = Path(__file__).parent / "assets" / "performance.md"
PEERS = ["swinir_light", "omni_sr"]


def table(results: list[Measurement]) -> list[str]:
    """Returns the lines of a table of one run, with ratios of the first network to each."""
    ours = results[0]
    lines = ["| network | seconds | spread | `lamnet_x4` / it |", "| --- | --- | --- | --- |"]
    for result in results:
        lines.append(f"| {result.name} | {result.median:.2f} | ±{result.spread:.0%} | {ours.ratio(result):.2f} |")
    return lines


def main() -> None:
    """Writes the tables."""
    lines = []
    for mode, networks in (("eager", ["lamnet_x4", *PEERS, "safmn"]), ("compiled", ["lamnet_x4", *PEERS])):
        for run in (1, 2):
            results = bench(networks, modes=(mode,), rounds=5)
            command = f"lamnet bench {' '.join(networks)} --mode {mode} --rounds 5"
            lines += [f"`{command}`, run {run}:", "", *table(results), ""]
    threads, capability = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    lines += [
        f"320×180 → 1280×720, float32; {platform.machine()} with {capability}, {threads} threads; "
        f"torch {torch.__version__}; {date.today()}.",
        "",
    ]
    TABLE.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
