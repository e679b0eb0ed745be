"""Training units and short runs in this process."""

import errno
import json
import math
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

import lamnet_models
from lamnet_models import TrainingError, create_model, load_model, save_checkpoint
from lamnet_models.checkpoint import read_checkpoint
from lamnet_models.data import open_dataset
from lamnet_models.evaluation import evaluate
from lamnet_models.names import packaged_weights
from lamnet_models.training import Recipe, list_recipes, load_recipe, train
from lamnet_models.training.callbacks import Log, NullCallback, plot, read_log
from lamnet_models.training.checkpointing import (
    check_fixed_fields,
    initialize_as_interpolation,
    initialize_from,
    load_state,
    save_state,
)
from lamnet_models.training.images import open_store, training_data, validation_set
from lamnet_models.training.optimizer import EMA, create_optimizer, load_optimizer_state
from lamnet_models.training.patches import (
    PatchSamples,
    extract_patches,
    extract_targets,
    sample_patches,
    sample_textured_patches,
)
from lamnet_models.training.recipe import budget_progress, learning_rate, parse_settings
from lamnet_models.training.release import (
    pixel_summary,
    release,
    stage_pixels,
    stage_summary,
    stages,
    target_summaries,
)
from lamnet_models.training.trainer import Trainer

WEIGHTS = Path(lamnet_models.__file__).parent / "weights"
TINY = {
    "model_args": {"embed_dim": 8, "num_blocks": 1, "depth": 1, "num_heads": 1},
    "data": ["sample"],
    "steps": 4,
    "batch": 2,
    "patch": 8,
    "log_every": 1,
    "valid_crop": 64,
}


class Recorder:
    """Callback that keeps what it is called with."""

    def __init__(self):
        self.reports, self.validations, self.messages = [], [], []
        self.on_report, self.on_validation = self.reports.append, self.validations.append
        self.on_message = self.messages.append


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(6):
        size = (40 + 2 * index, 60 - index, 3)
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(
            folder / ("below" if index % 2 else ".") / f"{index}.png"
        )
    return folder


def test_train_reports_first_step_of_each_session(tmp_path):
    for steps in (5, 8):
        callback = Recorder()
        train(Recipe(**TINY | {"steps": 5, "log_every": 4}), tmp_path, resume=steps > 5, callback=callback, steps=steps)
        assert [report.step for report in callback.reports] == ([1, 4] if steps == 5 else [6, 8])
        assert all(report.loss > 0 for report in callback.reports)
    log = [entry["step"] for entry in read_log(tmp_path / "log.jsonl") if entry["kind"] == "report"]
    assert log == [4, 8]  # independent of where the sessions began


def test_load_recipe_paper_values():
    assert {"quick", "budget", "cpu", "paper_x2", "paper_x3", "paper_x4", "paper_large_x4"} <= set(list_recipes())
    for name in list_recipes():
        recipe = load_recipe(name)
        assert create_model(recipe.model, device=torch.device("meta")) is not None
    x2, x4 = load_recipe("paper_x2"), load_recipe("paper_x4")
    assert (x2.steps, x2.batch, x2.patch, x2.lr, x2.betas, x2.ema, x2.loss) == (
        500_000,
        64,
        64,
        1e-3,
        (0.9, 0.99),
        0.999,
        "l1",
    )
    assert x2.milestones == (250_000, 400_000, 450_000, 475_000)
    assert (x4.steps, x4.init_from) == (250_000, "lamnet_x2")
    assert [m / x4.steps for m in x4.milestones] == [m / x2.steps for m in x2.milestones]


def test_recipe_save_round_trip(tmp_path):
    recipe = load_recipe("quick").with_overrides(
        {"lr": "5e-4", "milestones": [1, 2], "minutes": 3, "schedule": "linear"}
    )
    assert (recipe.lr, recipe.steps, recipe.minutes) == (5e-4, None, 3.0)
    recipe.save(tmp_path / "recipe.yaml")
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


def test_parse_settings():
    assert parse_settings(["lr=5e-4", "model_args={embed_dim: 8}", "compile=true"]) == {
        "lr": "5e-4",
        "model_args": {"embed_dim": 8},
        "compile": True,
    }


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ({"lrr": 1}, "did you mean lr"),
        ({"lr": "fast"}, "lr .*'fast'"),
        ({"batch": 2.5}, r"batch .*2\.5"),
        ({"batch": True}, "batch .*True"),
        ({"compile": 1}, "compile .*1"),
        ({"data": "here"}, "data .*'here'"),
        ({"schedule": "warm"}, "schedule .*'warm'"),
        ({"steps": 0}, "steps .*0"),
        ({"lr": math.nan}, "lr .*nan"),
        ({"steps": math.inf}, "steps .*inf"),
        ({"minutes": "inf", "schedule": "wsd"}, "minutes .*inf"),
        ({"batch": 9, "accumulate": 2}, "batch .*accumulate .*9"),
        ({"ema": 1}, "ema .*1"),
        ({"steps": None}, "steps, minutes, pixels"),
        ({"minutes": 1, "schedule": "multistep"}, "schedule=multistep"),
    ],
)
def test_with_overrides_invalid_setting(overrides, match):
    with pytest.raises(TrainingError, match=match):
        Recipe(steps=4).with_overrides(overrides)


@pytest.mark.parametrize("content", ["- a list", "lr: [", "lrr: 1", "\x00", ""])
def test_load_recipe_invalid_file(tmp_path, content):
    (tmp_path / "odd.yaml").write_text(content)
    with pytest.raises(TrainingError, match=r"odd\.yaml") as error:
        load_recipe(tmp_path / "odd.yaml")
    assert "\n" not in str(error.value)
    with pytest.raises(TrainingError, match=r"missing\.yaml"):
        load_recipe(tmp_path / "missing.yaml")
    with pytest.raises(TrainingError, match=r"did you mean paper_x2\?"):
        load_recipe("papr_x2")


def test_learning_rate_schedules():
    def rates(**fields):
        recipe = Recipe(steps=100, lr=1.0, **fields)
        return [learning_rate(recipe, step, step / 100) for step in (0, 25, 50, 75, 99)]

    assert rates(schedule="constant") == [1] * 5
    assert rates(schedule="multistep", milestones=(50, 75)) == [1, 1, 0.5, 0.25, 0.25]
    assert rates(schedule="linear") == pytest.approx([1, 0.75, 0.5, 0.25, 0.01])
    assert rates(schedule="cosine") == pytest.approx([1, 0.853553, 0.5, 0.146447, 0.000247], abs=1e-6)
    assert rates(schedule="constant", warmup=50)[:3] == pytest.approx([0.02, 0.52, 1])


def test_sample_patches_deterministic():
    sizes = np.array([[20, 30], [9, 9], [50, 10]])
    whole = sample_patches(sizes, 8, 64, seed=1, step=7)
    for field in ("image", "top", "left", "transform"):
        assert np.array_equal(getattr(sample_patches(sizes, 8, 16, 1, 7), field), getattr(whole.slice(0, 16), field))
        assert not np.array_equal(getattr(sample_patches(sizes, 8, 64, 1, 8), field), getattr(whole, field))
        assert not np.array_equal(getattr(sample_patches(sizes, 8, 64, 2, 7), field), getattr(whole, field))


def test_sample_patches_uniform():
    sizes = np.array([[9, 9], [8, 13]])  # 4 and 6 positions of patches of 8
    samples = sample_patches(sizes, 8, 80_000, seed=0, step=0)
    counts = np.zeros((2, 2, 6, 8))
    np.add.at(counts, (samples.image, samples.top, samples.left, samples.transform), 1)
    assert (counts > 0).sum() == 10 * 8
    assert counts[counts > 0] == pytest.approx(1000, rel=0.2)


def test_extract_patches_transforms(photos):
    train_set, _ = training_data([str(photos)], 2)
    store = open_store(train_set, 8)
    for transform in range(8):
        small, large = extract_patches(store, PatchSamples(*(np.array([value]) for value in (3, 4, 5, transform))), 8)
        hr, lr = train_set.read(train_set.pairs[3])
        for patch, image, scale in ((small, lr, 1), (large, hr, 2)):
            expected = torch.from_numpy(image[4 * scale : 12 * scale, 5 * scale : 13 * scale].copy())
            if transform & 4:
                expected = expected.flip(1)
            if transform & 2:
                expected = expected.flip(0)
            if transform & 1:
                expected = expected.transpose(0, 1)
            assert torch.equal(patch[0], expected.permute(2, 0, 1).float() / 255)


def test_open_store_cached_with_problems(photos):
    Image.new("RGB", (30, 10)).save(photos / "flat.png")
    (photos / "broken.png").write_bytes(b"not an image")
    train_set, _ = training_data([str(photos)], 2)
    seen = []
    store = open_store(train_set, 8, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (8, 8)
    assert len(store.names) == 6
    assert [name in line for name, line in zip(("broken.png", "flat.png"), store.problems, strict=True)] == [True, True]
    again = open_store(train_set, 8, lambda *_: pytest.fail("decoded again"))
    assert torch.equal(again.hr, store.hr)
    assert len(open_store(train_set, 22).names) == 4  # other patches, the same store
    (photos / "0.png").write_bytes((photos / "2.png").read_bytes())
    assert open_store(training_data([str(photos)], 2)[0], 8).digest != store.digest
    with pytest.raises(TrainingError, match=r"all images are unusable .*broken\.png"):
        open_store(train_set, 1000)


def test_training_data_holdout(photos):
    train_set, holdout_set = training_data([str(photos)], 2, holdout=2)
    assert (len(train_set.pairs), len(holdout_set.pairs)) == (4, 2)
    assert not set(train_set.pairs) & set(holdout_set.pairs)
    assert training_data([str(photos)], 3, holdout=2)[1].pairs == holdout_set.pairs
    with pytest.raises(TrainingError, match=r"holdout .*6"):
        training_data([str(photos)], 2, holdout=6)
    with pytest.raises(TrainingError, match="data"):
        training_data([], 2)


@pytest.mark.parametrize("layout", ["DIV2K", "EDSR"])
def test_training_data_lr_layout(build_dataset, layout):
    root = build_dataset(layout, "DIV2K_train", scale=2)
    train_set, _ = training_data([str(root)], 2)
    assert not train_set.synthesizes_lr
    assert training_data([str(root)], 3)[0].synthesizes_lr


def test_ema_decay_warmup():
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0)
    ema = EMA(model, 0.9)
    model.weight.data.fill_(1)
    ema.update(model, 1)
    assert ema.model.weight.item() == pytest.approx(1 - 2 / 11)
    before = ema.model.weight.item()
    ema.update(model, 10_000)
    assert ema.model.weight.item() == pytest.approx(before * 0.9 + 0.1)
    assert not ema.model.training


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_initialize_as_interpolation(scale):
    model = create_model(f"lamnet_x{scale}", num_blocks=1, depth=1)
    initialize_as_interpolation(model)
    initial, bicubic = (evaluate(method, "sample", scale, limit=1) for method in (model, "bicubic"))
    assert initial.psnr > bicubic.psnr - 0.2
    model(torch.rand(1, 3, 9, 9)).square().mean().backward()
    assert model.conv_body.weight.grad.abs().max() > 0


def test_initialize_from_partial_match(tmp_path):
    torch.manual_seed(0)
    small = {"embed_dim": 8, "depth": 1, "num_heads": 1}
    source = create_model("lamnet_x2", num_blocks=2, **small)
    save_checkpoint(source, tmp_path / "x2.safetensors")
    other_scale = create_model("lamnet_x3", num_blocks=2, **small)
    description = initialize_from(other_scale, tmp_path / "x2.safetensors")["taken"]
    assert description.endswith("random: upsample")
    source_state, state = source.state_dict(), other_scale.state_dict()
    assert all(torch.equal(source_state[key], state[key]) for key in state if not key.startswith("upsample"))
    larger = create_model("lamnet_x2", num_blocks=3, **small)
    assert initialize_from(larger, tmp_path / "x2.safetensors")["taken"].endswith("; identity: blocks.2")
    image = torch.rand(1, 3, 9, 9)
    torch.testing.assert_close(larger(image), source(image))


def test_initialize_from_other_window(tmp_path):
    small = {"embed_dim": 8, "depth": 1, "num_heads": 1, "num_blocks": 1}
    source = create_model("lamnet_x2", **small)
    save_checkpoint(source, tmp_path / "x2.safetensors")
    model = create_model("lamnet_x2", window=((1, 2), (3, 3)), **small)  # as many cells, of other sizes
    initialize_from(model, tmp_path / "x2.safetensors")
    assert torch.equal(model.upsample[0].weight, source.upsample[0].weight)
    assert model.window.size == 19


@pytest.mark.parametrize(("from_channels", "to_channels"), [(3, 1), (1, 3)])
def test_initialize_from_other_channels(tmp_path, from_channels, to_channels):
    small = {"embed_dim": 8, "depth": 1, "num_heads": 1, "num_blocks": 1}
    source = create_model("lamnet_x2", in_chans=from_channels, **small)
    save_checkpoint(source, tmp_path / "x2.safetensors")
    model = create_model("lamnet_x2", in_chans=to_channels, **small)
    note = f"adapted from in_chans={from_channels} to in_chans={to_channels}"
    assert initialize_from(model, tmp_path / "x2.safetensors")["taken"].endswith(note)
    gray = torch.rand(1, 1, 24, 24)
    expected = source(gray.expand(1, from_channels, 24, 24)).mean(1, keepdim=True)
    found = model(gray.expand(1, to_channels, 24, 24)).mean(1, keepdim=True)
    center = (..., slice(20, 28), slice(20, 28))  # the padding differs
    torch.testing.assert_close(found[center], expected[center], atol=1e-3, rtol=0)
    other_scale = create_model("lamnet_x3", in_chans=to_channels, **small)
    description = initialize_from(other_scale, tmp_path / "x2.safetensors")["taken"]
    assert description.endswith(f"{note}; random: upsample")


def test_train_rejects_gray_model(tmp_path, photos):
    recipe = load_recipe("quick").with_overrides({"model_args": {"in_chans": 1}, "data": [str(photos)]})
    with pytest.raises(TrainingError, match="in_chans=3"):
        train(recipe, tmp_path / "run")


def test_train_outputs(tmp_path):
    callback = Recorder()
    recipe = load_recipe("quick").with_overrides({"steps": 60, "valid_every": 30, "save_every": 20, "log_every": 20})
    result = train(recipe, tmp_path / "run", callback=callback)
    assert (result.step, result.stopped_by) == (60, 0)
    assert [report.step for report in callback.reports] == [1, 20, 40, 60]
    assert callback.reports[-1].loss < callback.reports[0].loss / 1.5
    assert [validation.step for validation in callback.validations] == [30, 60]
    assert result.best == callback.validations[-1].psnr > callback.validations[0].psnr
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        ".lock",
        "best.safetensors",
        "last.safetensors",
        "log.jsonl",
        "recipe.yaml",
        "states",
    ]
    assert [path.name for path in sorted((tmp_path / "run/states").iterdir())] == [
        "step_000000040.pt",
        "step_000000060.pt",
    ]
    again = evaluate(load_model(tmp_path / "run/best.safetensors"), sample_crops(), 2)
    assert again.psnr == pytest.approx(result.best, abs=1e-6)
    metadata = read_checkpoint(tmp_path / "run/best.safetensors").training
    assert (metadata["step"], metadata["recipe"]["lr"], metadata["images"]) == (60, 2e-3, 4)
    assert plot([tmp_path / "run"], tmp_path / "curve.png").stat().st_size > 10_000
    with pytest.raises(TrainingError, match="--resume"):
        train("quick", tmp_path / "run")


def sample_crops():
    from dataclasses import replace

    return replace(open_dataset("sample", 2), crop=192)


def losses(folder):
    return [line["loss"] for line in read_log(Path(folder) / "log.jsonl") if line["kind"] == "report"]


def interrupted_at(step):
    """Return a callback that raises KeyboardInterrupt at the report of a step."""

    class Interruption(Recorder):
        def __init__(self):
            super().__init__()
            self.on_report = self.interrupt

        def interrupt(self, report):
            if report.step == step:
                raise KeyboardInterrupt

    return Interruption()


@pytest.mark.parametrize("options", [{}, {"precision": "bf16"}, {"optimizer": "muon"}])
def test_train_resume_bit_exact(tmp_path, options):
    recipe = Recipe(**TINY).with_overrides({"steps": 8, "save_every": 3, "clip": 1.0, **options})
    train(recipe, tmp_path / "whole")

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "parts", callback=interrupted_at(5))
    train(recipe, tmp_path / "parts", resume=True)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    ends = [torch.load(tmp_path / name / "states/step_000000008.pt") for name in ("whole", "parts")]
    for part in ("model", "ema"):
        assert all(torch.equal(ends[0][part][key], ends[1][part][key]) for key in ends[0][part])


def test_train_accumulate(tmp_path):
    recipe = Recipe(**TINY).with_overrides({"batch": 4})
    train(recipe, tmp_path / "whole")
    train(recipe, tmp_path / "parts", accumulate=4)
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"grad_checkpointing": True},
        {"loss": "charbonnier"},
        {"loss": "l1_fft"},
        {"precision": "bf16"},
        {"precision": "fp16", "clip": 1.0},
        {"crops": "textured", "schedule": "wsd"},
    ],
)
def test_train_options(tmp_path, options):
    result = train(Recipe(**TINY), tmp_path / "run", **options)
    assert result.step == 4
    assert all(math.isfinite(loss) for loss in losses(tmp_path / "run"))


def test_train_minutes_budget(tmp_path):
    result = train(Recipe(**TINY), tmp_path / "run", minutes=0.05, schedule="cosine")
    assert 3 <= result.seconds < 30
    assert read_log(tmp_path / "run/log.jsonl")[-1]["progress"] >= 1


def test_train_diverged_keeps_last_state(tmp_path):
    recipe = Recipe(**TINY).with_overrides({"steps": 50, "save_every": 1, "log_every": 1})
    train(recipe, tmp_path / "run", steps=2)
    with pytest.raises(TrainingError, match=r"at step \d+; .*states.*--resume"):
        train(recipe, tmp_path / "run", resume=True, steps=50, lr=1e30)
    state = torch.load(sorted((tmp_path / "run/states").iterdir())[-1])
    assert all(tensor.isfinite().all() for tensor in state["model"].values())
    assert train(recipe, tmp_path / "run", resume=True, lr=1e-4, steps=state["step"] + 2).step == state["step"] + 2


def test_train_failed_validation(tmp_path, photos):
    callback = Recorder()
    train(Recipe(**TINY), tmp_path / "run", callback=callback, valid="urban100")
    assert any("lamnet data fetch urban100" in message for message in callback.messages)
    for file in photos.rglob("*.png"):
        file.write_bytes(b"")
    train(Recipe(**TINY), tmp_path / "other", callback=callback, valid=str(photos))
    assert any("validation failed" in message for message in callback.messages)
    assert not (tmp_path / "other/best.safetensors").exists()


def test_train_names_all_sources(tmp_path, photos):
    callback = Recorder()
    train(Recipe(**TINY), tmp_path / "run", callback=callback, data=["sample", str(photos)])
    reading = next(message for message in callback.messages if message.startswith("reading"))
    assert reading.endswith(f" images from sample, {photos}")


def test_train_resume_other_images(tmp_path, photos):
    train(Recipe(**TINY), tmp_path / "run")
    with pytest.raises(TrainingError, match="data and targets must be"):
        train(output=tmp_path / "run", resume=True, steps=9, data=[str(photos)])


def test_train_resume_damaged_state(tmp_path):
    recipe = Recipe(**TINY).with_overrides({"save_every": 1})
    train(recipe, tmp_path / "run")
    (tmp_path / "run/states/step_000000004.pt").write_bytes(b"damaged")
    callback = Recorder()
    assert train(recipe, tmp_path / "run", resume=True, callback=callback).step == 4
    assert "resumed at step 3" in callback.messages
    for path in (tmp_path / "run/states").iterdir():
        path.write_bytes(b"")
    with pytest.raises(TrainingError, match="2 states"):
        train(recipe, tmp_path / "run", resume=True)


def test_save_state_keeps_new_state_beside_damaged_later_one(tmp_path):
    folder = tmp_path / "states"
    for step in (2, 4):
        save_state(folder, step, {}, keep=2)
    (folder / "step_000000004.pt").write_bytes(b"damaged")
    save_state(folder, 3, {}, keep=1)
    assert load_state(folder)["step"] == 3


def test_train_stopped_in_last_step_is_validated_after_resume(tmp_path):
    recipe, callback = Recipe(**TINY, holdout=1), Recorder()
    callback.on_report = lambda report: report.step == 3 and signal.raise_signal(signal.SIGTERM)
    stopped = train(recipe, tmp_path, callback=callback)
    assert (stopped.step, stopped.best, stopped.stopped_by) == (4, None, signal.SIGTERM)
    for _ in range(2):  # the second time, it has been validated
        assert train(output=tmp_path, resume=True, callback=callback).best is not None
    assert [validation.step for validation in callback.validations] == [4]


def test_train_precision_independent_of_launcher(tmp_path, monkeypatch):
    train(Recipe(**TINY), tmp_path / "first")
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")  # by accelerate launch
    train(Recipe(**TINY), tmp_path / "second")
    assert losses(tmp_path / "first") == losses(tmp_path / "second")


def test_log_truncates_to_step(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"kind": "report", "step": step}) + "\n" for step in (1, 2, 3)) + '{"ki')
    Log(path, step=2)
    assert [line["step"] for line in read_log(path)] == [1, 2]


def test_plot_empty_run(tmp_path):
    with pytest.raises(TrainingError, match=r"log\.jsonl"):
        plot([tmp_path], tmp_path / "x.png")
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(TrainingError, match=r"log\.jsonl"):
        plot([tmp_path], tmp_path / "x.png")
    with pytest.raises(ValueError, match="over"):
        plot([tmp_path], tmp_path / "x.png", over="days")


@pytest.mark.slow
def test_release_checkpoint_and_card(tmp_path, photos):
    recipe = load_recipe("quick").with_overrides(
        {"model_args": {}, "steps": 2, "batch": 1, "patch": 8, "data": [str(photos)], "holdout": 2, "valid": None}
    )
    recipe = recipe.with_overrides({"valid_crop": 32, "degradation": "photo", "valid_degrade": "jpeg=80"})
    train(recipe, tmp_path / "first")
    train(recipe, tmp_path / "second", model="lamnet_x3", init_from=str(tmp_path / "first/best.safetensors"))
    made = release(tmp_path / "second", "try_v1", tmp_path, about_data="noise, free for all", data_dir=tmp_path)
    assert made.weights.name == "lamnet_x3.try_v1.safetensors"
    assert made.half
    assert read_checkpoint(made.weights).state["conv_first.weight"].dtype == torch.float16
    text = made.card.read_text()
    assert "noise, free for all; 4 " in text
    assert "40% bicubic ×3 by `imresize`" in text
    assert "(held-out, jpeg=80)" in text
    assert "| LR pixels seen | 0.0 M + 0.0 M: 0.0 M in all |" in text
    assert "part 2 | lamnet_x3 (681 of 683 tensors from best.safetensors; random: upsample)" in text
    assert "Recipe of the last part, without `init_from`, for `lamnet train" in text
    assert str(tmp_path) not in text
    assert str(tmp_path).encode() not in made.weights.read_bytes()
    sample = next(score for score in made.scores if score.dataset == "sample" and score.model != "bicubic")
    assert f"{sample.psnr:.2f} / {sample.ssim:.4f}" in text
    assert "| `lamnet eval lamnet_x3.try_v1 -d sample --degrade jpeg=80` |" in text
    assert [score.degradations for score in made.scores] == ["jpeg=80", "", "", "jpeg=80", "jpeg=80"]
    assert evaluate(made.weights, "sample").psnr == sample.psnr
    assert read_checkpoint(made.weights).training["scores"] == {"sample": [sample.psnr, sample.ssim]}
    with pytest.raises(TrainingError, match=r"best\.safetensors"):
        release(tmp_path, "x", tmp_path, about_data="")
    train(Recipe(**TINY), tmp_path / "narrow", valid="sample")
    with pytest.raises(TrainingError, match="narrow"):
        release(tmp_path / "narrow", "x", tmp_path, about_data="")


@pytest.mark.parametrize("name", packaged_weights())
def test_card_recipe_names_no_files(tmp_path, name):
    text = (WEIGHTS / f"{name}.md").read_text()
    (tmp_path / "recipe.yaml").write_text(text.partition("```yaml\n")[2].partition("```")[0])
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert (recipe.init_from, recipe.decay_from, recipe.targets) == (None, None, None)


@pytest.mark.parametrize("budget", [{"steps": 100}, {"minutes": 10}, {"pixels": 1e6}])
def test_learning_rate_wsd_per_budget(budget):
    recipe = Recipe(lr=1.0, schedule="wsd", warmup=10, decay=0.2, **budget)
    rates = [learning_rate(recipe, step, step / 100) for step in (0, 4, 9, 50, 80, 90, 95, 100)]
    assert rates == pytest.approx([0.1, 0.5, 1, 1, 1, 0.5, 0.25, 0])


@pytest.mark.parametrize(("budget", "expected"), [({"steps": 8}, 0.5), ({"minutes": 2}, 0.25), ({"pixels": 4e3}, 0.1)])
def test_budget_progress_per_budget(budget, expected):
    assert budget_progress(Recipe(schedule="wsd", **budget), 4, 400, 30.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("overrides", "argument"),
    [
        ({"steps": 4, "pixels": 1e6}, "steps, minutes, pixels"),
        ({"pixels": 1e6, "schedule": "multistep"}, "schedule"),
        ({"pixels": 0}, "pixels"),
        ({"minutes": 0, "schedule": "wsd"}, "minutes"),
        ({"decay": 0}, "decay"),
        ({"decay": 1.5}, "decay"),
        ({"crops": "smooth"}, "crops"),
        ({"target_weight": 2}, "target_weight"),
    ],
)
def test_recipe_invalid_field(overrides, argument):
    with pytest.raises(TrainingError, match=argument):
        Recipe(steps=4).with_overrides(overrides)


def test_train_pixels_budget(tmp_path):
    callback = Recorder()
    train(Recipe(**TINY), tmp_path / "run", callback=callback, pixels=6 * 2 * 8**2, schedule="wsd", decay=0.5)
    assert [report.pixels for report in callback.reports] == [128 * step for step in range(1, 7)]
    assert [report.progress for report in callback.reports] == pytest.approx([step / 6 for step in range(1, 7)])
    assert [report.lr for report in callback.reports] == pytest.approx([1e-3, 1e-3, 1e-3, 1e-3, 2e-3 / 3, 1e-3 / 3])
    assert callback.reports[-1].seconds_left == 0
    assert all(report.pixels_per_second > 0 for report in callback.reports)
    assert read_log(tmp_path / "run/log.jsonl")[-1]["pixels"] == 6 * 128
    assert read_checkpoint(tmp_path / "run/last.safetensors").training["pixels"] == 6 * 128


def test_train_resume_without_recorded_pixels(tmp_path):
    train(Recipe(**TINY), tmp_path / "run", steps=2, valid="sample")
    path = tmp_path / "run/states/step_000000002.pt"
    state = torch.load(path)
    for key in ("pixels", "start", "hardware"):
        del state[key]
    state["optimizer"]["param_groups"][0]["fused"] = None
    torch.save(state, path)
    log = tmp_path / "run/log.jsonl"
    lines = [{key: value for key, value in line.items() if "pixels" not in key} for line in read_log(log)]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    train(output=tmp_path / "run", resume=True, steps=4)
    assert [line.get("pixels") for line in read_log(log) if line["kind"] == "report"] == [None, None, 384, 512]
    plot([tmp_path / "run"], tmp_path / "curve.png", over="pixels")


@pytest.mark.parametrize("changed", ["seed", "step"])
def test_sample_textured_patches_depends_on_seed_step_and_index(photos, changed):
    store = open_store(training_data([str(photos)], 2)[0], 8)
    whole = sample_textured_patches(store, 8, range(64), seed=1, step=7)
    parts = [
        sample_textured_patches(store, 8, range(start, stop), 1, 7)
        for start, stop in ((0, 1), (1, 2), (2, 23), (23, 64))
    ]
    other = sample_textured_patches(store, 8, range(64), **{"seed": 1, "step": 7, changed: 3})
    for field in ("image", "top", "left", "transform"):
        values = getattr(whole, field)
        assert np.array_equal(np.concatenate([getattr(part, field) for part in parts]), values)
        assert not np.array_equal(getattr(other, field), values)


def test_sample_textured_patches_most_textured(tmp_path):
    left = np.full((64, 64, 3), 128, np.uint8)
    right = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(np.concatenate([left, right], axis=1)).save(tmp_path / "half.png")
    store = open_store(training_data([str(tmp_path)], 2)[0], 8)
    count, step = 4000, 3
    samples = sample_textured_patches(store, 8, range(count), seed=0, step=step)
    uniform = sample_patches(store.sizes, 8, count, seed=0, step=step)
    kept = (step + np.arange(count)) % 4 == 0
    for field in ("image", "top", "left", "transform"):
        assert np.array_equal(getattr(samples, field)[kept], getattr(uniform, field)[kept])
    flat = 22 / 57  # of the positions in the flat half, with a margin for the ringing of the LR image
    assert (uniform.left < 22).mean() == pytest.approx(flat, abs=0.03)
    assert (samples.left[~kept] < 22).mean() == pytest.approx(flat**4, abs=0.01)


def write_targets(photos, folder, scale=2):
    """Write a target for every image: its HR image, inverted."""
    store = open_store(training_data([str(photos)], scale)[0], 8)
    for index, (name, (height, width)) in enumerate(zip(store.names, store.sizes * scale, strict=True)):
        first = store.starts[index] * scale**2
        pixels = 255 - store.hr[first : first + height * width].view(height, width, 3).numpy()
        path = (folder / name).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


def test_extract_targets_aligned_with_hr(tmp_path, photos):
    Image.new("RGB", (30, 10)).save(photos / "flat.png")  # too small for a patch: needs no target
    dataset, _ = training_data([str(photos)], 2)
    store = open_store(dataset, 8, targets=write_targets(photos, tmp_path / "targets"))
    assert store.digest != open_store(dataset, 8).digest
    samples = sample_patches(store.sizes, 8, 32, seed=0, step=0)
    large = extract_patches(store, samples, 8)[1]
    assert torch.equal((extract_targets(store, samples, 8) * 255).round(), 255 - (large * 255).round())
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "targets/0.png")
    assert open_store(dataset, 8, targets=tmp_path / "targets").digest != store.digest


def test_open_store_invalid_targets(tmp_path, photos):
    dataset, _ = training_data([str(photos)], 2)
    targets = write_targets(photos, tmp_path / "targets")
    Image.new("RGB", (7, 5)).save(targets / "0.png")
    with pytest.raises(TrainingError, match=r"1 of 6.* 0\.png .*7×5"):
        open_store(dataset, 8, targets=targets)
    (targets / "0.png").unlink()
    (targets / "below/3.png").unlink()
    with pytest.raises(TrainingError, match=r"2 of 6 .*targets: 0\.png, below/3\.png"):
        open_store(dataset, 8, targets=targets)
    with pytest.raises(TrainingError, match="nowhere"):
        open_store(dataset, 8, targets=tmp_path / "nowhere")


def test_open_store_shared_target(tmp_path, photos):
    Image.new("RGB", (40, 40)).save(photos / "0.bmp")
    dataset, _ = training_data([str(photos)], 2)
    with pytest.raises(TrainingError, match=r"0\.bmp"):
        open_store(dataset, 8, targets=photos)


def test_train_target_weight(tmp_path, photos):
    targets = str(write_targets(photos, tmp_path / "targets"))
    recipe = Recipe(**TINY).with_overrides({"data": [str(photos)], "steps": 1})

    def first_loss(name, **overrides):
        train(recipe, tmp_path / name, **overrides)
        return losses(tmp_path / name)[0]

    hr, teacher, both = (
        first_loss(name, **overrides)
        for name, overrides in (
            ("hr", {}),
            ("teacher", {"targets": targets, "target_weight": 1.0}),
            ("both", {"targets": targets, "target_weight": 0.25}),
        )
    )
    assert both == pytest.approx(0.75 * hr + 0.25 * teacher, rel=1e-5)
    assert teacher != pytest.approx(hr, rel=1e-3)


def test_create_optimizer_fused():
    torch.manual_seed(0)
    networks = [create_model("lamnet_x2", num_blocks=1, depth=1, embed_dim=16, num_heads=1) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    optimizers = [create_optimizer(networks[0], Recipe(steps=1)), torch.optim.Adam(networks[1].parameters(), 1e-3)]
    assert optimizers[0].param_groups[0]["fused"]
    optimizers[1].param_groups[0]["betas"] = (0.9, 0.99)
    for _ in range(3):
        x = torch.rand(1, 3, 9, 9)
        for network, optimizer in zip(networks, optimizers, strict=True):
            optimizer.zero_grad()
            network(x).square().mean().backward()
            optimizer.step()
    for actual, expected in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-5)


def test_create_optimizer_muon():
    network = create_model("lamnet_x2", num_blocks=1, depth=1, embed_dim=16, num_heads=1)
    optimizer = create_optimizer(network, Recipe(steps=1, optimizer="muon"))
    network(torch.rand(1, 3, 9, 9)).square().mean().backward()
    optimizer.step()
    for parameter in network.parameters():
        is_matrix = parameter.ndim == 4 and parameter.shape[1] > 1
        assert ("momentum_buffer" in optimizer.state[parameter]) == is_matrix


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"optimizer": "muon"}, r"optimizer must be .*adam"),
        ({"model": "lamnet_x3"}, r"model must be .*lamnet_x2"),
        ({"model_args": {"embed_dim": 16}}, r"model_args must be .*'embed_dim': 8"),
        ({"init_from": "lamnet_x2"}, r"init_from must be .*None"),
    ],
)
def test_train_resume_fixed_field(tmp_path, overrides, message):
    train(Recipe(**TINY), tmp_path / "run")
    with pytest.raises(TrainingError, match=message):
        train(Recipe(**TINY), tmp_path / "run", resume=True, **overrides)


def test_check_fixed_fields_state_without_optimizer(tmp_path):
    check_fixed_fields({"recipe": {}}, Recipe(**TINY), tmp_path)
    with pytest.raises(TrainingError, match=r"optimizer must be .*adam"):
        check_fixed_fields({}, Recipe(**TINY, optimizer="muon"), tmp_path)


def test_train_resume_other_precision_and_betas(tmp_path):
    train(Recipe(**TINY), tmp_path / "run")
    trainer = Trainer(Recipe(**TINY, precision="fp16", betas=(0.5, 0.6)), tmp_path / "run", NullCallback())
    assert trainer.scaler.is_enabled() or not torch.cuda.is_available()
    assert trainer.optimizer.param_groups[0]["betas"] == (0.5, 0.6)


def test_train_resume_other_validation_set(tmp_path, photos):
    train(Recipe(**TINY), tmp_path / "run", valid="sample")  # noise has a lower PSNR
    callback = Recorder()
    result = train(output=tmp_path / "run", resume=True, callback=callback, steps=6, valid=str(photos), valid_crop=32)
    assert [validation.best for validation in callback.validations] == [True]
    assert result.best == callback.validations[0].psnr
    training = read_checkpoint(tmp_path / "run/best.safetensors").training
    assert (training["psnr"], training["dataset"]) == (result.best, "photos")


def test_train_best_weights_not_saved(tmp_path, monkeypatch):
    def save(model, path, **options):
        if path.name == "best.safetensors" and not failed:
            failed.append(path)
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save_checkpoint(model, path, **options)

    failed: list[Path] = []
    monkeypatch.setattr("lamnet_models.training.trainer.save_checkpoint", save)
    callback = Recorder()
    result = train(Recipe(**TINY), tmp_path / "run", callback=callback, valid="sample", valid_every=2)
    assert any("best weights were not saved" in message for message in callback.messages)
    assert [validation.best for validation in callback.validations] == [True, True]
    assert read_checkpoint(tmp_path / "run/best.safetensors").training["psnr"] == result.best


def test_validation_set_of_recipe(photos):
    _, held_out = training_data([str(photos)], 2, holdout=1)
    assert validation_set(Recipe(steps=1), 2, held_out).name == "held-out"
    assert validation_set(Recipe(steps=1, valid="sample"), 2, held_out).name == "sample"
    assert validation_set(Recipe(steps=1), 2, None) is None


def test_load_optimizer_state_strides():
    torch.manual_seed(0)
    gradient, ends = torch.randn(4, 5, 3, 3), []
    for order in (torch.contiguous_format, torch.channels_last):
        layer = torch.nn.Conv2d(5, 4, 3, bias=False)
        layer.weight.data.zero_()
        optimizer = create_optimizer(layer, Recipe(steps=1))
        for _ in range(2):
            layer.weight.grad = gradient.clone()
            optimizer.step()
            state = optimizer.state_dict()
            for key in ("exp_avg", "exp_avg_sq"):
                state["state"][0][key] = state["state"][0][key].contiguous(memory_format=order)
            load_optimizer_state(optimizer, state)
        ends.append(layer.weight.detach())
    assert torch.equal(*ends)


TRUNK = {**TINY, "steps": 20, "schedule": "wsd", "decay": 0.1, "save_every": 3, "crops": "textured", "clip": 1.0}


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    """A run of 20 steps that stopped at step 6, with states of steps 3 and 6."""
    folder = tmp_path_factory.mktemp("trunk") / "trunk"
    train(Recipe(**TRUNK), folder, steps=6, schedule="constant")
    return folder


def test_decay_branch_continues_trunk(tmp_path, trunk):
    before = {path: path.read_bytes() for path in trunk.rglob("*") if path.is_file()}
    callback = Recorder()
    result = train(output=tmp_path / "branch", decay_from=trunk, callback=callback, steps=4, valid="sample")
    assert result.step == 10
    assert [report.step for report in callback.reports] == [7, 8, 9, 10]
    assert [report.lr for report in callback.reports] == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4])
    assert [report.progress for report in callback.reports] == [0.25, 0.5, 0.75, 1]
    assert [report.pixels for report in callback.reports] == [128 * step for step in (7, 8, 9, 10)]
    # The first step is at the trunk's learning rate, so its loss is also the next one of the trunk.
    longer = tmp_path / "longer"
    shutil.copytree(trunk, longer)
    train(output=longer, resume=True, steps=8)
    assert losses(tmp_path / "branch")[:2] == losses(longer)[6:8]
    assert {path: path.read_bytes() for path in trunk.rglob("*") if path.is_file()} == before
    metadata = read_checkpoint(tmp_path / "branch/best.safetensors").training
    assert (metadata["step"], metadata["pixels"]) == (4, 4 * 128)
    assert (metadata["before"]["step"], metadata["before"]["pixels"]) == (6, 6 * 128)


def test_decay_branch_resume_bit_exact(tmp_path, trunk):
    train(output=tmp_path / "whole", decay_from=trunk, pixels=5 * 128, save_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(output=tmp_path / "parts", decay_from=trunk, callback=interrupted_at(9), pixels=5 * 128, save_every=1)
    train(output=tmp_path / "parts", resume=True)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    ends = [torch.load(tmp_path / name / "states/step_000000011.pt") for name in ("whole", "parts")]
    for part in ("model", "ema"):
        assert all(torch.equal(ends[0][part][key], ends[1][part][key]) for key in ends[0][part])


def test_decay_branch_of_decaying_trunk(tmp_path, trunk):
    train(output=tmp_path / "first", decay_from=trunk, steps=4, save_every=2)
    (tmp_path / "first/states/step_000000010.pt").unlink()  # leaves step 8, whose learning rate was 7.5e-4
    callback = Recorder()
    train(output=tmp_path / "second", decay_from=tmp_path / "first", callback=callback, steps=3)
    assert [report.lr for report in callback.reports] == pytest.approx([7.5e-4, 5e-4, 2.5e-4])
    assert [report.step for report in callback.reports] == [9, 10, 11]


def test_decay_branch_killed_before_recipe_saved(tmp_path, trunk):
    train(output=tmp_path / "whole", decay_from=trunk, steps=2)
    train(output=tmp_path / "parts", decay_from=trunk, steps=2, save_every=0, keep=3)
    for path in [*(tmp_path / "parts").glob("*.*"), tmp_path / "parts/states/step_000000008.pt"]:
        path.unlink()
    train(output=tmp_path / "parts", decay_from=trunk, steps=2)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


@pytest.mark.parametrize(
    ("overrides", "argument"),
    [
        ({}, "budget"),
        ({"steps": 2, "lr": 1e-4}, "lr"),
        ({"steps": 2, "optimizer": "muon"}, "optimizer"),
        ({"steps": 2, "data": ["PHOTOS"]}, "data and targets must be"),
    ],
)
def test_decay_branch_invalid_overrides(tmp_path, trunk, photos, overrides, argument):
    if "data" in overrides:
        overrides = {**overrides, "data": [str(photos)]}
    with pytest.raises(TrainingError, match=argument):
        train(output=tmp_path / "branch", decay_from=trunk, **overrides)
    assert not (tmp_path / "branch").exists()


def test_decay_branch_invalid_folder(tmp_path, trunk):
    with pytest.raises(TrainingError, match=r"decay_from.*recipe"):
        train(output=tmp_path / "branch", decay_from=tmp_path, steps=2)
    (tmp_path / "empty").mkdir()
    shutil.copy(trunk / "recipe.yaml", tmp_path / "empty")
    with pytest.raises(TrainingError, match=r"decay_from.*state"):
        train(output=tmp_path / "branch", decay_from=tmp_path / "empty", steps=2)
    assert not (tmp_path / "branch").exists()
    with pytest.raises(TrainingError, match=r"trunk.*--resume"):
        train(output=trunk, decay_from=trunk, steps=2)
    shutil.copytree(trunk / "states", tmp_path / "used/states")
    with pytest.raises(TrainingError, match="used/states"):
        train(output=tmp_path / "used", decay_from=trunk, steps=2)
    with pytest.raises(TrainingError, match="decay_from"):
        train(output=trunk, decay_from=tmp_path, resume=True)


def test_load_state_deleted_while_reading(tmp_path, monkeypatch, trunk):
    states = tmp_path / "states"
    shutil.copytree(trunk / "states", states)
    read = torch.load

    def deleted_before_read(path, **options):
        monkeypatch.setattr(torch, "load", read)
        path.rename(states / "step_000000009.pt")
        return read(path, **options)

    monkeypatch.setattr(torch, "load", deleted_before_read)
    assert load_state(states)["step"] == 6
    assert not (states / "step_000000006.pt").exists()


def test_train_reports_at_most_whole_budget(tmp_path):
    callback = Recorder()
    train(Recipe(**TINY | {"steps": None, "minutes": 1e-6, "schedule": "wsd"}), tmp_path, callback=callback)
    assert [(report.progress, report.seconds_left) for report in callback.reports] == [(1, 0)]


def test_stages_resumed_with_other_settings(tmp_path):
    run = tmp_path / "run"
    for changes in ({"steps": 2}, {"batch": 4, "steps": 3}, {"steps": 5, "log_every": 7}, {"lr": 5e-4, "steps": 6}):
        train(Recipe(**TINY), run, resume=True, **changes)
    train(decay_from=run, output=tmp_path / "branch", steps=1)
    train(output=tmp_path / "branch", resume=True, batch=8, steps=3)
    parts = stages(read_checkpoint(tmp_path / "branch/last.safetensors").training)
    assert [part["step"] for part in parts] == [2, 3, 1, 1, 2]
    assert [part["recipe"]["batch"] for part in parts] == [2, 4, 4, 4, 8]
    assert [stage_pixels(part) for part in parts] == [2 * 128, 3 * 256, 256, 256, 2 * 512]
    assert [part["recipe"]["lr"] for part in parts[:3]] == [1e-3, 1e-3, 5e-4]
    assert ["from scratch" in stage_summary(part) for part in parts] == [True] + [False] * 4
    for part, text in zip(parts[1:], ("step 2 with batch=4", "step 5 with lr=", "decay from", "batch=8"), strict=True):
        assert text in stage_summary(part)


def test_stages_decay_branch(tmp_path, photos):
    recipe = Recipe(**TINY).with_overrides({"data": [str(photos)], "schedule": "wsd", "decay": 0.5, "save_every": 3})
    targets = {"targets": str(write_targets(photos, tmp_path / "targets")), "target_license": "CC0 1.0"}
    train(recipe, tmp_path / "run", **targets)
    (tmp_path / "run/states/step_000000004.pt").unlink()
    train(output=tmp_path / "branch", decay_from=tmp_path / "run", steps=2)
    assert load_recipe(tmp_path / "branch/recipe.yaml").target_weight == 0.5
    parts = stages(read_checkpoint(tmp_path / "branch/last.safetensors").training)
    assert [stage_pixels(part) for part in parts] == [3 * 128, 2 * 128]
    assert target_summaries(parts) == [f"teacher outputs `{targets['targets']}`; license: CC0 1.0"]
    assert "decay from step 3 of run" in stage_summary(parts[1])


def test_pixel_summary_without_recorded_pixels():
    recipe = {"batch": 8, "patch": 50}
    parts = [{"recipe": recipe, "step": 1000}, {"recipe": recipe, "step": 9, "pixels": 3_000_000}]
    assert pixel_summary(parts[:1]) == "20.0 M in all"
    assert pixel_summary(parts) == "20.0 M + 3.0 M: 23.0 M in all"
    assert "unknown" in pixel_summary([{**parts[0], "taken": "705 of 707 tensors"}])
