"""Demo of the home page in Chromium; the slow tests download ONNX Runtime Web by npm."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lamnet_models import create_model
from lamnet_models.data.catalog import sample_path
from lamnet_models.image_io import read_rgb
from lamnet_models.inference import Upscaler

ISOLATION = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}


@pytest.fixture
def open_demo(browser, serve):
    """Function that opens the home page, given the folder of the demo's files."""
    contexts = []

    def open_(demo, headers=None, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.goto(serve(demo, headers))
        return page

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def demo(docs, tmp_path_factory):
    """Folder of the demo's files."""
    from demo import build

    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    folder = tmp_path_factory.mktemp("files") / "demo"
    try:
        build(folder)
    except subprocess.CalledProcessError:
        pytest.skip("needs the npm registry")
    return folder


@pytest.fixture
def photo(tmp_path):
    """File of a photograph of 130×70 pixels: two tiles."""
    pixels = read_rgb(sample_path("coffee"))[100:170, 200:330]
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def wait_for_status(page, text, seconds=30):
    page.locator(".demo__status", has_text=text).wait_for(timeout=1000 * seconds)


def pixels_of(page, selector):
    """Return a canvas of the page as an array, (H, W, 4) uint8."""
    width, height, values = page.locator(selector).evaluate(
        "c => [c.width, c.height, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]"
    )
    return np.array(values, np.uint8).reshape(height, width, 4)


def test_demo_without_scripts_or_files(open_demo, tmp_path, photo):
    page = open_demo(tmp_path, java_script_enabled=False)
    assert "JavaScript" in page.locator(".demo").text_content()
    page = open_demo(tmp_path)
    page.get_by_role("button", name="cat").click()
    wait_for_status(page, "docs/_generate/demo.py")
    page.set_input_files(".demo input[type=file]", photo)
    wait_for_status(page, "docs/_generate/demo.py")
    assert page.locator(".demo progress").is_hidden()


def test_demo_rejects_other_files(open_demo, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    page = open_demo(tmp_path)
    page.set_input_files(".demo input[type=file]", tmp_path / "notes.txt")
    wait_for_status(page, "notes.txt is not an image")
    Image.new("L", (4000, 3000)).save(tmp_path / "large.png")
    page.set_input_files(".demo input[type=file]", tmp_path / "large.png")
    wait_for_status(page, "large.png has 4000×3000 pixels")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "weights", "headers"), [(2, "photo", None), (4, "clean", ISOLATION)], ids=["one thread", "threads"]
)
def test_demo_matches_pytorch(open_demo, demo, photo, scale, weights, headers):
    page = open_demo(demo, headers)
    page.locator(f"[name=scale][value='{scale}']").check()
    page.locator(f"[name=weights][value='{weights}']").check()
    page.set_input_files(".demo input[type=file]", photo)
    wait_for_status(page, f"→ {130 * scale}×{70 * scale}", seconds=300)
    assert ("threads" in page.locator(".demo__status").text_content()) == (headers is not None)
    result = pixels_of(page, ".slider__picture--after canvas")
    expected = Upscaler(create_model(f"lamnet_x{scale}.{weights}", pretrained=True), tile=0)(read_rgb(photo))
    difference = np.abs(result[..., :3].astype(float) - expected)
    assert difference.mean() < 0.5
    assert (result[..., 3] == 255).all()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download PNG").click()
    assert download.value.suggested_filename == f"photo_x{scale}.png"
    np.testing.assert_array_equal(np.array(Image.open(Path(download.value.path())).convert("RGBA")), result)
