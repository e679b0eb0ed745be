import numpy as np
import pytest
import torch
from PIL import Image

from lamnet_models import ImageError
from lamnet_models.data.catalog import SAMPLES
from lamnet_models.evaluation.compare import demo


class Nearest(torch.nn.Module):
    scale, in_chans = 3, 3

    def forward(self, x):
        return torch.nn.functional.interpolate(x, scale_factor=3, mode="nearest")


def test_all_samples_available():
    for photo in SAMPLES:
        assert demo(photo, Nearest()).psnr["bicubic"] > 20


def test_packaged_weights_beat_bicubic():
    result = demo("chelsea")  # the smallest sample
    assert result.psnr["lamnet_x4"] > result.psnr["bicubic"] + 0.5
    assert result.ssim["lamnet_x4"] > result.ssim["bicubic"]
    assert result.picture.pixels.std() > 20


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "I;16"])
def test_photo_modes(tmp_path, mode):
    colors = np.random.default_rng(0).integers(0, 256, (70, 80, 3), dtype=np.uint8)
    gray16 = Image.fromarray(colors[..., 0].astype(np.uint16) * 257)
    image = gray16 if mode == "I;16" else Image.fromarray(colors).convert(mode)
    image.save(tmp_path / "photo.png")
    result = demo(tmp_path / "photo.png", Nearest())
    assert set(result.psnr) == {"bicubic", "Nearest"}
    assert result.scale == 3


def test_unusable_photos_raise(tmp_path):
    with pytest.raises(ImageError, match="astronaut, chelsea"):
        demo("unknown")
    Image.new("RGB", (500, 60)).save(tmp_path / "thin.png")
    with pytest.raises(ImageError, match="500×60"):
        demo(tmp_path / "thin.png", Nearest())
