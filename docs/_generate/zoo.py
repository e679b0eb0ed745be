"""Make the table of docs/weights.md: hooks.py inserts it when the site is built.

Usage: ``python docs/_generate/zoo.py``, on an otherwise idle machine. Measures time and memory of the models whose
weights are packaged, in minutes. The other cells are facts about the packaged files, and scores in
docs/assets/scores.md.
"""

from __future__ import annotations

from assets import ASSETS, machine, read_tables, table, write_lines

from lamnet_models.names import PURPOSES, VARIANTS, PackagedWeights, describe_weights, packaged_weights

DATASETS = {"set5": "Set5", "set14": "Set14", "bsd100": "BSD100", "urban100": "Urban100"}
"""Titles of the datasets in the tables."""

ROUNDS = 5

Row = dict[str, tuple[str, float | str]]
"""Text and value to sort by, by column."""


def zoo_lines() -> list[str]:
    """Return the HTML lines of the table, with its notes."""
    weights = [describe_weights(name) for name in packaged_weights()]
    weights.sort(key=lambda entry: (entry.scale, entry.params, entry.name))
    rows = zoo_rows(weights)
    order = ["weights", "scale", "for", "parameters", "MACs", *DATASETS.values(), "time", "memory", "file", "license"]
    columns = [column for column in order if any(column in row for row in rows)]
    heads = "".join(f'<th scope="col">{column}</th>' for column in columns)
    lines = [f'<table class="sortable"><thead><tr>{heads}</tr></thead><tbody>']
    for row in rows:
        cells = ((column, *row.get(column, ("", ""))) for column in columns)
        data = (f'<td data-label="{column}" data-value="{value}">{text}</td>' for column, text, value in cells)
        lines.append(f"<tr>{''.join(data)}</tr>")
    lines += ["</tbody></table>", ""]
    purposes = {entry.purpose for entry in weights}
    lines += [f"- *{purpose}*: for {images}." for purpose, images in PURPOSES.items() if purpose in purposes]
    return [*lines, (ASSETS / "zoo.md").read_text(encoding="utf-8").split("\n\n")[-1].rstrip()]


def zoo_rows(weights: list[PackagedWeights]) -> list[Row]:
    """Return a row for each of the packaged weights, without the cells that have not been measured."""
    costs = {row["model"]: row for row in read_tables("zoo.md")[0]}
    measured = {row.pop(""): row for row in read_tables("scores.md")[0]}
    rows = []
    for entry in weights:
        row: Row = {
            "weights": (f'<a href="{entry.name}/"><code>{entry.name}</code></a>', entry.name),
            "scale": (f"×{entry.scale}", entry.scale),
            "for": (entry.purpose, entry.purpose),
            "parameters": (f"{entry.params / 1e3:.0f}&nbsp;K", entry.params),
            "MACs": (f"{entry.macs / 1e9:.0f}&nbsp;G", entry.macs),
            "file": (f"{entry.bytes / 1e6:.1f}&nbsp;MB", entry.bytes),
            "license": (entry.license, entry.license),
        }
        others = measured.get(f"`{entry.name}` ×{entry.scale}", {})
        for dataset, title in DATASETS.items():
            if dataset in entry.scores:
                psnr, ssim = entry.scores[dataset]
                row[title] = (f"{psnr:.2f} / {ssim:.4f}", psnr)
            elif others.get(dataset):
                row[title] = (others[dataset], float(others[dataset].partition(" ")[0]))
        cost = costs.get(entry.name.partition(".")[0])
        if cost:
            row["time"] = (f"{cost['s']}&nbsp;s", float(cost["s"]))
            row["memory"] = (f"{cost['MB']}&nbsp;MB", float(cost["MB"]))
        rows.append(row)
    return rows


def main() -> None:
    """Measure the models in interleaved rounds, and write times and memory."""
    import torch  # hooks.py imports this module
    from lamnet_cli.allocator import configure_allocator

    from lamnet_models.benchmarking import open_network
    from lamnet_models.benchmarking.measure import OUTPUT_SIZE, peak_memory_in_child, time_interleaved

    configure_allocator()
    packaged = {name.partition(".")[0] for name in packaged_weights()}
    models = [name for name in VARIANTS if name in packaged]
    width, height = OUTPUT_SIZE
    shapes = {name: (1, 3, height // VARIANTS[name]["scale"], width // VARIANTS[name]["scale"]) for name in models}
    networks = {name: open_network(name, VARIANTS[name]["scale"]).eval() for name in models}
    images = {name: torch.rand(shape) for name, shape in shapes.items()}
    with torch.inference_mode():
        runs = {name: lambda name=name: networks[name](images[name]) for name in models}
        time_interleaved(runs, 1, torch.device("cpu"))  # warm-up
        times = time_interleaved(runs, ROUNDS, torch.device("cpu"))
    rows = []
    for name in models:
        memory = peak_memory_in_child(name, VARIANTS[name]["scale"], shapes[name], False, None)
        size = "{3}×{2}".format(*shapes[name])
        rows.append((name, size, f"{sorted(times[name])[ROUNDS // 2]:.2f}", f"{memory / 1e6:.0f}"))
    note = (
        f"- *time*, *memory*: one forward pass to 1280×720, as by `lamnet bench MODEL -s SCALE --memory`; median of "
        f"{ROUNDS} interleaved rounds, and peak memory in addition to the network; {machine()}."
    )
    write_lines("zoo.md", [*table(("model", "input", "s", "MB"), rows), "", note])


if __name__ == "__main__":
    main()
