"""Make the pictures of docs/gallery.md.

Usage: ``python docs/_generate/gallery.py``, after weights have been packaged. Upscales the inputs in
docs/_generate/gallery/ by 4 with interpolation and with the packaged weights of ``lamnet_x4``, the first of each
purpose.

``python docs/_generate/gallery.py inputs FOLDER`` makes the inputs. FOLDER contains ``china.jpg`` of scikit-learn and
``life_by_Aitzol_Berasategi.jpg`` of the Debian package lomiri-wallpapers-16.04; the page lists licenses.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from assets import ASSETS, write_lines
from PIL import Image, ImageDraw, ImageFont

from lamnet_models.data.catalog import read_photo
from lamnet_models.degradation import compress
from lamnet_models.evaluation.predictors import open_predictor
from lamnet_models.image_io import Picture, read_rgb, write_image
from lamnet_models.image_io.grids import Box
from lamnet_models.inference.upscaler import UpscaleOutput
from lamnet_models.names import INTERPOLATIONS, default_model_for_scale, describe_weights, list_models
from lamnet_models.resize import imresize

INPUTS = Path(__file__).parent / "gallery"
SCALE = 4
WIDTH, HEIGHT = 120, 90  # of an input
TEXT = """Focal attention weights cells
that grow with distance, first
along the row of a pixel, then
along its column. The cost is
linear in the size: 0123456789."""


def methods() -> dict[str, tuple[str, Callable[[np.ndarray], UpscaleOutput]]]:
    """Return the label and the function of each method by the name in its files."""
    entries = {name: (name, open_predictor(name, SCALE).run) for name in INTERPOLATIONS}
    model = default_model_for_scale(SCALE)
    for name in list_models(model, pretrained=True):
        purpose, tag = describe_weights(name).purpose, name.removeprefix(f"{model}.")
        if purpose not in entries:
            entries[purpose] = (f"LAMNet <code>{tag}</code>", open_predictor(name).run)
    return entries


def panel(kind: str, method: str, label: str) -> list[str]:
    """Return the lines of one picture with its label."""
    alt = f"{kind.capitalize()} upscaled by {SCALE}, {method}".replace("-", " ")
    size = f'width="{WIDTH * SCALE}" height="{HEIGHT * SCALE}"'
    image = f'![{alt}](assets/gallery/{kind}-{method}.webp){{ {size} loading="lazy" }}'
    return ["<figure markdown>", image, f"<figcaption>{label}</figcaption>", "</figure>"]


def write_gallery() -> None:
    """Write the pictures and the lines that include them."""
    folder = ASSETS / "gallery"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    entries = methods()
    for path in sorted(INPUTS.glob("*.png")):
        lines = ['<div class="panels" markdown>']
        for method, (label, upscale) in entries.items():
            write_image(folder / f"{path.stem}-{method}.webp", Picture(upscale(read_rgb(path)).image), quality=85)
            lines += panel(path.stem, method, label)
        write_lines(f"gallery/{path.stem}.md", [*lines, "</div>"])


def draw_text() -> np.ndarray:
    """Draw black text in the resolution of the result, and downscale it."""
    page = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), "#f7f4ec")
    font = ImageFont.load_default(size=33)
    ImageDraw.Draw(page).multiline_text((14, 24), TEXT, fill="#1c1c1c", font=font, spacing=30)
    return imresize(np.asarray(page), 1 / SCALE)


def take_screenshot() -> np.ndarray:
    """Return a screenshot of a documentation page, 1 pixel per CSS pixel."""
    from screenshots import open_browser  # needs playwright

    with tempfile.TemporaryDirectory() as folder, open_browser() as browser:
        command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", folder]
        subprocess.run(command, cwd=ASSETS.parents[1], check=True)
        page = browser.new_page(viewport={"width": 1200, "height": 800}, color_scheme="light")
        page.goto(Path(folder, "quickstart/index.html").as_uri())
        return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))


def make_inputs(folder: Path) -> None:
    """Write the inputs, details of 120×90 pixels."""
    stream = read_rgb(folder / "life_by_Aitzol_Berasategi.jpg")
    sources = {
        "portrait": (imresize(read_photo("astronaut"), 1 / 2), 50, 2),
        "text": (draw_text(), 0, 0),
        "architecture": (read_rgb(folder / "china.jpg"), 92, 104),
        "foliage": (imresize(stream, 1 / 4), 464, 0),
        "screenshot": (take_screenshot(), 22, 298),
        "old-jpeg": (compress(imresize(read_photo("chelsea"), 1 / 2), "jpeg", 50), 60, 30),
    }
    for kind, (pixels, left, top) in sources.items():
        write_image(INPUTS / f"{kind}.png", Picture(Box(left, top, WIDTH, HEIGHT).crop(pixels)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["inputs"]:
        make_inputs(Path(sys.argv[2]))
    else:
        write_gallery()
