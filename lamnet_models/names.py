"""Names of models and packaged weights, without torch."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from .errors import ModelError

VARIANTS: dict[str, dict[str, int]] = {
    "lamnet_x2": {"scale": 2, "num_blocks": 4},
    "lamnet_x3": {"scale": 3, "num_blocks": 4},
    "lamnet_x4": {"scale": 4, "num_blocks": 4},
    "lamnet_large_x2": {"scale": 2, "num_blocks": 5},
    "lamnet_large_x3": {"scale": 3, "num_blocks": 5},
    "lamnet_large_x4": {"scale": 4, "num_blocks": 5},
}
"""Models of the paper: arguments of [`LAMNet`][lamnet_models.LAMNet] by name."""

BASELINES = ("swinir_light", "omni_sr", "atd_light", "dat_light", "craft", "dctlsa", "safmn")
"""Peer networks for comparisons of speed; see [`PEERS`][lamnet_models.benchmarking.PEERS]."""

FAMILIES = {"LAMNet": 4, "LAMNet-large": 5}
"""Numbers of blocks of the two networks of the paper, by their names there."""

NUM_PARAMS = {
    "lamnet_x2": 828_364,
    "lamnet_x3": 837_019,
    "lamnet_x4": 849_136,
    "lamnet_large_x2": 1_024_028,
    "lamnet_large_x3": 1_032_683,
    "lamnet_large_x4": 1_044_800,
}
"""Numbers of parameters of the models of the paper."""

NUM_MACS = {
    "lamnet_x2": 185_307_955_200,
    "lamnet_x3": 83_113_758_720,
    "lamnet_x4": 47_521_382_400,
    "lamnet_large_x2": 229_013_913_600,
    "lamnet_large_x3": 102_508_277_760,
    "lamnet_large_x4": 58_447_872_000,
}
"""Multiply-accumulates of the models of the paper for an output of 1280×720; see ``complexity``."""

PURPOSES = {"clean": "sharp images without compression artifacts or noise"}
"""What weights are for, by the first part of their tag."""

LICENSE = "Apache-2.0"
"""License of the packaged weights, as an SPDX identifier."""

_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".onnx")

_PACKAGED = Path(__file__).parent / "weights"


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """List the models of the paper.

    Args:
        pattern: Shell-style pattern of names.
        pretrained: Whether to list the packaged weights, as ``NAME.TAG``, instead.
    """
    names = packaged_weights() if pretrained else VARIANTS
    return [name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name.partition(".")[0], pattern)]


def packaged_weights() -> dict[str, Path]:
    """Return the packaged checkpoints by ``NAME.TAG``, sorted; the first tag of a name is its default."""
    return {path.name.removesuffix(".safetensors"): path for path in sorted(_PACKAGED.glob("*.safetensors"))}


@dataclass(frozen=True)
class PackagedWeights:
    """Facts about packaged weights.

    Attributes:
        name: ``NAME.TAG``.
        scale: Scale factor.
        purpose: Key of [`PURPOSES`][lamnet_models.names.PURPOSES].
        params: Number of parameters.
        macs: Multiply-accumulates for an output of 1280×720.
        bytes: Size of the file.
        license: SPDX identifier.
        scores: PSNR in dB and SSIM by dataset, measured by ``lamnet release``.
    """

    name: str
    scale: int
    purpose: str
    params: int
    macs: int
    bytes: int
    license: str
    scores: dict[str, tuple[float, float]]


def describe_weights(name: str) -> PackagedWeights:
    """Return the facts about packaged weights, without reading the tensors.

    Args:
        name: ``NAME.TAG``, a key of [`packaged_weights`][lamnet_models.names.packaged_weights].
    """
    path = packaged_weights()[name]
    variant, _, tag = name.partition(".")
    with open(path, "rb") as file:  # the header of a safetensors file: its length, then JSON
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    training = json.loads(header["__metadata__"]["lamnet"])["training"]
    scores = {dataset: tuple(score) for dataset, score in training.get("scores", {}).items()}
    return PackagedWeights(
        name=name,
        scale=VARIANTS[variant]["scale"],
        purpose=tag.partition("_")[0],
        params=NUM_PARAMS[variant],
        macs=NUM_MACS[variant],
        bytes=path.stat().st_size,
        license=LICENSE,
        scores=scores,
    )


def is_checkpoint_path(source: str | os.PathLike) -> bool:
    """Return whether ``source`` is a file path instead of the name of weights."""
    path = Path(source)
    return isinstance(source, os.PathLike) or path.suffix in _SUFFIXES or path.is_file()


def split_name(name: str, baselines: Sequence[str] = ()) -> tuple[str, str]:
    """Return the name in [`VARIANTS`][lamnet_models.names.VARIANTS] and the tag, empty if there is none.

    Args:
        name: Name of a model or of packaged weights.
        baselines: Names to suggest besides those of models.

    Raises:
        ModelError: If the model, or with a tag its packaged weights, do not exist.
    """
    variant, _, tag = name.partition(".")
    if variant not in VARIANTS:
        near = difflib.get_close_matches(variant, [*VARIANTS, *baselines], n=1)
        if near:
            raise ModelError(f"no model named {variant!r}: did you mean {near[0]}?")
        if baselines:
            raise ModelError(f"no model named {variant!r} (see lamnet list); baselines: {', '.join(baselines)}")
        raise ModelError(f"no model named {variant!r}: available: {', '.join(VARIANTS)}")
    if tag and name not in packaged_weights():
        tags = [key for key in packaged_weights() if key.startswith(f"{variant}.")]
        raise ModelError(f"no weights named {name!r}; packaged for {variant}: {', '.join(tags) or 'none'}")
    return variant, tag


def find_variant(scale: int, num_blocks: int) -> str | None:
    """Return the name of the model of the paper with this scale and number of blocks, or None."""
    return next((name for name, args in VARIANTS.items() if args == {"scale": scale, "num_blocks": num_blocks}), None)


def default_model_for_scale(scale: int) -> str:
    """Return the name of the smaller model of a scale.

    Raises:
        ModelError: If the paper has no model of this scale.
    """
    name = find_variant(scale, FAMILIES["LAMNet"])
    if name is None:
        scales = [args["scale"] for args in VARIANTS.values()]
        advice = "upscale twice, or specify a model" if scale > max(scales) else "specify a model"
        raise ModelError(f"scale must be {min(scales)} to {max(scales)}, got {scale}: {advice}")
    return name
