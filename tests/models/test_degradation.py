"""Fixed degradations for evaluation and random ones for training patches."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from lamnet_models import TrainingError
from lamnet_models.data import open_dataset
from lamnet_models.degradation import (
    Degradation,
    PhotoDegradation,
    apply_degradations,
    blur,
    compress,
    parse_degradations,
)
from lamnet_models.evaluation import evaluate
from lamnet_models.training import Recipe, load_recipe, train
from lamnet_models.training.images import open_store, training_data
from lamnet_models.training.patches import PatchSamples, degrade_patches, extract_patches, sample_patches

GRADIENT = np.add.outer(np.arange(60) * 2, np.arange(80)).astype(np.uint8)[..., None].repeat(3, axis=2)
HARMLESS = PhotoDegradation(clean=0, blur=0, noise=0, quality=(100, 100), webp=0, full_chroma=1, twice=1)


def test_parse_degradations_in_order():
    assert parse_degradations("noise=2.5,jpeg=75") == (Degradation("noise", 2.5), Degradation("jpeg", 75))
    assert parse_degradations("") == ()
    assert ",".join(map(str, parse_degradations("webp=60, blur=0.5"))) == "webp=60,blur=0.5"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("jpg=75", "jpg"),
        ("jpeg", "jpeg must be an integer"),
        ("jpeg=75.5", "jpeg must be an integer"),
        ("jpeg=0", "from 1 to 100"),
        ("noise=-1", "from 0 to 100"),
        ("noise=nan", "noise"),
        ("blur=a", "blur must be a number"),
    ],
)
def test_parse_degradations_invalid(text, word):
    with pytest.raises(ValueError, match=word):
        parse_degradations(text)


def test_jpeg_is_that_of_pillow():
    file = io.BytesIO()
    Image.fromarray(GRADIENT).save(file, "jpeg", quality=40, subsampling="4:2:0")
    result = apply_degradations(GRADIENT, parse_degradations("jpeg=40"))
    np.testing.assert_array_equal(result, np.array(Image.open(file)))


def test_noise_depends_on_name_alone():
    gray = np.full((100, 100, 3), 128, np.uint8)
    first, again, other = (apply_degradations(gray, parse_degradations("noise=10"), name) for name in ("a", "a", "b"))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert first.astype(float).std() == pytest.approx(10, abs=0.3)
    assert first.mean() == pytest.approx(128, abs=0.3)


def test_degradations_apply_in_order():
    steps = parse_degradations("noise=20,blur=2")
    smooth, rough = (apply_degradations(GRADIENT, order).astype(float) for order in (steps, steps[::-1]))
    assert np.diff(smooth, axis=1).std() < np.diff(rough, axis=1).std() / 3


def test_blur_is_gaussian():
    image = np.random.default_rng(0).random((40, 50, 3), np.float32)
    expected = gaussian_filter(image, (1.5, 1.5, 0), mode="reflect", truncate=6)
    np.testing.assert_allclose(blur(image, 1.5, 1.5, 0.7), expected, atol=1e-4)
    np.testing.assert_allclose(blur(image, 0.0, 0.0, 0.0), image, atol=1e-6)


def test_blur_anisotropic_covariance():
    impulse = np.zeros((61, 61, 1), np.float32)
    impulse[30, 30] = 1
    weights = blur(impulse, 4.0, 1.0, np.pi / 6)[..., 0]
    y, x = np.mgrid[-30:31, -30:31]
    moments = [(weights * product).sum() for product in (x * x, x * y, y * y)]
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    assert moments == pytest.approx([16 * cos**2 + sin**2, 15 * sin * cos, 16 * sin**2 + cos**2], rel=1e-3)


def test_compress_full_chroma():
    colors = np.zeros((32, 32, 3), np.uint8)
    colors[:, ::2, 0] = 255
    full, half = (compress(colors, "jpeg", 95, subsampling).astype(int) for subsampling in ("4:4:4", "4:2:0"))
    assert np.abs(full - colors).mean() < np.abs(half - colors).mean() / 2
    assert compress(colors, "webp", 80).shape == colors.shape


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, size in enumerate([(96, 120), (150, 100)]):
        rows, columns = np.mgrid[: size[0], : size[1]] / 9.0
        waves = [np.sin(rows + channel) + np.cos(columns * (1 + index / 3)) for channel in range(3)]
        Image.fromarray((127 + 60 * np.stack(waves, -1)).astype(np.uint8)).save(folder / f"{index}.png")
    return open_store(training_data([str(folder)], 2)[0], patch=20)


def test_degraded_patches_match_clean_ones(store):
    """At all transforms and borders: a shift by one pixel changes the patches by 3.6 levels or more."""
    heights, widths = store.sizes.T
    places = [(image, top, left) for image in (0, 1) for top in (0, heights[image] - 20) for left in (0, 7)]
    places += [(image, 5, widths[image] - 20) for image in (0, 1)]
    samples = PatchSamples(*np.array([(*place, transform) for place in places for transform in range(8)]).T)
    clean, _ = extract_patches(store, samples, 20)
    degraded = clean.clone()
    degrade_patches(degraded, store, samples, HARMLESS, range(len(clean)), seed=0, step=0)
    errors = 255 * (degraded - clean).abs().mean(dim=(1, 2, 3))
    assert (errors > 0).all()
    assert errors.max() < 1.5
    assert 255 * (degraded.roll(1, -1) - clean).abs().mean(dim=(1, 2, 3)).min() > 3


def test_degraded_patches_depend_on_seed_step_and_index(store):
    def patches(indices=range(12), seed=1, step=7):
        samples = sample_patches(store.sizes, 20, 12, 1, 7).slice(indices.start, indices.stop)
        lr, _ = extract_patches(store, samples, 20)
        degrade_patches(lr, store, samples, PhotoDegradation(), indices, seed, step)
        return lr

    whole = patches()
    torch.testing.assert_close(torch.cat([patches(range(5)), patches(range(5, 12))]), whole, rtol=0, atol=0)
    assert not torch.equal(patches(seed=2), whole)
    assert not torch.equal(patches(step=8), whole)


def test_probability_of_clean_patches(store):
    samples = sample_patches(store.sizes, 20, 400, 0, 0)
    clean, _ = extract_patches(store, samples, 20)
    degraded = clean.clone()
    degrade_patches(degraded, store, samples, PhotoDegradation(clean=0.7), range(400), 0, 0)
    share = (degraded == clean).flatten(1).all(dim=1).double().mean().item()
    assert share == pytest.approx(0.7, abs=0.07)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"clean": 1.5}, "clean must be a probability"),
        ({"twice_": 0.5}, "did you mean twice"),
        ({"noise_sigma": [5, 2]}, "noise_sigma must be two numbers"),
        ({"quality": [0, 90]}, "quality"),
        ({"blur_sigma": 1}, "blur_sigma must be a list"),
    ],
)
def test_recipe_degradation_invalid(arguments, word):
    with pytest.raises(TrainingError, match=f"degradation_args: .*{word}"):
        Recipe(steps=1, degradation="photo", degradation_args=arguments)


def test_recipe_degradation_args_require_photo():
    with pytest.raises(TrainingError, match="degradation=photo"):
        Recipe(steps=1, degradation_args={"clean": 0.5})
    with pytest.raises(TrainingError, match="valid_degrade"):
        Recipe(steps=1, valid_degrade="jpeg=0")


def test_train_with_degradations(tmp_path):
    settings = {
        "model_args": {"embed_dim": 8, "num_blocks": 1, "depth": 1, "num_heads": 1},
        "data": ["sample"],
        "valid": "sample",
        "valid_crop": 64,
        "steps": 2,
        "batch": 2,
        "patch": 8,
    }
    scores = []
    for name, degradation in {"clean": {}, "photo": {"degradation": "photo", "valid_degrade": "noise=30"}}.items():
        train(Recipe(**settings, **degradation), tmp_path / name)
        log = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        scores.append(next(entry["psnr"] for entry in log if entry["kind"] == "validation"))
    assert scores[1] < scores[0]
    saved = load_recipe(tmp_path / "photo" / "recipe.yaml")
    assert saved.photo_degradation == PhotoDegradation()
    assert set(saved.degradation_args) == set(vars(PhotoDegradation()))


def test_evaluate_degraded():
    clean, degraded = (evaluate("bicubic", "sample", 2, limit=1, degrade=degrade) for degrade in ("", "jpeg=10"))
    assert degraded.psnr < clean.psnr - 1
    assert (clean.degradations, degraded.degradations) == ("", "jpeg=10")
    assert degraded.lr == f"{clean.lr}, jpeg=10"
    assert evaluate("bicubic", "sample", 2, limit=1, degrade="jpeg=10").dataset_sha256 == degraded.dataset_sha256
    opened = open_dataset("sample", 2)
    assert evaluate("bicubic", opened, limit=1, scale=2, degrade="jpeg=10").dataset_sha256 == degraded.dataset_sha256
