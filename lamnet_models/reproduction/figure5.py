"""Figure 5: details of chosen images, side by side."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from ..datasets import open_dataset
from ..errors import DatasetError
from ..evaluation import compare
from ..evaluation.compare import Detail
from ..evaluation.methods import BICUBIC
from ..files import atomic_path
from ..images import Picture, write_image
from ..pictures import Box
from .result import Reproduction, Table


def figure5(
    *,
    models: Sequence[str | os.PathLike] | None = None,
    scale: int = 4,
    dataset: str | None = None,
    data: str | os.PathLike | None = None,
    details: int | Sequence[tuple[str, tuple[int, int, int, int]]] = 2,
    limit: int | None = None,
    on_status: Callable[[str], None] | None = None,
) -> Reproduction:
    """Reproduces figure 5: details by bicubic interpolation, ours and peers, and the original, with the PSNR of each.

    Args:
        models: Names of models and files, ours and any that spandrel reads; the package's two for the scale if None.
        scale: Factor of enlargement.
        dataset: Set with the images; by default the first of Urban100, Set14 and the sample photographs that is there.
        data: Where sets are looked for.
        details: How many details to choose, or pairs of an image's name and left, top, width and height in pixels.
        limit: Take only so many images of the set, the first ones.
        on_status: Called with what is being done.

    Raises:
        ValueError: If the models have different scales.
        LAMNetError: If there is no such model, set or image.
    """
    networks = [f"lamnet_x{scale}", f"lamnet_large_x{scale}"] if models is None else list(models)
    wanted = details if isinstance(details, int) else [Detail(name, Box(*box)) for name, box in details]
    result = compare(
        [BICUBIC, *networks],
        dataset or _first_available(scale, data),
        None if networks else scale,
        data,
        details=wanted,
        side=48,
        limit=limit,
        on_image=on_status and (lambda name, step: on_status(f"{name}, image {step.done} of {step.total}")),
    )
    first = result.evaluations[0]
    rows = tuple((each.model, f"{each.psnr:.2f}", f"{each.ssim:.4f}") for each in result.evaluations)
    shown = "; ".join(
        f"{each.image} at {each.box.left},{each.box.top},{each.box.width},{each.box.height}" for each in result.details
    )
    return Reproduction(
        "figure5",
        f"Figure 5: details at ×{first.scale}",
        (
            Table(
                f"All of {first.dataset} ×{first.scale}, {len(first.images)} images",
                ("method", "PSNR", "SSIM"),
                rows,
                (f"Details: {shown}." if shown else "No details.",),
            ),
        ),
        ("The paper shows images of Urban100 and peers with their authors' weights, which users may give by file.",),
        None if result.picture is None else lambda path: _write(path, result.picture),
    )


def _first_available(scale: int, data: str | os.PathLike | None) -> str:
    for name in ("urban100", "set14"):
        try:
            open_dataset(name, scale, data)
        except DatasetError:
            continue
        return name
    return "sample"


def _write(path: str | os.PathLike, picture: Picture) -> None:
    """Writes a picture, as SVG with its pixels in it."""
    if Path(path).suffix != ".svg":
        write_image(path, picture)
        return
    buffer = BytesIO()
    Image.fromarray(picture.pixels).save(buffer, "PNG", optimize=True)
    size = f'width="{picture.width}" height="{picture.height}"'
    pixels = base64.b64encode(buffer.getvalue()).decode()
    with atomic_path(path) as temporary:
        image = f'<image {size} href="data:image/png;base64,{pixels}"/>'
        temporary.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{image}</svg>\n', encoding="utf-8")
