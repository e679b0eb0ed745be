import math

import numpy as np
import pytest
import torch

from lamnet_models.evaluation import imresize, psnr, rgb_to_y, ssim


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    reference = rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)
    noise = rng.integers(-9, 10, reference.shape)
    return (reference + noise).clip(0, 255).astype(np.uint8), reference


def test_rgb_to_y_known_colors():
    colors = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], dtype=np.uint8)
    assert np.allclose(rgb_to_y(colors), [[16, 235, 16 + 65.481]])


def test_psnr_matches_definition(pair):
    image, reference = pair
    error = rgb_to_y(image)[4:-4, 4:-4] - rgb_to_y(reference)[4:-4, 4:-4]
    assert psnr(image, reference, border=4) == pytest.approx(10 * math.log10(255**2 / (error**2).mean()), abs=1e-12)
    error = image.astype(float) - reference
    assert psnr(image, reference, channel="rgb") == pytest.approx(
        10 * math.log10(255**2 / (error**2).mean()), abs=1e-12
    )


def test_ssim_matches_definition(pair):
    x, y = (rgb_to_y(item) for item in pair)
    window = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2

    def filtered(image):
        return np.einsum("ijkl,kl->ij", np.lib.stride_tricks.sliding_window_view(image, (11, 11)), window)

    mx, my = filtered(x), filtered(y)
    vx, vy, vxy = filtered(x * x) - mx**2, filtered(y * y) - my**2, filtered(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    expected = ((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()
    assert ssim(*pair) == pytest.approx(expected, abs=1e-10)


def test_metrics_equal_images():
    image = np.full((16, 16, 3), 7, dtype=np.uint8)
    assert psnr(image, image) == math.inf
    assert ssim(image, image) == pytest.approx(1)


def test_metrics_gray_counts_as_three_channels(pair):
    image, reference = (item[..., 0] for item in pair)
    rgb = [np.repeat(item[..., None], 3, axis=2) for item in (image, reference)]
    assert psnr(image, reference) == psnr(*rgb)
    assert ssim(image[..., None], reference[..., None]) == ssim(*rgb)


def test_psnr_rounds_tensors(pair):
    tensors = [torch.from_numpy(item).permute(2, 0, 1) / 255 for item in pair]
    assert psnr(*tensors) == psnr(*pair)
    assert psnr(tensors[0] + 0.4 / 255, tensors[1]) == psnr(*pair)
    overshooting = torch.where(tensors[1] == 1, 1.3, tensors[1])
    assert psnr(overshooting, tensors[1]) == math.inf


def test_metrics_uint8_tensors(pair):
    tensors = [torch.from_numpy(item).permute(2, 0, 1) for item in pair]
    assert psnr(*tensors) == psnr(*pair)
    assert ssim(tensors[0], tensors[1] / 255) == ssim(*pair)


@pytest.mark.parametrize("name", ["image", "reference"])
@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.zeros(1, 3, 16, 16), "shape"),
        (torch.zeros(16, 16), "shape"),
        (torch.zeros(3, 0, 16), "shape"),
        (torch.zeros(3, 16, 16, dtype=torch.int64), "uint8"),
        (torch.full((3, 16, 16), 255.0), "values"),
        (torch.full((3, 16, 16), math.nan), "values"),
    ],
)
@pytest.mark.parametrize("metric", [psnr, ssim])
def test_metrics_invalid_tensors(metric, tensor, reason, name):
    images = {"image": torch.zeros(3, 16, 16), "reference": torch.zeros(3, 16, 16), name: tensor}
    with pytest.raises(ValueError, match=f"^{name} must .*{reason}"):
        metric(**images)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"reference": np.zeros((16, 17, 3))}, "image"),
        ({"border": 8}, "border"),
        ({"border": -1}, "border"),
        ({"border": 1.5}, "border"),
        ({"channel": "cb"}, "channel"),
        ({"image": np.zeros((16, 16, 2)), "reference": np.zeros((16, 16, 2))}, "image"),
    ],
)
@pytest.mark.parametrize("metric", [psnr, ssim])
def test_metrics_invalid_arguments(metric, arguments, word):
    defaults = {"image": np.zeros((16, 16, 3)), "reference": np.ones((16, 16, 3))}
    with pytest.raises(ValueError, match=f"^{word} "):
        metric(**{**defaults, **arguments})


def test_ssim_image_smaller_than_window():
    with pytest.raises(ValueError, match="11×11"):
        ssim(np.zeros((12, 10)), np.zeros((12, 10)))


@pytest.mark.parametrize(("dataset", "expected"), [("Set5", (33.67, 30.40, 28.43)), ("Set14", (30.33, 27.63, 26.09))])
def test_psnr_bicubic_matches_papers(shared, dataset, expected):
    from PIL import Image

    for scale, value in zip((2, 3, 4), expected, strict=True):
        scores = []
        for file in sorted((shared / "data/benchmarks" / dataset / f"image_SRF_{scale}").glob("*_HR.png")):
            hr = np.array(Image.open(file).convert("RGB"))
            hr = hr[: hr.shape[0] // scale * scale, : hr.shape[1] // scale * scale]
            scores.append(psnr(imresize(imresize(hr, 1 / scale), scale), hr, border=scale))
        assert np.mean(scores) == pytest.approx(value, abs=0.01)
