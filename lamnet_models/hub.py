"""Hugging Face hub: upload of models in timm's format, with a model card."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from huggingface_hub import HfApi
from timm.models import save_for_hf

from .checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from .errors import HubError
from .factory import create_model
from .names import FAMILIES, LICENSE, find_variant, packaged_weights
from .pretrained import HUB_ERRORS, describe_hub_error, resolve_weights_path
from .training.release import stage_summary, stages, target_summaries

_LICENSE = LICENSE.lower()  # the hub's identifier
_TASK = "image-to-image"  # super-resolution on the hub


def push(source: str | os.PathLike, repository: str, *, license: str | None = None, private: bool | None = None) -> str:
    """Upload a checkpoint to a hub in one commit: weights, ``config.json`` and model card.

    ``timm.create_model("hf-hub:ORGANIZATION/NAME", pretrained=True)`` and
    [`create_model`][lamnet_models.create_model] load it. A missing repository is created. The token is ``HF_TOKEN`` or
    that of ``hf auth login``; the hub is ``HF_ENDPOINT``.

    Args:
        source: Checkpoint file or name of pretrained weights.
        repository: Target repository, ``"ORGANIZATION/NAME"``.
        license: The hub's license identifier. Required for weights that are not packaged; None for the license of the
            packaged weights.
        private: Whether a new repository is private; None for the owner's default.

    Returns:
        URL of the repository.

    Raises:
        ValueError: If ``license`` is required and None.
        CheckpointError: If the file cannot be read.
        HubError: If the upload fails.
    """
    path = resolve_weights_path(source)
    checkpoint = read_checkpoint(path)
    if license is None and path not in packaged_weights().values():
        raise ValueError(f"license must be set for {path}, such as {_LICENSE!r}, got None")
    if repository.count("/") != 1:
        raise HubError(f"repository must be ORGANIZATION/NAME, got {repository}")
    with TemporaryDirectory() as folder:
        write_folder(checkpoint, folder, repository, license or _LICENSE)
        try:
            api = HfApi(library_name="lamnet")
            url = api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=url.repo_id, folder_path=folder, commit_message=f"Add {path.name}")
        except (*HUB_ERRORS, ValueError) as error:  # ValueError for rejected uploads
            raise HubError(f"cannot upload to {repository}: {describe_hub_error(error)}") from None
    return str(url)


def write_folder(checkpoint: Checkpoint, folder: str | os.PathLike, repository: str, license: str) -> None:
    """Write the contents of a repository to a folder, which ``local-dir:FOLDER`` loads.

    ``model.safetensors`` is also a LAMNet checkpoint with the training metadata of the source.

    Args:
        checkpoint: Checkpoint to write.
        folder: Output folder.
        repository: Name of the repository, ``"ORGANIZATION/NAME"``.
        license: License identifier of the weights.
    """
    folder = Path(folder)
    scale, num_blocks = checkpoint.config["scale"], checkpoint.config["num_blocks"]
    name = find_variant(scale, num_blocks) or find_variant(scale, FAMILIES["LAMNet"]) or "lamnet_x4"
    published = create_model(name, device="meta").config
    arguments = {key: value for key, value in checkpoint.config.items() if published[key] != value}
    model = create_model(name, **arguments)
    checkpoint.load_into(model)
    model_config = {"pretrained_cfg": {"license": license, "tag": ""}}
    save_for_hf(model, folder, model_config=model_config, model_args=arguments, safe_serialization=True)
    half = any(str(tensor.dtype) == "torch.float16" for tensor in checkpoint.state.values())
    save_checkpoint(model, folder / "model.safetensors", training=checkpoint.training, half=half)
    params = sum(parameter.numel() for parameter in model.parameters())
    (folder / "README.md").write_text(_write_card(checkpoint, repository, name, params, license), encoding="utf-8")


def _write_card(checkpoint: Checkpoint, repository: str, name: str, params: int, license: str) -> str:
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
        "pipeline_tag": _TASK,
        "tags": ["image-super-resolution", _TASK, "timm", "lamnet"],
    }
    psnr = training.get("psnr")
    if isinstance(psnr, float):
        result = {
            "task": {"type": _TASK, "name": f"super-resolution ×{config['scale']}"},
            "dataset": {"name": _validation_images(training), "type": training.get("dataset", "held-out")},
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
        rows.append(("selected by", f"{training['psnr']:.2f} dB on the luma of {_validation_images(training)}"))
    return rows


def _validation_images(training: dict) -> str:
    dataset = training.get("dataset", "held-out")  # not recorded by earlier versions
    return "held-out images" if dataset == "held-out" else dataset


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
