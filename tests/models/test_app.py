"""What lies behind the page of ``lamnet app``, without a server."""

import os
import time

import numpy as np
import pytest
import torch
from PIL import Image

from lamnet_models import ImageError, LAMNet, save_checkpoint
from lamnet_models.app import workshop as module
from lamnet_models.app.uploads import enlarge_upload
from lamnet_models.app.workshop import KEEP_SECONDS, Workshop
from lamnet_models.images import Picture, read_image, write_image


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "small.safetensors"
    save_checkpoint(LAMNet(scale=2, channels=8, num_blocks=1, depth=1), path)
    return path


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "shop").mkdir()
    return Workshop(tmp_path / "shop")


@pytest.fixture
def upload(tmp_path):
    def write(pixels, name="picture.png"):
        folder = tmp_path / "shop" / "upload"
        folder.mkdir()
        write_image(folder / name, Picture(pixels))
        return folder / name

    return write


def test_views_are_of_one_size_and_reduced_where_they_are_long(shop, upload, model, monkeypatch):
    monkeypatch.setattr(module, "PREVIEW_SIDE", 40)
    source = upload(np.random.default_rng(0).integers(0, 65536, (12, 30, 4), dtype=np.uint16))
    steps = []
    result = shop.enlarge(source, model, "auto", lambda *step: steps.append(step))
    assert read_image(result.file).pixels.shape == (24, 60, 4)
    assert read_image(result.file).pixels.dtype == np.uint16
    assert result.size == (60, 24)
    for view in result.views:
        assert Image.open(view).size == (40, 16)
        assert Image.open(view).mode == "RGBA"
    assert steps[-1][0] == steps[-1][1] > 1


def test_nothing_is_left_of_what_was_stopped(shop, upload, model, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    source = upload(np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(KeyboardInterrupt):
        shop.enlarge(source, model, "auto", stop)
    assert list((tmp_path / "shop").iterdir()) == [source.parent]


def test_what_is_old_is_removed_and_what_is_in_use_is_not(shop, upload, model, tmp_path):
    old = tmp_path / "shop" / "old"
    old.mkdir()
    source = upload(np.zeros((9, 9, 3), np.uint8))
    past = time.time() - KEEP_SECONDS - 9
    os.utime(old, (past, past))

    def step(*_):
        shop.look(source)  # somebody else's, while this one goes on

    assert shop.enlarge(source, model, "jpg", step).file.is_file()
    assert not old.exists()
    assert source.exists()


def test_errors_name_the_file_alone(shop, upload, model, tmp_path):
    source = upload(np.zeros((3, 3, 4), np.uint8))
    with pytest.raises(ImageError, match=r"^picture_x2\.jpg: JPEG .*transparency"):
        enlarge_upload(source, tmp_path, shop.upscalers(model), "jpg")
    source.write_bytes(b"")
    with pytest.raises(ImageError, match=r"^picture\.png: the file is empty$"):
        shop.look(source)
    with pytest.raises(ValueError, match="ext is 'exe'"):
        enlarge_upload(source, tmp_path, shop.upscalers(model), "exe")


def test_a_checkpoint_is_the_only_choice_on_its_page(shop, model):
    pytest.importorskip("gradio")
    from lamnet_models.app.page import Page
    from lamnet_models.app.serving import _networks

    networks = _networks(model, shop)
    assert networks == {"small.safetensors": {2: model}}
    components = Page(shop, networks).build().config["components"]
    choices = [part["props"]["choices"] for part in components if part["type"] == "radio"]
    assert [[label for label, _ in choice] for choice in choices] == [["small.safetensors"], ["×2"]]
    assert _networks(None, shop)["LAMNet-large"][4] == "lamnet_large_x4"
