"""Make the files of the home page's demo, docs/assets/demo/, which are not under version control.

Usage: ``python docs/_generate/demo.py``, before ``mkdocs build``. Requires npm, which downloads ONNX Runtime Web.
"""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from assets import ASSETS
from PIL import Image

from lamnet_models import export
from lamnet_models.data.catalog import sample_path
from lamnet_models.evaluation import imresize
from lamnet_models.filesystem import atomic_folder
from lamnet_models.image_io import read_rgb

RUNTIME = "onnxruntime-web@1.30.0"
FILES = (
    "dist/ort.wasm.min.mjs",
    "dist/ort-wasm-simd-threaded.mjs",
    "dist/ort-wasm-simd-threaded.wasm",
    "dist/ort.webgpu.min.mjs",
    "dist/ort-wasm-simd-threaded.asyncify.mjs",
    "dist/ort-wasm-simd-threaded.asyncify.wasm",
)
SAMPLES = {"coffee": "coffee", "cat": "chelsea"}


def build(target: Path) -> None:
    """Download the runtime, export the models and write the sample pictures into a folder, replacing it."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm is required: install Node.js")
    shutil.rmtree(target, ignore_errors=True)
    with atomic_folder(target) as folder, TemporaryDirectory() as temporary:
        subprocess.run([npm, "pack", "--silent", RUNTIME], cwd=temporary, check=True)
        with tarfile.open(next(Path(temporary).glob("*.tgz"))) as package:
            for file in FILES:
                with package.extractfile(f"package/{file}") as source:
                    (folder / Path(file).name).write_bytes(source.read())
        for model in (f"lamnet_x{scale}.{weights}" for scale in (2, 4) for weights in ("clean", "photo")):
            export(model, folder / f"{model}.onnx", format="onnx")
        for name, sample in SAMPLES.items():
            Image.fromarray(imresize(read_rgb(sample_path(sample)), 0.5)).save(folder / f"{name}.png")


if __name__ == "__main__":
    build(ASSETS / "demo")
