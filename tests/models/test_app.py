"""The service and layout behind ``lamnet app``, without a server."""

import os
import time

import numpy as np
import pytest
import torch
from PIL import Image

from lamnet_models import ImageError, LAMNet, Upscaler, save_checkpoint
from lamnet_models.app.service import KEEP_SECONDS, UpscaleService, upscale_upload
from lamnet_models.image_io import Picture, read_image, write_image


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "small.safetensors"
    save_checkpoint(LAMNet(scale=2, embed_dim=8, num_blocks=1, depth=1), path)
    return path


@pytest.fixture
def service(tmp_path):
    (tmp_path / "service").mkdir()
    return UpscaleService(tmp_path / "service")


@pytest.fixture
def upload(tmp_path):
    def write(pixels, name="picture.png"):
        folder = tmp_path / "service" / "upload"
        folder.mkdir()
        write_image(folder / name, Picture(pixels))
        return folder / name

    return write


def test_views_large_result_downscaled_to_equal_size(service, upload, model, monkeypatch):
    monkeypatch.setattr("lamnet_models.app.service.PREVIEW_SIDE", 40)
    source = upload(np.random.default_rng(0).integers(0, 65536, (12, 30, 4), dtype=np.uint16))
    calls = []
    result = service.upscale(source, model, "auto", lambda *call: calls.append(call))
    assert read_image(result.file).pixels.shape == (24, 60, 4)
    assert read_image(result.file).pixels.dtype == np.uint16
    assert result.size == (60, 24)
    for view in result.views:
        assert Image.open(view).size == (40, 16)
        assert Image.open(view).mode == "RGBA"
    assert calls[-1][0] == calls[-1][1] > 1


def test_upscale_cancelled_leaves_no_files(service, upload, model, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    source = upload(np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(KeyboardInterrupt):
        service.upscale(source, model, "auto", stop)
    assert list((tmp_path / "service").iterdir()) == [source.parent]


def test_new_folder_deletes_only_expired_folders(service, upload, model, tmp_path):
    old = tmp_path / "service" / "old"
    old.mkdir()
    source = upload(np.zeros((9, 9, 3), np.uint8))
    past = time.time() - KEEP_SECONDS - 9
    os.utime(old, (past, past))

    def on_progress(*_):
        service.preview(source)  # a concurrent request

    assert service.upscale(source, model, "jpg", on_progress).file.is_file()
    assert not old.exists()
    assert source.exists()


@pytest.mark.parametrize(
    ("name", "file_format", "result"),
    [
        ("a.jfif", "JPEG", "a_x2.jpg"),
        ("a.JPE", "JPEG", "a_x2.jpg"),
        ("a.dib", "BMP", "a_x2.bmp"),
        ("a.PNG", "PNG", "a_x2.PNG"),
        ("a.gif", "GIF", "a_x2.png"),
    ],
)
def test_upscale_auto_ext_keeps_format(service, model, tmp_path, name, file_format, result):
    Image.new("RGB", (8, 6)).save(tmp_path / name, file_format)
    assert upscale_upload(tmp_path / name, tmp_path, service.upscalers(model)).target.name == result


@pytest.mark.parametrize("name", ["pages.tif", "frames.gif", "frames.png", "alpha.png"])
def test_errors_name_no_option(service, model, tmp_path, name):
    images = [Image.new("RGBA" if name == "alpha.png" else "RGB", (8, 6), value) for value in ("red", "#0000", "blue")]
    frames = {} if name == "alpha.png" else {"save_all": True, "append_images": images[1:]}
    images[1 if name == "alpha.png" else 0].save(tmp_path / name, **frames)
    with pytest.raises(ImageError, match=r"pages|frames|transparency") as caught:
        upscale_upload(tmp_path / name, tmp_path, service.upscalers(model), "jpg")
    assert "--" not in str(caught.value)


def test_errors_omit_folders(service, upload, model, tmp_path):
    source = upload(np.zeros((3, 3, 4), np.uint8))
    with pytest.raises(ImageError, match=r"^picture_x2\.jpg: .*transparency"):
        upscale_upload(source, tmp_path, service.upscalers(model), "jpg")
    source.write_bytes(b"")
    with pytest.raises(ImageError, match=r"^picture\.png: .*empty"):
        service.preview(source)
    with pytest.raises(ValueError, match=r"ext must be .*got 'exe'"):
        upscale_upload(source, tmp_path, service.upscalers(model), "exe")


def test_page_with_checkpoint_offers_only_it(service, model):
    pytest.importorskip("gradio")
    from lamnet_models.app import offered_networks
    from lamnet_models.app.page import Page

    networks = offered_networks(model, service)
    assert networks == {"small.safetensors": {2: model}}
    components = Page(service, networks).build().config["components"]
    visible = [part["props"] for part in components if part["props"].get("visible")]
    choices = [props["choices"] for props in visible if props["name"] == "radio"]
    assert [[label for label, _ in choice] for choice in choices] == [["small.safetensors"], ["×2"]]
    assert not [props for props in visible if props["name"] == "slider"]
    assert offered_networks(None, service)["LAMNet-large"][4] == "lamnet_large_x4"


@pytest.mark.parametrize("strength", [None, 0.5])
def test_upscale_strength(service, upload, photo_weights, strength):
    source = upload(np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8))
    result = service.upscale(source, "lamnet_x2", "auto", lambda *_: None, strength)
    expected = Upscaler("lamnet_x2", strength=strength, tile="exact")(read_image(source))
    assert np.array_equal(read_image(result.file).pixels, expected.pixels)
    assert service.upscalers("lamnet_x2", strength) is service.upscalers("lamnet_x2", strength)


def test_page_offers_photo_weights_of_model(service, upload, photo_weights):
    pytest.importorskip("gradio")
    from lamnet_models.app import offered_networks
    from lamnet_models.app.page import Page

    page = Page(service, offered_networks(None, service))
    components = page.build().config["components"]
    (weights,) = (part["props"] for part in components if part["props"].get("label") == "Weights")
    assert weights["visible"]
    assert [value for _, value in weights["choices"]] == ["clean", "photo"]
    for model, scale, value, visible in (
        ("LAMNet", 2, "photo", True),
        ("LAMNet", 3, "clean", False),
        ("LAMNet-large", 2, "clean", False),
    ):
        choice = page._weights(model, scale, "photo")
        assert (choice.value, choice.visible) == (value, visible)
    status = page.preview(str(upload(np.zeros((9, 9, 3), np.uint8), "a.png")))[-1]
    assert "JPEG" not in status
    jpeg = service._folder / "upload" / "a.jpg"
    Image.new("RGB", (9, 9)).save(jpeg, quality=72)
    assert "JPEG of quality 72" in page.preview(str(jpeg))[-1]
