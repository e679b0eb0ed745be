import numpy as np
import pytest
import torch
from PIL import Image

from lamnet_models import ImageError
from lamnet_models.datasets.samples import SAMPLES
from lamnet_models.demo import demo


class Nearest(torch.nn.Module):
    scale, in_chans = 3, 3

    def forward(self, x):
        return torch.nn.functional.interpolate(x, scale_factor=3, mode="nearest")


def test_every_sample_comes_with_the_packages():
    for photo in SAMPLES:
        assert demo(photo, Nearest()).psnr["bicubic"] > 20


def test_the_packaged_weights_beat_bicubic():
    result = demo("chelsea")  # the smallest
    assert result.psnr["lamnet_x4"] > result.psnr["bicubic"] + 0.5
    assert result.ssim["lamnet_x4"] > result.ssim["bicubic"]
    assert result.picture.pixels.std() > 20


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "I;16"])
def test_any_photo_of_ones_own(tmp_path, mode):
    colours = np.random.default_rng(0).integers(0, 256, (70, 80, 3), dtype=np.uint8)
    grey16 = Image.fromarray(colours[..., 0].astype(np.uint16) * 257)
    image = grey16 if mode == "I;16" else Image.fromarray(colours).convert(mode)
    image.save(tmp_path / "mine.png")
    result = demo(tmp_path / "mine.png", Nearest())
    assert set(result.psnr) == {"bicubic", "Nearest"}
    assert result.scale == 3


def test_what_cannot_be_compared_is_one_line(tmp_path):
    with pytest.raises(ImageError, match="astronaut, chelsea"):
        demo("nobody")
    Image.new("RGB", (500, 60)).save(tmp_path / "thin.png")
    with pytest.raises(ImageError, match="500×60"):
        demo(tmp_path / "thin.png", Nearest())
