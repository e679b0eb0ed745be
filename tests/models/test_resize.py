import numpy as np
import pytest
import torch
from PIL import Image

from lamnet_models.evaluation import imresize
from lamnet_models.resize import BORDERS, PIPELINES


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("dataset", ["Set5", "Set14"])
def test_benchmark_lr_images_bit_exact(shared, dataset, scale):
    files = sorted((shared / "data/benchmarks" / dataset / f"image_SRF_{scale}").glob("*_HR.png"))
    assert len(files) == {"Set5": 5, "Set14": 14}[dataset]
    for file in files:
        hr = np.array(Image.open(file))
        lr = np.array(Image.open(file.with_name(file.name.replace("HR", "LR"))))
        cropped = hr[: lr.shape[0] * scale, : lr.shape[1] * scale]
        assert np.array_equal(imresize(cropped, 1 / scale, border="replicate"), lr), file.name


def naive(signal, scale, border):
    """Resize one axis by the definition, pixel by pixel."""
    size, stretch = len(signal), min(scale, 1)

    def cubic(x):
        x = abs(x)
        return 1.5 * x**3 - 2.5 * x**2 + 1 if x <= 1 else max(0, 2 - x) and -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2

    result = []
    for i in range(int(np.ceil(scale * size))):
        center = (i + 0.5) / scale - 0.5
        near = range(int(np.floor(center - 3 / stretch)), int(np.ceil(center + 3 / stretch)) + 1)
        weights = [cubic(stretch * (center - j)) for j in near]
        mirrored = [min(j % (2 * size), 2 * size - 1 - j % (2 * size)) for j in near]
        inside = mirrored if border == "mirror" else [min(max(j, 0), size - 1) for j in near]
        result.append(sum(w * signal[j] for w, j in zip(weights, inside, strict=True)) / sum(weights))
    return np.array(result)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("scale", [0.25, 1 / 3, 0.37, 0.5, 1, 1.6, 2, 4])
@pytest.mark.parametrize("size", [1, 2, 5, 37])
def test_definition(size, scale, border):
    image = np.random.default_rng(size).random((size, 3))
    expected = np.stack([naive(column, scale, border) for column in image.T], axis=1)
    expected = np.stack([naive(row, scale, border) for row in expected])
    assert np.allclose(imresize(image, scale, border), expected, atol=1e-13)


def test_pipeline_rounding():
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    exact = imresize(image.astype(np.float64), 0.5)
    once = imresize(image, 0.5, pipeline="double")
    assert np.array_equal(once, np.floor(exact.clip(0, 255) + 0.5))
    twice = imresize(image, 0.5, pipeline="uint8")
    assert 0.05 < (once != twice).mean() < 0.4
    assert np.abs(once.astype(int) - twice).max() == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(9, 13), (9, 13, 1), (9, 13, 3), (1, 1)])
def test_shapes_and_dtypes(shape, dtype):
    image = (np.random.default_rng(0).random(shape) * 255).astype(dtype)
    for scale in (0.5, 3):
        result = imresize(image, scale)
        assert result.dtype == dtype
        assert result.shape == (int(np.ceil(shape[0] * scale)), int(np.ceil(shape[1] * scale)), *shape[2:])


def test_integer_overshoot_clamped():
    edge = np.zeros((16, 16), dtype=np.uint8)
    edge[:, 8:] = 255
    for pipeline in PIPELINES:
        assert set(np.unique(imresize(edge, 2, pipeline=pipeline))) >= {0, 255}
    assert imresize(edge.astype(float), 2).max() > 255


def test_tensors_equal_arrays_with_gradients():
    image = torch.rand(2, 3, 21, 14, dtype=torch.float64, requires_grad=True)
    for scale in (1 / 3, 2):
        result = imresize(image, scale, border="replicate")
        expected = imresize(image.detach().numpy()[1].transpose(1, 2, 0), scale, border="replicate")
        assert np.allclose(result[1].detach().numpy().transpose(1, 2, 0), expected, atol=1e-14)
    result.sum().backward()
    assert image.grad.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"scale": 0}, "scale"),
        ({"scale": float("nan")}, "scale"),
        ({"scale": "2"}, "scale"),
        ({"border": "wrap"}, "border"),
        ({"pipeline": "float"}, "pipeline"),
        ({"image": np.zeros((0, 4))}, "image"),
        ({"image": np.zeros((2, 2, 2, 2))}, "image"),
        ({"image": np.zeros((4, 4), dtype=bool)}, "image"),
        ({"image": torch.zeros(3, 4, 4, dtype=torch.uint8)}, "image"),
    ],
)
def test_invalid_arguments(arguments, name):
    with pytest.raises(ValueError, match=f"^{name} "):
        imresize(**{"image": np.zeros((4, 4)), "scale": 0.5, **arguments})


def test_out_argument():
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    out = np.empty((6, 5, 3), np.uint8)
    assert imresize(image, size=(6, 5), out=out) is out
    np.testing.assert_array_equal(out, imresize(image, size=(6, 5)))
    with pytest.raises(ValueError, match=r"^out .*\(5, 5, 3\).*\(6, 5, 3\)"):
        imresize(image, size=(5, 5), out=out)
