"""Figure 5: visual comparison on image crops."""

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
    """Reproduce figure 5: crops of bicubic interpolation, networks and HR, with their PSNR.

    Args:
        models: Model names, and checkpoint files in our format or any that spandrel reads; by default the package's two
            for the scale.
        scale: Scale factor.
        dataset: Dataset of the images; by default the first available of Urban100, Set14 and the sample photographs.
        data: Dataset root.
        details: Number of crops to choose, or pairs of an image's name and left, top, width and height in pixels.
        limit: Number of images to use, from the first; None for all.
        on_status: Called with status lines.

    Raises:
        ValueError: If the models have different scales.
        LAMNetError: If a model, dataset or image is not found.
    """
    networks = [f"lamnet_x{scale}", f"lamnet_large_x{scale}"] if models is None else list(models)
    crops = details if isinstance(details, int) else [Detail(name, Box(*box)) for name, box in details]
    result = compare(
        [BICUBIC, *networks],
        dataset or _first_available(scale, data),
        None if networks else scale,
        data,
        details=crops,
        side=48,
        limit=limit,
        on_image=on_status and (lambda image: on_status(f"{image.model}, image {image.done} of {image.total}")),
    )
    first = result.evaluations[0]
    rows = tuple((each.model, f"{each.psnr:.2f}", f"{each.ssim:.4f}") for each in result.evaluations)
    locations = "; ".join(
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
                (f"Details: {locations}." if locations else "No details.",),
            ),
        ),
        ("The paper shows images of Urban100 and peer networks with their authors' weights; pass these as files.",),
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
    """Write a picture; for SVG, as an embedded PNG."""
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
