import hashlib
import json
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lamnet_models import DatasetError, ModelError, create_model, save_checkpoint, upscale
from lamnet_models.checkpoint import read_checkpoint
from lamnet_models.evaluation import PROTOCOLS, compare, evaluate, psnr, ssim
from lamnet_models.evaluation.compare import Detail
from lamnet_models.evaluation.predictors import SelfEnsemble, open_predictor
from lamnet_models.evaluation.results import published
from lamnet_models.factory import published_name
from lamnet_models.hub import write_folder
from lamnet_models.image_io.grids import Box
from lamnet_models.inference import planner, upscaler
from lamnet_models.names import VARIANTS
from lamnet_models.pretrained import find_weights


class Nearest(nn.Module):
    """A network without scale and channels whose output may leave [0, 1]."""

    def __init__(self, scale=2):
        super().__init__()
        self.factor = scale
        self.gain = nn.Parameter(torch.tensor(1.01))

    def forward(self, x):
        return self.gain * nn.functional.interpolate(x, scale_factor=self.factor)


@pytest.fixture
def small(tmp_path):
    torch.manual_seed(0)
    model = create_model("lamnet_x2", embed_dim=16, num_blocks=1, depth=1)
    save_checkpoint(model, tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


@pytest.mark.parametrize(("dataset", "expected"), [("Set5", (33.67, 30.40, 28.43)), ("Set14", (30.33, 27.63, 26.09))])
def test_evaluate_bicubic_matches_papers(shared, dataset, expected):
    for scale, value in zip((2, 3, 4), expected, strict=True):
        result = evaluate("bicubic", dataset, scale, shared / "data/benchmarks")
        assert result.psnr == pytest.approx(value, abs=0.01)
        assert "from files" in result.lr


def test_evaluate_scores_match_metrics(build_dataset):
    root = build_dataset("BasicSR", scale=2)
    result = evaluate(Nearest(), "set5", 2, root)
    scores = []
    for file in sorted((root / "Set5/GTmod12").iterdir()):
        hr, lr = np.array(Image.open(file)), np.array(Image.open(root / "Set5/LRbicx2" / file.name))
        values = lr.repeat(2, 0).repeat(2, 1).astype(np.float32) / 255 * np.float32(1.01)
        sr = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
        scores.append((psnr(sr, hr, 2), ssim(sr, hr, 2)))
    assert [(score.psnr, score.ssim) for score in result.images] == scores
    assert (result.psnr, result.ssim) == pytest.approx(tuple(np.mean(scores, axis=0)), abs=1e-12)


def test_evaluate_protocol_borders(build_dataset):
    root = build_dataset(scale=2)
    standard = evaluate("bicubic", "set5", 2, root)
    original = evaluate("bicubic", "set5", 2, root, protocol="lamnet")
    assert (standard.border, original.border) == (2, 4)
    assert standard.psnr != original.psnr
    custom = evaluate("bicubic", "set5", 2, root, border=4)
    assert custom.psnr == original.psnr
    assert (custom.protocol, custom.border) == ("custom", 4)
    assert evaluate("bicubic", "set5", 2, root, channel="rgb").psnr < standard.psnr
    assert [protocol.border_at(3) for protocol in PROTOCOLS.values()] == [3, 4]


def test_evaluate_limit_and_on_image(build_dataset):
    images = []
    result = evaluate(Nearest(), "set5", 2, build_dataset(count=5), limit=3, on_image=images.append)
    assert [score.name for score in result.images] == ["img_000", "img_001", "img_002"]
    assert [(image.done, image.total) for image in images] == [(1, 3), (2, 3), (3, 3)]
    assert images[0].model == "Nearest"
    assert images[0].sr.shape == images[0].hr.shape


def test_evaluate_skips_invalid_images(build_dataset):
    root = build_dataset(count=6)
    (root / "Set5/LRbicx2/img_000.png").unlink()
    Image.new("RGB", (9, 9)).save(root / "Set5/LRbicx2/img_001.png")
    (root / "Set5/GTmod12/img_002.png").write_bytes(b"GIF89a, or so")
    Image.new("RGB", (12, 12)).save(root / "Set5/GTmod12/img_003.png")
    Image.new("RGB", (6, 6)).save(root / "Set5/LRbicx2/img_003.png")
    result = evaluate("bicubic", "set5", 2, root)
    assert [score.name for score in result.images] == ["img_004", "img_005"]
    assert [
        name in line for name, line in zip(["img_000", "img_001", "img_002", "img_003"], result.skipped, strict=True)
    ]
    assert all("\n" not in line for line in result.skipped)
    assert "mean of 2 images, 4 skipped" in result.summary()
    for file in (root / "Set5/GTmod12").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DatasetError, match="set5"):
        evaluate("bicubic", "set5", 2, root)


def test_evaluate_file_and_module_agree(build_dataset, small):
    root = build_dataset()
    from lamnet_models import load_model

    by_file, by_module = (evaluate(model, "set5", data_dir=root) for model in (small, load_model(small)))
    assert by_file.images[0].psnr == by_module.images[0].psnr
    assert by_file.model == f"{small.parent.name}/small.safetensors"
    assert by_file.weights_sha256 == hashlib.sha256(small.read_bytes()).hexdigest()
    assert by_module.weights is None
    assert len(by_module.weights_sha256) == 64
    assert by_file.dataset_sha256 == by_module.dataset_sha256


def test_evaluate_timm_source(build_dataset, small, tmp_path):
    write_folder(read_checkpoint(small), tmp_path / "hub", "someone/small", "mit")
    source, root = f"local-dir:{tmp_path / 'hub'}", build_dataset()
    result, expected = (evaluate(model, "set5", 2, root, limit=1) for model in (source, small))
    assert (result.model, result.weights, result.psnr) == (source, None, expected.psnr)


def test_evaluate_output_matches_upscale(build_dataset, small):
    images = []
    evaluate(small, "set5", data_dir=build_dataset(), on_image=images.append)
    assert np.array_equal(images[0].sr, upscale(images[0].lr, small, tile=0))


def test_self_ensemble_is_equivariant(build_dataset, small):
    root = build_dataset()
    from lamnet_models import load_model

    network = SelfEnsemble(load_model(small)).eval()
    x = torch.rand(1, 3, 9, 14)
    with torch.no_grad():
        expected = network(x)
        assert torch.allclose(network(x.transpose(2, 3)).transpose(2, 3), expected, atol=1e-5)
        assert torch.allclose(network(x.flip(3)).flip(3), expected, atol=1e-5)
    result = evaluate(small, "set5", data_dir=root, self_ensemble=True)
    assert result.model.endswith("(self-ensemble)")
    assert result.psnr != evaluate(small, "set5", data_dir=root).psnr


def test_evaluate_scale_mismatch(build_dataset, small):
    root = build_dataset()
    with pytest.raises(ValueError, match="scale must be 2"):
        evaluate(small, "set5", 4, root)
    with pytest.raises(ValueError, match="scale must be given"):
        evaluate(Nearest(), "set5", None, root)
    with pytest.raises(ModelError, match="output of the network"):
        evaluate(Nearest(3), "set5", 2, root)
    with_scale = Nearest()
    with_scale.upscale = 2
    assert evaluate(with_scale, "set5", None, root).scale == 2
    with pytest.raises(ValueError, match=r"scale .*\b2, got 3"):
        evaluate(with_scale, "set5", 3, root)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"limit": 0}, "limit"),
        ({"border": -1}, "border"),
        ({"scale": 0}, "scale"),
        ({"scale": 2.0}, "scale"),
        ({"protocol": "paper"}, "protocol"),
        ({"channel": "cr"}, "channel"),
        ({"tile": -1, "model": "lamnet_x4"}, "tile"),
        ({"self_ensemble": True}, "self_ensemble"),
        ({"precision": "int8", "model": "lamnet_x4"}, "precision"),
    ],
)
def test_evaluate_invalid_arguments(arguments, word):
    with pytest.raises(ValueError, match=f"^{word} "):
        evaluate(**{"model": "bicubic", "dataset": "sample", **arguments})


@pytest.mark.parametrize(
    ("name", "value"),
    {"scale": 2, "tile": 0, "device": "cpu", "precision": "fp32", "self_ensemble": False}.items(),
)
def test_evaluate_predictor_excludes_options(build_dataset, small, name, value):
    with pytest.raises(ValueError, match=f"^{name} "):
        evaluate(open_predictor(small), "set5", data_dir=build_dataset(), **{name: value})


@pytest.mark.parametrize(
    ("options", "record"),
    [
        ({}, ("fp32", 0)),
        ({"precision": "bf16", "tile": 8}, ("bf16", 8)),
        ({"precision": "auto", "tile": "auto"}, ("fp32", 0)),
        ({"tile": 4000}, ("fp32", 0)),
    ],
)
def test_evaluation_records_what_ran(build_dataset, options, record):
    root = build_dataset()
    by_options = evaluate(Nearest(), "set5", 2, root, device="cpu", **options)
    by_predictor = evaluate(open_predictor(Nearest(), 2, device="cpu", **options), "set5", data_dir=root)
    for result in (by_options, by_predictor):
        assert (result.precision, result.tile) == record
        assert result.device == "cpu"
        values = result.to_dict()
        assert (values["precision"], values["tile"], values["device"]) == (*record, "cpu")


def test_evaluation_records_out_of_memory_fallback(build_dataset, small, monkeypatch):
    attempt = upscaler.forward_tiled

    def limited(forward, source, out, scale, tile, *arguments):
        if tile == 0:
            raise torch.OutOfMemoryError("out of memory")
        attempt(forward, source, out, scale, tile, *arguments)

    monkeypatch.setattr(upscaler, "forward_tiled", limited)
    monkeypatch.setattr(planner, "EXACT_TILES", (16,))
    with pytest.warns(RuntimeWarning, match="out of memory"):
        result = evaluate(small, "set5", data_dir=build_dataset(), tile="auto")
    assert result.tile == "exact"


def test_evaluation_is_reproducible_and_json(build_dataset, small):
    root = build_dataset()
    result = evaluate(small, "set5", data_dir=root)
    again = evaluate(small, "set5", data_dir=root)
    assert result.dataset_sha256 == again.dataset_sha256
    values = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert {"lamnet", "torch", "python"} <= values["versions"].keys()
    assert values["images"][0]["name"] == "img_000"
    assert 0 < values["forward_seconds"] <= values["seconds"]
    image = np.array(Image.open(root / "Set5/GTmod12/img_000.png"))
    image[0, 0, 0] ^= 1
    Image.fromarray(image).save(root / "Set5/GTmod12/img_000.png")
    assert evaluate(small, "set5", data_dir=root).dataset_sha256 != result.dataset_sha256


def test_evaluate_lanczos(build_dataset):
    root = build_dataset()
    results = []
    score = evaluate("lanczos", "set5", 2, root, on_image=results.append)
    image = results[0]
    expected = Image.fromarray(image.lr).resize((image.hr.shape[1], image.hr.shape[0]), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(image.sr, np.array(expected))
    assert score.model == "lanczos"
    comparison = compare(["bicubic", "lanczos"], "set5", 2, root, details=0)
    assert [entry.model for entry in comparison.evaluations] == ["bicubic", "lanczos"]


def test_evaluation_infinite_psnr(tmp_path):
    Image.new("RGB", (24, 24), "red").save(tmp_path / "red.png")
    result = evaluate("bicubic", tmp_path, 2)
    assert result.psnr == math.inf
    assert result.to_dict()["psnr"] is None


def test_evaluation_published_by_architecture(build_dataset, tmp_path):
    model = create_model("lamnet_x4")
    assert [published_name(create_model(name)) for name in VARIANTS] == list(VARIANTS)
    assert published_name(create_model("lamnet_x4", embed_dim=32)) is None
    save_checkpoint(model, tmp_path / "mine.safetensors")
    result = evaluate(tmp_path / "mine.safetensors", "set5", data_dir=build_dataset(scale=4, count=1))
    assert result.published == (32.51, 0.8983)
    assert "(paper, full dataset: 32.51 dB, 0.8983)" in result.summary()
    assert published("lamnet_large_x2", "manga109") == (39.38, 0.9785)
    assert published("lamnet_x2", "sample") is None


def test_compare(build_dataset, small):
    root = build_dataset(count=4)
    seen, name = [], f"{small.parent.name}/small.safetensors"
    result = compare(["bicubic", small, Nearest()], "set5", 2, root, details=2, side=16, on_image=seen.append)
    assert [(image.model, image.done) for image in seen[3:6]] == [
        ("bicubic", 4),
        (name, 1),
        (name, 2),
    ]
    assert [evaluation.model for evaluation in result.evaluations] == ["bicubic", name, "Nearest"]
    assert len(result.details) == 2
    assert result.picture.width > 5 * 240
    chosen = [Detail("img_002", Box(4, 8, 20, 10))]
    assert compare(["bicubic"], "set5", 2, root, details=chosen).details == tuple(chosen)
    assert compare(["bicubic"], "set5", 2, root, details=0).picture is None
    with pytest.raises(DatasetError, match="'img_9'"):
        compare(["bicubic"], "set5", 2, root, details=[Detail("img_9")])
    with pytest.raises(DatasetError, match=r"box of img_000 .*60,0,16,16"):
        compare(["bicubic"], "set5", 2, root, details=[Detail("img_000", Box(60, 0, 16, 16))])
    with pytest.raises(ValueError, match=r"models .*×2, .*×3"):
        compare([small, create_model("lamnet_x3", embed_dim=16, num_blocks=1, depth=1)], "set5", None, root)
    with pytest.raises(ValueError, match="models"):
        compare([], "set5")


def test_packaged_weights_beat_bicubic_on_samples():
    ours, bicubic = (evaluate(model, "sample", 4, limit=1) for model in ("lamnet_x4", "bicubic"))
    assert ours.psnr > bicubic.psnr + 1


def test_model_card_matches_scores():
    path = find_weights("lamnet_x4")  # the fastest model
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    (command, claim) = re.search(
        r"^\| sample \|.*\| (.*) \| `lamnet eval (.*) -d sample` \|$", card, re.MULTILINE
    ).group(2, 1)
    result = evaluate(command, "sample")
    assert f"{result.psnr:.2f} / {result.ssim:.4f}" == claim


def test_open_predictor_device(monkeypatch):
    monkeypatch.setattr("lamnet_models.evaluation.predictors.resolve_device", lambda device: torch.device("meta"))
    assert open_predictor("lamnet_x2").device == "meta"
    assert open_predictor("lamnet_x2", device="cpu").device == "cpu"
    assert open_predictor(Nearest(), 2).device == "cpu"
