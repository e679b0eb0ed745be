"""Release of a run: its best weights as one checkpoint, with a model card."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
import yaml

from ..checkpoint import read_checkpoint, save_checkpoint
from ..data import Dataset
from ..errors import DatasetError, TrainingError, quantity
from ..evaluation import Evaluation, evaluate
from ..factory import published_name
from ..filesystem import atomic_path
from ..lamnet import LAMNet
from .callbacks import read_log
from .images import training_data, validation_set
from .recipe import Recipe, load_recipe

HALF_LIMIT = 0.005
"""Maximum loss in dB on the holdout images for rounding the weights to half precision."""

_REPORTED = ("sample", "set5", "set14")
_POINTS = 8
_FILES = ("init_from", "decay_from", "targets")
"""Recipe fields that name files of the run's machine."""


@dataclass(frozen=True)
class Release:
    """Files and scores of a release.

    Attributes:
        weights: Path of the checkpoint.
        card: Path of the model card.
        half: Whether the weights are in half precision.
        scores: Scores of the checkpoint file and of bicubic interpolation.
    """

    weights: Path
    card: Path
    half: bool
    scores: tuple[Evaluation, ...]


def release(
    run: str | os.PathLike,
    tag: str,
    output: str | os.PathLike = ".",
    *,
    about_data: str,
    data_dir: str | os.PathLike | None = None,
) -> Release:
    """Release the best weights of a run as ``NAME.TAG.safetensors`` with a card ``NAME.TAG.md``.

    The weights are rounded to half precision if that costs less than [`HALF_LIMIT`] on the holdout images. All scores
    in the card are measured on the written file; with the recipe's ``valid_degrade``, also on images degraded so.

    Args:
        run: Folder of the run.
        tag: Tag that distinguishes these weights from others of the same model.
        output: Folder to write to.
        about_data: Description and terms of use of the training images, for the card.
        data_dir: Folder of the datasets Set5 and Set14; missing ones are omitted from the card.

    Raises:
        TrainingError: If the run has no validated weights, or its model is not one of the paper's.
        LAMNetError: If the holdout images are missing.
    """
    run, output = Path(run), Path(output)
    if not (run / "best.safetensors").is_file():
        raise TrainingError(f"run must have validated weights, got {run} (best.safetensors is missing)")
    recipe = load_recipe(run / "recipe.yaml")
    checkpoint = read_checkpoint(run / "best.safetensors")
    model = checkpoint.build()
    name = published_name(model)
    if name is None:
        raise TrainingError(f"run must be of one of the paper's models, got {run}: share its best.safetensors instead")
    holdout_set = _holdout_set(recipe, model.scale, data_dir)
    full, rounded = evaluate(model, holdout_set), evaluate(_round_to_half(model), holdout_set)
    half = full.psnr - rounded.psnr < HALF_LIMIT
    weights = output / f"{name}.{tag}.safetensors"
    training = _strip_paths(checkpoint.training)
    released = _round_to_half(model) if half else model
    save_checkpoint(released, weights, training=training, half=half)
    scores = [evaluate(weights, holdout_set)]
    for dataset, degrade in product(_REPORTED, dict.fromkeys(("", recipe.valid_degrade))):
        with suppress(DatasetError):
            scores += [
                evaluate(method, dataset, model.scale, data_dir, degrade=degrade) for method in ("bicubic", weights)
            ]
    measured = {score.dataset: (score.psnr, score.ssim) for score in scores[2::2] if not score.degradations}
    save_checkpoint(released, weights, training=training | {"scores": measured}, half=half)
    card = weights.with_suffix(".md")
    with atomic_path(card) as temporary:
        temporary.write_text(_card(weights, model, training, half, scores, about_data, run), encoding="utf-8")
    return Release(weights, card, half, tuple(scores))


def _holdout_set(recipe: Recipe, scale: int, data_dir: str | os.PathLike | None) -> Dataset:
    held_out = None
    if recipe.valid is None:
        _, held_out = training_data(recipe.data, scale, recipe.lr_border, recipe.holdout)
    return validation_set(recipe, scale, held_out, data_dir)


def _round_to_half(model: LAMNet) -> LAMNet:
    """Return a copy with parameters rounded to half precision, stored in single precision."""
    copy = type(model)(**model.config)
    copy.load_state_dict(model.state_dict())
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.copy_(parameter.half())
    return copy.eval()


def _strip_paths(training: dict[str, Any]) -> dict[str, Any]:
    """Return training metadata with paths reduced to file names."""
    recipe = dict(training["recipe"])
    recipe["data"] = [Path(source).name for source in recipe["data"]]
    for field in _FILES:
        if recipe.get(field):
            recipe[field] = Path(recipe[field]).name
    before = training.get("before")
    return {**training, "recipe": recipe} | ({"before": _strip_paths(before)} if before else {})


def _card(
    weights: Path,
    model: LAMNet,
    training: dict[str, Any],
    half: bool,
    scores: list[Evaluation],
    about_data: str,
    run: Path,
) -> str:
    params = sum(parameter.numel() for parameter in model.parameters())
    parts = stages(training)
    recipe = training["recipe"]
    holdout = scores[0]
    lines = [
        f"#### {weights.stem}",
        "",
        "| | |",
        "| --- | --- |",
        f"| model | `{scores[-1].variant}`, {params:,} parameters, {'half' if half else 'single'} precision |",
        f"| data | {about_data}; {quantity(training['images'], 'training image')} |",
        f"| LR images | {_lr_summary(recipe, model.scale)} |",
        *(
            f"| training{f', part {index}' if len(parts) > 1 else ''} | {stage_summary(part)} |"
            for index, part in enumerate(parts, start=1)
        ),
        *(f"| targets | {text} |" for text in target_summaries(parts)),
        f"| LR pixels seen | {pixel_summary(parts)} |",
        f"| selected by | {holdout.psnr:.2f} dB / {holdout.ssim:.4f} on {quantity(len(holdout.images), 'image')} "
        f"({', '.join(filter(None, (holdout.dataset, holdout.degradations)))}) |",
        f"| convergence | {_convergence(run)} |",
        "",
        f"PSNR in dB / SSIM on Y, border of {model.scale} pixels cropped:",
        "",
        "| | bicubic | this file | command |",
        "| --- | --- | --- | --- |",
    ]
    for bicubic, release_score in zip(scores[1::2], scores[2::2], strict=True):
        cells = " | ".join(f"{score.psnr:.2f} / {score.ssim:.4f}" for score in (bicubic, release_score))
        dataset, degradations = release_score.dataset, release_score.degradations
        label = ", ".join(filter(None, (dataset, degradations)))
        option = f" --degrade {degradations}" if degradations else ""
        lines.append(f"| {label} | {cells} | `lamnet eval {weights.stem} -d {dataset}{option}` |")
    files = [field for field in _FILES if recipe.get(field)]
    without = f", without {' and '.join(f'`{field}`' for field in files)}," if files else ""
    text = yaml.safe_dump(recipe | dict.fromkeys(files), sort_keys=False, default_flow_style=None, width=100)
    lines += ["", f"Recipe of the last part{without} for `lamnet train recipe.yaml --data PHOTOS`:"]
    lines += ["", "```yaml", text.rstrip(), "```", ""]
    return "\n".join(lines)


def _lr_summary(recipe: dict[str, Any], scale: int) -> str:
    text = f"bicubic ×{scale} by `imresize`, edge rule `{recipe['lr_border']}`"
    if recipe.get("degradation", "clean") == "clean":
        return text
    return f"{recipe['degradation_args']['clean']:.0%} {text}; the others degraded, see the recipe"


def stages(training: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the metadata of a training and of those it started from, oldest first."""
    before = training.get("before")
    return [*(stages(before) if before else []), training]


def stage_pixels(training: dict[str, Any]) -> int:
    """Return the LR pixels seen in one training, computed from its steps if not recorded."""
    recipe = training["recipe"]
    return training.get("pixels", training["step"] * recipe["batch"] * recipe["patch"] ** 2)


def pixel_summary(parts: list[dict[str, Any]]) -> str:
    """Describe the LR pixels of each part and their total."""
    counts = [f"{stage_pixels(part) / 1e6:,.1f} M" for part in parts]
    total = f"{sum(map(stage_pixels, parts)) / 1e6:,.1f} M in all"
    text = total if len(parts) == 1 else f"{' + '.join(counts)}: {total}"
    return f"{text}, plus an unknown number for the initial weights" if parts[0].get("taken") else text


def target_summaries(parts: list[dict[str, Any]]) -> list[str]:
    """Describe each distinct folder of teacher targets."""
    recipes = [part["recipe"] for part in parts if part["recipe"].get("targets")]
    return list(
        dict.fromkeys(
            f"teacher outputs `{recipe['targets']}`; license: {recipe['target_license'] or 'not stated'}"
            for recipe in recipes
        )
    )


def stage_summary(training: dict[str, Any]) -> str:
    """Describe one training in a line."""
    recipe = training["recipe"]
    steps = quantity(training["step"], "step")
    start = f" ({training['taken']})" if training.get("taken") else " from scratch"
    optimizer = recipe.get("optimizer", "adam").title()
    return (
        f"{recipe['model']}{start}: {steps} of {quantity(recipe['batch'], 'patch')} of {recipe['patch']}×"
        f"{recipe['patch']} pixels ({stage_pixels(training) / 1e6:,.1f} M LR pixels), {training['hours']:.2f} h on "
        f"{training['hardware']}; {recipe['loss'].upper()}{_target_weight(recipe)}, {optimizer}, "
        f"learning rate {recipe['lr']:g}, {recipe['schedule']}, EMA {recipe['ema']:g}, {recipe['precision']}"
    )


def _target_weight(recipe: dict[str, Any]) -> str:
    return f" with weight {recipe['target_weight']:g} on teacher targets" if recipe.get("targets") else ""


def _convergence(run: Path) -> str:
    """Summarize the validations of a run, evenly sampled."""
    validations = [entry for entry in read_log(run / "log.jsonl") if entry["kind"] == "validation"]
    last = len(validations) - 1
    indices = sorted({round(index * last / (_POINTS - 1)) for index in range(_POINTS)})
    return ", ".join(f"{validations[index]['psnr']:.2f} dB after {validations[index]['step']:,}" for index in indices)
