"""Model cards."""

from __future__ import annotations

import yaml

from ..checkpoint import Checkpoint
from ..training.release import stage_summary, stages, target_summaries

TASK = "image-to-image"
"""Task name of super-resolution on the hub."""


def write_card(checkpoint: Checkpoint, repository: str, name: str, params: int, license: str) -> str:
    """Return the model card (README.md) of a checkpoint: YAML metadata and text.

    Args:
        checkpoint: Checkpoint to describe.
        repository: Repository, ``ORGANIZATION/NAME``.
        name: Name of the published model it is based on.
        params: Number of parameters.
        license: License identifier of the weights.
    """
    config, training = checkpoint.config, checkpoint.training
    card_metadata = {
        "license": license,
        "library_name": "timm",
        "pipeline_tag": TASK,
        "tags": ["image-super-resolution", TASK, "timm", "lamnet"],
    }
    psnr = training.get("psnr")
    if isinstance(psnr, float):
        result = {
            "task": {"type": TASK, "name": f"super-resolution ×{config['scale']}"},
            "dataset": {"name": "held-out images", "type": "kept-out"},
            "metrics": [{"type": "psnr", "value": round(psnr, 2), "name": "PSNR on Y in dB"}],
        }
        card_metadata["model-index"] = [{"name": repository.partition("/")[2], "results": [result]}]
    rows = [("model", f"`{name}`, ×{config['scale']}, {params:,} parameters")]
    rows += [(key.replace("_", " "), f"`{value}`") for key, value in config.items() if key != "scale"]
    rows += _training(training)
    lines = [
        "---",
        yaml.safe_dump(card_metadata, sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        f"# {repository.partition('/')[2]}",
        "",
        "A LAMNet for image super-resolution: Hu and Sun, *Unifying Dimensions: A Linear Adaptive Approach to "
        "Lightweight Image Super-Resolution* (2024).",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {_cell(key)} | {_cell(value)} |" for key, value in rows),
        "",
        "```python",
        "import timm",
        "import lamnet_models  # registers the architecture: pip install lamnet",
        "",
        f'model = timm.create_model("hf-hub:{repository}", pretrained=True).eval()',
        "```",
        "",
        "```bash",
        f"lamnet upscale photo.jpg --model hf-hub:{repository}",
        "```",
        "",
    ]
    return "\n".join(lines)


def _training(training: dict) -> list[tuple[str, str]]:
    if "recipe" not in training:
        scalars = {key: value for key, value in training.items() if isinstance(value, str | int | float)}
        return [(f"training: {key}", f"{value}") for key, value in scalars.items()]
    parts = stages(training)
    rows = [
        (f"training{f', part {index}' if len(parts) > 1 else ''}", stage_summary(part))
        for index, part in enumerate(parts, start=1)
    ]
    rows += [("targets", text) for text in target_summaries(parts)]
    if isinstance(training.get("psnr"), float):
        rows.append(("selected by", f"{training['psnr']:.2f} dB on the luma of held-out images"))
    return rows


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
