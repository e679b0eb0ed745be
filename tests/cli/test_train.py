import os
import signal

import pytest
import torch
from lamnet_cli import train

from lamnet_models.training.trainer import Trainer

TINY = (
    "model_args={embed_dim: 8, num_blocks: 1, depth: 1, num_heads: 1}",
    "steps=4",
    "batch=2",
    "patch=8",
    "log_every=2",
)


def test_train_eval_plot(lamnet, tmp_path):
    run = tmp_path / "run"
    code, out, err = lamnet("train", "quick", *TINY, "-o", run, "--tensorboard")
    assert code == 0
    assert "4 steps" in out
    assert [line for line in err.splitlines() if line.startswith("lamnet: step 4  loss")]
    assert list((run / "tensorboard").iterdir())
    assert lamnet("eval", run / "best.safetensors", "-d", "sample", "--limit", "1")[0] == 0
    assert lamnet("plot", run, "-o", tmp_path / "curve.svg")[0] == 0
    assert lamnet("plot", run, "--over", "pixels", "-o", tmp_path / "pixels.svg")[0] == 0
    code, _, err = lamnet("train", *TINY, "-o", run)
    assert (code, len(err.splitlines())) == (1, 1)
    assert "--resume" in err
    assert lamnet("train", "--resume", "steps=5", "-o", run)[0] == 0


def test_train_names_weights_without_validation(lamnet, tmp_path):
    code, out, _ = lamnet("train", "quick", *TINY, "valid=null", "-o", tmp_path / "run")
    assert (code, out.rpartition(" ")[2]) == (0, "last.safetensors\n")


@pytest.mark.parametrize(
    ("arguments", "code", "match"),
    [
        (("papr_x2",), 2, "did you mean paper_x2?"),
        (("quick", "lr"), 2, "FIELD=VALUE"),
        (("quick", "lrr=1"), 2, "did you mean lr?"),
        (("quick", "lr=fast"), 2, "lr must be"),
        (("paper_x2",), 1, "--data"),
        (("quick", "--data", "nowhere"), 1, "nowhere"),
        (("quick", "--init-from", "nothing.pth"), 1, "nothing"),
        (("quick", "model=lamnet_x9"), 2, "lamnet_x9"),
        (("quick", "holdout=9"), 1, "set holdout=1"),
        (("quick", "targets=nowhere"), 1, "nowhere"),
        (("quick", "steps=4", "pixels=1e6"), 2, "steps, minutes, pixels"),
        (("--decay-from", "nowhere", "steps=4"), 1, "nowhere"),
        (("--decay-from", "nowhere", "steps=four"), 2, "steps"),
        (("--decay-from", "nowhere"), 1, "budget"),
        (("budget", "--decay-from", "nowhere", "steps=4"), 2, "--decay-from"),
    ],
)
def test_train_wrong_usage(lamnet, tmp_path, arguments, code, match):
    result, out, err = lamnet("train", *arguments, "-o", tmp_path / "run")
    assert (result, out) == (code, "")
    assert err.splitlines()[-1].startswith("lamnet: error: ")
    assert match in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_train_signals(lamnet, tmp_path, monkeypatch, number, code):
    """In this process; test_training_processes sends signals to other processes."""

    def on_report(self, report):
        if report.step in signals:
            signal.raise_signal(signals[report.step])

    signals = {2: signal.SIGUSR1, 4: number}
    monkeypatch.setattr(train._PlainProgress, "on_report", on_report)
    settings = (*TINY[:1], *TINY[2:4], "log_every=1", "steps=100", "valid_every=0", "save_every=0", "save_minutes=0")
    result, out, err = lamnet("train", "quick", *settings, "-o", tmp_path / "run")
    assert (result, out) == (code, "")
    assert err.count("state saved") == 1
    assert "lamnet train --resume -o" in err.splitlines()[-1]
    states = sorted((tmp_path / "run" / "states").glob("step_*.pt"))
    assert [torch.load(state)["step"] for state in states] == [3, 5]  # after the next step


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_train_signal_during_exchange_saves(lamnet, tmp_path, monkeypatch):
    synchronize = Trainer._synchronize

    def late(self, signals):
        result = synchronize(self, signals)
        if self.step == 2:
            signal.raise_signal(signal.SIGTERM)  # too late for this step
        return result

    monkeypatch.setattr(Trainer, "_synchronize", late)
    settings = (*TINY[:1], *TINY[2:], "steps=100", "valid_every=0", "save_every=0", "save_minutes=0")
    assert lamnet("train", "quick", *settings, "-o", tmp_path / "run")[0] == 143
    (state,) = (tmp_path / "run" / "states").glob("step_*.pt")
    assert torch.load(state)["step"] == 3


def test_train_processes_under_launcher(lamnet, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = lamnet("train", "quick", "--processes", "2", "-o", tmp_path / "run")
    assert code == 2
    assert "--processes" in err
    assert lamnet("train", "quick", "--processes", "0", "-o", tmp_path / "run")[0] == 2


def test_release_and_plot_wrong_usage(lamnet, tmp_path):
    for arguments in (
        ("release", tmp_path, "--tag", "v1", "--about-data", "x", "-o", tmp_path),
        ("plot", tmp_path, "-o", tmp_path / "x.png"),
    ):
        code, _, err = lamnet(*arguments)
        assert (code, len(err.splitlines())) == (1, 1)
    assert lamnet("release", tmp_path, "--tag", "a/b", "--about-data", "x")[0] == 2
    assert lamnet("plot", tmp_path, "-o", tmp_path / "x.gif")[0] == 2


def test_train_decay_from(lamnet, tmp_path):
    run, branch = tmp_path / "run", tmp_path / "branch"
    assert lamnet("train", *TINY, "-o", run)[0] == 0
    code, out, err = lamnet("train", "--decay-from", run, "steps=2", "-o", branch)
    assert code == 0
    assert out.startswith(f"{branch}: 6 steps")
    assert "  768 pixels  " in err
    code, _, err = lamnet("train", "--decay-from", run, "steps=2")
    assert (code, "-o" in err) == (2, True)
