"""Table 3: costs and quality of models."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch

from ..benchmarking import PEERS, open_network
from ..cost import Complexity, complexity
from ..datasets import KNOWN_DATASETS, Dataset, open_dataset
from ..errors import DatasetError, ModelError
from ..evaluation import evaluate
from ..evaluation.methods import with_scale
from ..evaluation.published import BENCHMARKS, Published
from ..evaluation.published import table3 as published_rows
from ..explanation.view import Differentiable
from ..factory import create_model, resolve_model
from .printed import compare_with_printed, format_like
from .result import Cell, Reproduction, Score, Table


def table3(
    *,
    scales: Iterable[int] = (2, 3, 4),
    data: str | os.PathLike | None = None,
    weights: Sequence[tuple[str, str | os.PathLike]] = (),
    limit: int | None = None,
    on_status: Callable[[str], None] | None = None,
) -> Reproduction:
    """Reproduce table 3: parameters, MACs, and PSNR and SSIM on the available benchmarks.

    Args:
        scales: Scale factors.
        data: Dataset root; see [`open_dataset`][lamnet_models.datasets.open_dataset].
        weights: Pairs of a model of the table, such as ``"lamnet_x2"`` or ``"swinir_light"``, and a checkpoint file of
            any architecture that spandrel reads; the scale of a peer network is its file's.
        limit: Number of images to evaluate per dataset, from the first; None for all.
        on_status: Called with status lines.

    Returns:
        A table of costs and one of quality. Without weights or dataset, only the paper's values are shown, in brackets.

    Raises:
        LAMNetError: If a checkpoint cannot be read, or its model is not in the table.
        ValueError: If ``limit`` is below 1.
    """
    on_status = on_status or (lambda _: None)
    files = _open_weights(weights)
    costs: list[tuple[Cell, ...]] = []
    quality: list[tuple[Cell, ...]] = []
    notes: dict[str, None] = {}
    for scale in scales:
        benchmarks = _open_benchmarks(scale, data, notes)
        for row in published_rows():
            if row.scale != scale:
                continue
            on_status(f"{row.model} ×{scale}")
            file = files.get((row.key, scale))
            costs.append(_cost_row(row, file))
            network = file or row.name
            quality.append(
                (f"×{scale}", row.model, _source(network), *_scores(row, network, benchmarks, limit, notes, on_status))
            )
    cost_columns = ("scale", "model", "parameters", "paper's", "MACs", "MACs, paper's", "ours and the paper's")
    titles = tuple(KNOWN_DATASETS[name].title for name in BENCHMARKS)
    return Reproduction(
        "table3",
        "Table 3: costs and quality of models",
        (
            Table("Costs at an output of 1280×720", cost_columns, tuple(costs), (_COST_NOTE,)),
            Table(
                "PSNR in dB / SSIM on Y; in brackets the paper's",
                ("scale", "model", "measured with", *titles),
                tuple(quality),
                (*notes, _QUALITY_NOTE),
            ),
        ),
    )


_COST_NOTE = (
    "MACs are counted over convolutions and matrix products. Peer networks are spandrel's; models without our values "
    "are not implemented here."
)
_QUALITY_NOTE = (
    "The packaged weights were trained on 310 photographs for hours, the paper's on DIV2K for 500,000 steps on two "
    "GPUs, so the packaged ones score lower. To evaluate the original weights: --weights lamnet_x2=FILE."
)


def _open_weights(weights: Sequence[tuple[str, str | os.PathLike]]) -> dict[tuple[str, int], str]:
    """Return readable checkpoint files by key and scale of the model."""
    known = {row.key: row for row in published_rows()}
    opened = {}
    for name, file in weights:
        if name not in known:
            raise ModelError(f"weights must be for one of {', '.join(known)}, got {name!r}")
        row, scale = known[name], resolve_model(Path(file)).scale
        if row.name and row.scale != scale:
            raise ModelError(f"{file}: weights for {name} must be for ×{row.scale}, got ×{scale}")
        opened[name, scale] = os.fspath(file)
    return opened


def _open_benchmarks(scale: int, data: str | os.PathLike | None, notes: dict[str, None]) -> dict[str, Dataset]:
    opened = {}
    for name in BENCHMARKS:
        try:
            opened[name] = open_dataset(name, scale, data)
        except DatasetError:
            known = KNOWN_DATASETS[name]
            notes[f"{known.title} not found: {known.fetch_hint(data)}."] = None
    return opened


def _cost_row(row: Published, file: str | None) -> tuple[Cell, ...]:
    cost = _cost(row, file)
    if not cost:
        return (f"×{row.scale}", row.model, None, row.params, None, row.macs, "paper's values only")
    params, macs = compare_with_printed(cost.params, row.params), compare_with_printed(cost.macs, row.macs)
    comparison = params if params == macs else f"parameters: {params}; MACs: {macs}"
    macs_text = format_like(cost.macs, "0.00G")
    return (f"×{row.scale}", row.model, cost.params, row.params, macs_text, row.macs, comparison)


def _cost(row: Published, file: str | None) -> Complexity | None:
    if file is None and row.name:
        return complexity(create_model(row.name, device=torch.device("meta")))
    if file is None and row.key not in PEERS:
        return None
    try:
        network = resolve_model(Path(file)) if file else open_network(row.key, row.scale)
    except ModelError:  # spandrel is not installed
        return None
    return complexity(Differentiable(with_scale(network, row.scale)))


def _source(network: str | None) -> str:
    return "paper's values only" if network is None else os.path.basename(network)


def _scores(
    row: Published,
    network: str | None,
    benchmarks: Mapping[str, Dataset],
    limit: int | None,
    notes: dict[str, None],
    on_status: Callable[[str], None],
) -> Iterable[Score]:
    for name in BENCHMARKS:
        ours = None
        if network and name in benchmarks:
            on_status(f"{network} on {name} ×{row.scale}")
            result = evaluate(network, benchmarks[name], row.scale, limit=limit)
            ours = (result.psnr, result.ssim)
            if len(result.images) < KNOWN_DATASETS[name].count:
                notes[f"{KNOWN_DATASETS[name].title}: measured on {len(result.images)} images only."] = None
        yield Score(ours, row.scores.get(name))
