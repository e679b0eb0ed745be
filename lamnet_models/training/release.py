"""From a run to weights that can be passed on: one checkpoint, and a card that says what it is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from ..checkpoint import read_checkpoint, save_checkpoint
from ..datasets import Dataset, open_dataset
from ..errors import DatasetError, TrainingError
from ..evaluation import Evaluation, evaluate
from ..files import atomic_path
from ..lamnet import LAMNet
from ..registry import published_name
from .data import center_crop, training_data
from .events import read_log
from .recipe import Recipe, load_recipe

HALF_LIMIT = 0.005
"""Most dB that weights may lose on the images kept out of training when they are rounded to half precision."""

_REPORTED = ("sample", "set5", "set14")
_POINTS = 8


@dataclass(frozen=True)
class Release:
    """Weights made ready to be passed on.

    Attributes:
        weights: The checkpoint.
        card: The model card beside it.
        half: Whether the weights are in half precision.
        scores: Their figures, those of the file as it was written.
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
    """Writes ``NAME.TAG.safetensors`` and its model card ``NAME.TAG.md`` from a run's best weights.

    The weights are rounded to half precision if that costs less than [`HALF_LIMIT`] on the images that were kept out of
    the training. Every score in the card is measured on the file that is written.

    Args:
        run: The run's folder.
        tag: Name of these weights among those of the same model.
        output: Folder to write to.
        about_data: What the training images are and under what terms they may be used, for the card.
        data_dir: Where to look for Set5 and Set14; those that are not there are left out of the card.

    Raises:
        TrainingError: If the run has no validated weights, or its model is none of the paper's.
        LAMNetError: If the images that were kept out are not there any more.
    """
    run, output = Path(run), Path(output)
    if not (run / "best.safetensors").is_file():
        raise TrainingError(f"{run} has no best.safetensors: only a validated run can be released")
    recipe = load_recipe(run / "recipe.yaml")
    checkpoint = read_checkpoint(run / "best.safetensors")
    model = checkpoint.build()
    name = published_name(model)
    if name is None:
        raise TrainingError(f"{run} trained none of the paper's models: save best.safetensors under a name of its own")
    kept_out = _holdout_set(recipe, model.scale)
    full, rounded = evaluate(model, kept_out), evaluate(_round_to_half(model), kept_out)
    half = full.psnr - rounded.psnr < HALF_LIMIT
    weights = output / f"{name}.{tag}.safetensors"
    facts = _strip_paths(checkpoint.training)
    save_checkpoint(_round_to_half(model) if half else model, weights, training=facts, half=half)
    scores = [evaluate(weights, kept_out)]
    for dataset in _REPORTED:
        try:
            scores += [evaluate(method, dataset, model.scale, data_dir) for method in ("bicubic", weights)]
        except DatasetError:
            continue
    card = weights.with_suffix(".md")
    with atomic_path(card) as temporary:
        temporary.write_text(_card(weights, model, facts, half, scores, about_data, run), encoding="utf-8")
    return Release(weights, card, half, tuple(scores))


def _holdout_set(recipe: Recipe, scale: int) -> Dataset:
    _, kept_out = training_data(recipe.data, scale, recipe.lr_border, recipe.holdout)
    return center_crop(kept_out or open_dataset(recipe.valid or "sample", scale), recipe.valid_crop)


def _round_to_half(model: LAMNet) -> LAMNet:
    """Returns the model with its parameters rounded to half precision, and still in single."""
    copy = type(model)(**model.config)
    copy.load_state_dict(model.state_dict())
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.copy_(parameter.half())
    return copy.eval()


def _strip_paths(training: dict[str, Any]) -> dict[str, Any]:
    """Returns facts about a training without where on somebody's machine its files lay."""
    recipe = dict(training["recipe"])
    recipe["data"] = [Path(source).name for source in recipe["data"]]
    for field in ("init_from", "decay_from", "targets"):
        if recipe.get(field):
            recipe[field] = Path(recipe[field]).name
    before = training.get("before")
    return {**training, "recipe": recipe} | ({"before": _strip_paths(before)} if before else {})


def _card(
    weights: Path,
    model: LAMNet,
    facts: dict[str, Any],
    half: bool,
    scores: list[Evaluation],
    about_data: str,
    run: Path,
) -> str:
    params = sum(parameter.numel() for parameter in model.parameters())
    parts = stages(facts)
    recipe = facts["recipe"]
    kept_out = scores[0]
    lines = [
        f"#### {weights.stem}",
        "",
        "| | |",
        "| --- | --- |",
        f"| model | `{scores[-1].variant}`, {params:,} parameters, {'half' if half else 'single'} precision |",
        f"| data | {about_data}; {facts['images']} images trained on |",
        f"| reduction | bicubic ×{model.scale} by `imresize`, edges by the rule `{recipe['lr_border']}` |",
        *(
            f"| training{f', part {index}' if len(parts) > 1 else ''} | {stage_summary(part)} |"
            for index, part in enumerate(parts, start=1)
        ),
        *(f"| targets | {text} |" for text in target_summaries(parts)),
        f"| LR pixels seen | {pixel_summary(parts)} |",
        f"| chosen by | {kept_out.psnr:.2f} dB / {kept_out.ssim:.4f} on {len(kept_out.images)} images "
        f"({kept_out.dataset}) |",
        f"| convergence | {_convergence(run)} |",
        "",
        "PSNR in dB / SSIM on Y, as many pixels of border left out as the scale:",
        "",
        "| | bicubic | this file | command |",
        "| --- | --- | --- | --- |",
    ]
    for bicubic, own in zip(scores[1::2], scores[2::2], strict=True):
        figures = " | ".join(f"{score.psnr:.2f} / {score.ssim:.4f}" for score in (bicubic, own))
        lines.append(f"| {own.dataset} | {figures} | `lamnet eval {weights.stem} -d {own.dataset}` |")
    text = yaml.safe_dump(recipe, sort_keys=False, default_flow_style=None, width=100)
    lines += ["", "To repeat the last part, `lamnet train recipe.yaml --data PHOTOS` with"]
    lines += ["", "```yaml", text.rstrip(), "```", ""]
    return "\n".join(lines)


def stages(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the facts of a training and of those that it started from, the first one first."""
    before = facts.get("before")
    return [*(stages(before) if before else []), facts]


def stage_pixels(facts: dict[str, Any]) -> int:
    """Returns the LR pixels seen in one training, from its steps where they are not recorded."""
    recipe = facts["recipe"]
    return facts.get("pixels", facts["step"] * recipe["batch"] * recipe["patch"] ** 2)


def pixel_summary(parts: list[dict[str, Any]]) -> str:
    """Returns the LR pixels of each part and of all parts."""
    counts = [f"{stage_pixels(part) / 1e6:,.1f} M" for part in parts]
    total = f"{sum(map(stage_pixels, parts)) / 1e6:,.1f} M in all"
    text = total if len(parts) == 1 else f"{' + '.join(counts)}: {total}"
    return f"{text}, those of the weights it started from unknown" if parts[0].get("taken") else text


def target_summaries(parts: list[dict[str, Any]]) -> list[str]:
    """Returns a text for each different folder of teacher targets that was trained on."""
    recipes = [part["recipe"] for part in parts if part["recipe"].get("targets")]
    return list(
        dict.fromkeys(
            f"teacher outputs `{recipe['targets']}`; license: {recipe['target_license'] or 'not stated'}"
            for recipe in recipes
        )
    )


def stage_summary(facts: dict[str, Any]) -> str:
    """Returns one training in a line."""
    recipe = facts["recipe"]
    start = f" ({facts['taken']})" if facts.get("taken") else " from scratch"
    return (
        f"{recipe['model']}{start}: {facts['step']:,} steps of {recipe['batch']} patches of {recipe['patch']}×"
        f"{recipe['patch']} pixels ({stage_pixels(facts) / 1e6:,.1f} M LR pixels), {facts['hours']:.2f} h on "
        f"{facts['hardware']}; {recipe['loss'].upper()}{_target_weight(recipe)}, Adam, "
        f"learning rate {recipe['lr']:g}, {recipe['schedule']}, EMA {recipe['ema']:g}, {recipe['precision']}"
    )


def _target_weight(recipe: dict[str, Any]) -> str:
    return f" with weight {recipe['target_weight']:g} on teacher targets" if recipe.get("targets") else ""


def _convergence(run: Path) -> str:
    """Returns the log of a run in short: its validations, evenly picked."""
    found = [line for line in read_log(run / "log.jsonl") if line["kind"] == "validation"]
    last = len(found) - 1
    picked = sorted({round(index * last / (_POINTS - 1)) for index in range(_POINTS)})
    return ", ".join(f"{found[index]['psnr']:.2f} dB after {found[index]['step']:,}" for index in picked)
