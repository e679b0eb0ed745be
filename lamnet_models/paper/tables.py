"""Tables 1 to 4: costs of modules, costs and quality of models, ablations."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lamnet_layers import DGFN, ULM, FocalSeparableAttention, FocalWindow

from ..benchmarking import PEERS, open_network
from ..cost import Complexity, complexity, count_operations
from ..data import KNOWN_DATASETS, Dataset, open_dataset
from ..errors import DatasetError, ModelError, quantity
from ..evaluation import evaluate
from ..evaluation.predictors import with_scale
from ..evaluation.results import BENCHMARKS, Published, published_data, published_table3, published_table4
from ..factory import create_model, format_settings, resolve_model
from .ablations import GDFN, MHDLSA, Budget, train_variants
from .explanation import Differentiable
from .reproduction import Cell, Reproduction, Score, Table, check_scales, compare_with_printed, format_like

# Tables 1 and 2

HEIGHT, WIDTH, CHANNELS, GROUPS = 720, 1280, 64, 4
"""Sizes of the paper's example, except G, which it states as 64."""


@dataclass(frozen=True)
class ModuleCount:
    """Counted cost of a module, and its difference from the formula.

    Attributes:
        method: The method.
        part: ``"token mixer"`` or ``"feed-forward"``.
        name: Description of the module.
        k: K: the window side or, with a focal window, the number of taps; None without a window.
        params: Number of parameters.
        macs: Multiply-accumulates of convolutions and matrix products per pixel.
        params_terms: Terms that add up to ``params`` minus the formula, by description.
        macs_terms: The same for ``macs``.
    """

    method: str
    part: str
    name: str
    k: int | None
    params: int
    macs: float
    params_terms: dict[str, float]
    macs_terms: dict[str, float]


@cache
def count_modules() -> tuple[ModuleCount, ...]:
    """Count modules of SwinIR (if spandrel is installed), DLGSANet and LAMNet, 64 channels."""
    return (*_swinir(), *_dlgsanet(), *_lamnet())


def _count(
    method: str,
    part: str,
    name: str,
    k: int | None,
    module: nn.Module,
    shape: tuple[int, ...],
    params: dict,
    macs: dict,
) -> ModuleCount:
    total = sum(parameter.numel() for parameter in module.parameters())
    macs_per_pixel = count_operations(module, shape)[0] / (HEIGHT * WIDTH)
    return ModuleCount(method, part, name, k, total, macs_per_pixel, params, macs)


def _swinir() -> list[ModuleCount]:
    try:
        from spandrel.architectures.SwinIR.__arch.SwinIR import Mlp, WindowAttention
    except ImportError:
        return []
    c, k, pixels = CHANNELS, 8, HEIGHT * WIDTH
    with warnings.catch_warnings():  # deprecated call of a torch function
        warnings.simplefilter("ignore")
        attention, mlp = WindowAttention(c, (k, k), GROUPS), Mlp(c, 2 * c)
    params = {
        "biases": 4 * c,
        "K⁴ position biases of the formula": -(k**4),
        "(2K−1)² position biases per head": GROUPS * (2 * k - 1) ** 2,
    }
    return [
        _count(
            "SwinIR", "token mixer", "spandrel's WindowAttention", k, attention, (pixels // k**2, k**2, c), params, {}
        ),
        _count(
            "SwinIR", "feed-forward", "spandrel's Mlp", None, mlp, (1, pixels, c), {"biases": 3 * c}, {"GELU": -2 * c}
        ),
    ]


def _dlgsanet() -> list[ModuleCount]:
    c, k, shape = CHANNELS, 7, (1, CHANNELS, HEIGHT, WIDTH)
    # The formula predicts weights at half the width; DLGSANet's text states a quarter.
    mixer, feed_forward = MHDLSA(c, GROUPS, k, hidden_dim=c // 2), GDFN(c)
    aggregation = {"dynamic convolution (not counted)": -(k**2) * c}
    biases = {"biases": c + GROUPS * k**2}
    return [
        _count("DLGSANet", "token mixer", "MHDLSA, hidden_dim=32", k, mixer, shape, biases, aggregation),
        _count("DLGSANet", "feed-forward", "GDFN", None, feed_forward, shape, {"biases": 5 * c}, {"gate": -2 * c}),
    ]


def _lamnet() -> list[ModuleCount]:
    c, shape = CHANNELS, (1, CHANNELS, HEIGHT, WIDTH)
    counted = []
    for window in (FocalWindow(), FocalWindow((1,), (4,))):
        k, pixels = window.taps, window.size
        halved = {"bottleneck of C²/4 instead of C²/2": -(c**2) / 4}
        wider = {f"depthwise kernels of {pixels} instead of K": (pixels - k) * c} if pixels > k else {}
        params = {**halved, **wider, "biases": 3.75 * c + 2 * GROUPS * k}
        macs = {**halved, **wider, "aggregation (not counted)": -k * c, "IEM products": c}
        counted.append(
            _count(
                "LAMNet",
                "token mixer",
                f"ULM, window of {quantity(pixels, 'pixel')}",
                k,
                ULM(c, partial(FocalSeparableAttention, num_heads=GROUPS, window=window)),
                shape,
                params,
                macs,
            )
        )
    counted.append(_count("LAMNet", "feed-forward", "DGFN", None, DGFN(c), shape, {"biases": 5 * c}, {"gates": -3 * c}))
    return counted


K = 8
"""Window side, or number of taps, in the paper's example."""

PRINTED_GROUPS = 64
"""G stated in the paper's example. Its values match G = 4."""


@dataclass(frozen=True)
class Formula:
    """Cost formula in C channels, window K and G groups.

    Attributes:
        text: The formula.
        value: Function of C, K and G.
    """

    text: str
    value: Callable[[int, int, int], float]


PARAMS = {
    "SwinIR": (
        Formula("4C² + K⁴", lambda c, k, g: 4 * c**2 + k**4),
        Formula("4C²", lambda c, k, g: 4 * c**2),
    ),
    "DLGSANet": (
        Formula("5/2·C² + (G+1)/2·K²C", lambda c, k, g: 2.5 * c**2 + (g + 1) / 2 * k**2 * c),
        Formula("3C² + 18C", lambda c, k, g: 3 * c**2 + 18 * c),
    ),
    "LAMNet": (
        Formula("5/2·C² + (G+1)·KC", lambda c, k, g: 2.5 * c**2 + (g + 1) * k * c),
        Formula("4C² + 18C", lambda c, k, g: 4 * c**2 + 18 * c),
    ),
}
"""Parameters of token mixer and feed-forward network by method, the paper's table 1."""

MACS = {
    "SwinIR": (
        Formula("4C² + 2K²C", lambda c, k, g: 4 * c**2 + 2 * k**2 * c),
        Formula("4C² + 2C", lambda c, k, g: 4 * c**2 + 2 * c),
    ),
    "DLGSANet": (
        Formula("5/2·C² + (G+3)/2·K²C", lambda c, k, g: 2.5 * c**2 + (g + 3) / 2 * k**2 * c),
        Formula("3C² + 20C", lambda c, k, g: 3 * c**2 + 20 * c),
    ),
    "LAMNet": (
        Formula("5/2·C² + (G+2)·KC", lambda c, k, g: 2.5 * c**2 + (g + 2) * k * c),
        Formula("4C² + 21C", lambda c, k, g: 4 * c**2 + 21 * c),
    ),
}
"""Multiply-accumulates per pixel of both by method, the paper's table 2."""


def table1() -> Reproduction:
    """Reproduce table 1: parameters of token mixers and feed-forward networks."""
    return Reproduction(
        "table1",
        "Table 1: parameters of token mixers and feed-forward networks",
        (_formulas("Parameters by formula", PARAMS, 1, "params"), _counts("params")),
        (
            "The paper states G = 64. Its values match only G = 4, the number of groups of the published models.",
            *_without_spandrel(),
        ),
    )


def table2() -> Reproduction:
    """Reproduce table 2: multiply-accumulates of token mixers and feed-forward networks."""
    return Reproduction(
        "table2",
        "Table 2: multiply-accumulates of token mixers and feed-forward networks",
        (_formulas("Multiply-accumulates by formula, at 1280×720", MACS, HEIGHT * WIDTH, "macs"), _counts("macs")),
        (
            "SwinIR's mixer is printed as 4C² + 2K²; the printed total of 38G requires 2K²C. With G = 4, which alone "
            "matches the paper's parameters, the formulas differ from the paper's MACs for DLGSANet and LAMNet.",
            *_without_spandrel(),
        ),
    )


def _formulas(title: str, formulas: dict[str, tuple[Formula, Formula]], pixels: int, quantity: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for method, parts in formulas.items():
        printed = published_data()["table1_and_2"][method][quantity]
        values = [[pixels * part.value(CHANNELS, K, g) for part in parts] for g in (PRINTED_GROUPS, GROUPS)]
        unit = "0.0" + printed[-1]
        for index, name in enumerate(("token mixer", "feed-forward")):
            cells = (format_like(value[index], unit) for value in values)
            rows.append((method, name, parts[index].text, *cells, None, ""))
        totals = [sum(value) for value in values]
        comparisons = [compare_with_printed(total, printed) for total in totals]
        comparison = f"{comparisons[0]} with G = 64, {comparisons[1]} with G = 4"
        if totals[0] == totals[1]:
            comparison = comparisons[1]
        rows.append((method, "both", "", *(format_like(total, unit) for total in totals), printed, comparison))
    columns = ("method", "part", "formula", "G = 64, as printed", "G = 4", "paper", "comparison")
    return Table(f"{title}; C = {CHANNELS}, K = {K}", columns, tuple(rows))


def _counts(quantity: str) -> Table:
    unit, formulas = ("0.00K", PARAMS) if quantity == "params" else ("0.00G", MACS)
    pixels = 1 if quantity == "params" else HEIGHT * WIDTH
    rows = []
    for module in count_modules():
        formula = formulas[module.method][module.part == "feed-forward"].value(CHANNELS, module.k or K, GROUPS)
        counted, terms = (
            (module.params, module.params_terms) if quantity == "params" else (module.macs, module.macs_terms)
        )
        explanation = (
            "; ".join(f"{_signed(amount * pixels, unit)} {words}" for words, amount in terms.items()) or "equal"
        )
        values = (format_like(pixels * value, unit) for value in (formula, counted))
        rows.append((module.method, module.part, module.name, module.k, *values, explanation))
    columns = ("method", "part", "module", "K", "formula", "counted", "difference")
    title = "Counted on modules, next to the formula for their K"
    return Table(f"{title}; C = {CHANNELS}, G = {GROUPS}", columns, tuple(rows))


def _signed(value: float, unit: str) -> str:
    return ("+" if value >= 0 else "−") + format_like(abs(value), unit)


def _without_spandrel() -> tuple[str, ...]:
    if any(module.method == "SwinIR" for module in count_modules()):
        return ()
    return ("SwinIR is shown by formula only: its modules require spandrel (pip install 'lamnet[peers]').",)


# Table 3


def table3(
    *,
    scales: Sequence[int] = (2, 3, 4),
    data: str | os.PathLike | None = None,
    weights: Sequence[tuple[str, str | os.PathLike]] = (),
    limit: int | None = None,
    on_status: Callable[[str], None] | None = None,
) -> Reproduction:
    """Reproduce table 3: parameters, MACs, and PSNR and SSIM on the available benchmarks.

    Args:
        scales: Scale factors, of 2, 3 and 4.
        data: Dataset root; see [`open_dataset`][lamnet_models.data.open_dataset].
        weights: Pairs of a model of the table, such as ``"lamnet_x2"`` or ``"swinir_light"``, and a checkpoint file of
            any architecture that spandrel reads; the scale of a peer network is its file's.
        limit: Number of images to evaluate per dataset, from the first; None for all.
        on_status: Called with status lines.

    Returns:
        A table of costs and one of quality. Without weights or dataset, only the paper's values are shown, in brackets.

    Raises:
        LAMNetError: If a checkpoint cannot be read, or its model is not in the table.
        ValueError: If a scale is not in the paper, or ``limit`` is below 1.
    """
    check_scales(*scales)
    on_status = on_status or (lambda _: None)
    files = _open_weights(weights)
    costs: list[tuple[Cell, ...]] = []
    quality: list[tuple[Cell, ...]] = []
    notes: dict[str, None] = {}
    for scale in scales:
        benchmarks = _open_benchmarks(scale, data, notes)
        for row in published_table3():
            if row.scale != scale:
                continue
            on_status(f"{row.model} ×{scale}")
            file = files.get((row.key, scale))
            costs.append(_cost_row(row, file))
            network = file or row.name
            quality.append(
                (f"×{scale}", row.model, _source(network), *_scores(row, network, benchmarks, limit, notes, on_status))
            )
    cost_columns = ("scale", "model", "parameters", "paper's", "MACs", "MACs, paper's", "comparison")
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
    known = {row.key: row for row in published_table3()}
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
    return (f"×{row.scale}", row.model, *_cost_cells(cost, row, "0.00G"))


def _cost_cells(cost: Complexity, row: Published, macs_format: str) -> tuple[Cell, ...]:
    """Return parameters and MACs, each with the paper's, and their comparison."""
    params, macs = compare_with_printed(cost.params, row.params), compare_with_printed(cost.macs, row.macs)
    comparison = params if params == macs else f"parameters: {params}; MACs: {macs}"
    return (cost.params, row.params, format_like(cost.macs, macs_format), row.macs, comparison)


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
                notes[f"{KNOWN_DATASETS[name].title}: measured on {quantity(len(result.images), 'image')} only."] = None
        yield Score(ours, row.scores.get(name))


# Table 4

VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "window 19": {"window": [[1, 2], [3, 3]]},
    "window 13": {"window": [[1], [6]]},
    "FSA → MHDLSA": {"attn_layer": "mhdlsa", "num_heads": 6},
    "CSM → Linear": {"channel_layer": "linear"},
    "CSM → None": {"channel_layer": None},
    "IEM → None": {"gate_layer": None},
    "DGFN → GDFN": {"mlp_layer": "gdfn", "hidden_dim": 70},
    "DGFN → FFN": {"mlp_layer": "ffn"},
}
"""Overridden arguments of ``lamnet_x2``, by row of the table."""

_REMARKS = {
    "FSA → MHDLSA": "the paper states neither width nor groups. With DLGSANet's width of the weight predictor, a "
    "quarter, no integer number of groups gives 839K; 6 is the nearest.",
    "DGFN → GDFN": "the paper does not state the width. 70 hidden channels are the nearest to both counts.",
}


def table4(
    *,
    train: Budget | str | None = None,
    variants: Sequence[str] | None = None,
    train_data: Sequence[str] = ("sample",),
    dataset: str = "sample",
    data: str | os.PathLike | None = None,
    folder: str | os.PathLike = "runs/table4",
    limit: int | None = None,
    on_status: Callable[[str], None] | None = None,
    **recipe: Any,
) -> Reproduction:
    """Reproduce table 4: parameters and MACs of ablations, optionally PSNR after training.

    Args:
        train: Training budget of each variant, such as ``"10m"``, ``"2h"`` or ``"500"`` steps; None for no training.
        variants: Names of the rows; all if None.
        train_data: Folders of images or names of datasets to train on.
        dataset: Dataset to evaluate on after the training.
        data: Dataset root of ``dataset``.
        folder: Parent of the run folders; existing runs are resumed, finished ones kept.
        limit: Number of images to evaluate, from the first; None for all.
        on_status: Called with status lines.
        **recipe: Overridden fields of [`Recipe`][lamnet_models.training.Recipe].

    Raises:
        ValueError: If a variant is unknown.
        LAMNetError: If the training fails.
    """
    budget = None if train is None else Budget.parse(train)
    chosen = list(VARIANTS) if variants is None else list(variants)
    for name in chosen:
        if name not in VARIANTS:
            raise ValueError(f"variants must be of {', '.join(VARIANTS)}, got {name!r}")
    rows: dict[str, list[Cell]] = {row.model: _variant_cells(row) for row in published_table4() if row.model in chosen}
    columns = ["variant", "--set", "parameters", "paper's", "MACs", "MACs, paper's", "comparison"]
    notes = ["MACs are counted over convolutions and matrix products, at an output of 1280×720."]
    notes += [f"{name}: {remark}" for name, remark in _REMARKS.items() if name in chosen]
    if budget is None:
        columns += ["Urban100", "Manga109"]
        for row in published_table4():
            if row.model in chosen:
                rows[row.model] += [Score(None, row.scores[name]) for name in ("urban100", "manga109")]
        notes.append("PSNR in dB / SSIM in brackets are the paper's; `--train BUDGET` trains the variants.")
    else:
        arguments = {name: VARIANTS[name] for name in chosen}
        results = train_variants(arguments, budget, train_data, Path(folder), on_status, **recipe)
        trained = {}
        for name, result in results.items():
            if on_status:
                on_status(f"{name}: evaluating on {dataset}")
            last = result.folder / "last.safetensors"
            trained[name] = result.step, evaluate(last, dataset, data_dir=data, limit=limit).psnr
        columns += ["steps", f"PSNR on {dataset}", "to the full model", "Urban100, paper's"]
        paper = {row.model: row.scores["urban100"] for row in published_table4()}
        for name, (steps, psnr) in trained.items():
            gain = f"{psnr - trained['full'][1]:+.3f}".replace("-", "−") if "full" in trained else None
            rows[name] += [steps, f"{psnr:.3f}", gain, f"{paper[name][0]:.2f}"]
        notes.append(
            f"PSNR in dB on Y after {budget} of training per variant, with one recipe and one seed, on "
            f"{', '.join(train_data)}. A short training ranks the speed of learning, not the final quality."
        )
        if limit:
            notes.append(f"Evaluated on the first {quantity(limit, 'image')} of {dataset} only.")
    return Reproduction(
        "table4",
        "Table 4: ablations at ×2" + (f", after {budget} of training" if budget else ""),
        (Table("Variants", tuple(columns), tuple(map(tuple, rows.values())), tuple(notes)),),
    )


def _variant_cells(row: Published) -> list[Cell]:
    settings = format_settings(VARIANTS[row.model]) or "–"
    return [row.model, settings, *_cost_cells(_variant_cost(row.model), row, "0.0G")]


@cache
def _variant_cost(variant: str) -> Complexity:
    return complexity(create_model("lamnet_x2", device=torch.device("meta"), **VARIANTS[variant]))
