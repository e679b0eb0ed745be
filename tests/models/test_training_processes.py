"""What happens to processes: killed, asked to stop, several at once, on a full disk."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lamnet_models.training.events import read_log

NARROW = "model_args={channels: 8, num_blocks: 1, depth: 1, heads: 1}"
SHORT = ["batch=4", "patch=8", "log_every=1", "valid_every=0", "valid_crop=32", "data=[sample]"]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}


def start(folder, *settings, launcher=(), resume=False, decay_from=None):
    command = [sys.executable, *launcher, "-m", "lamnet_cli", "train", "quick", *SHORT, *settings, "-o", str(folder)]
    command += [] if decay_from is None else ["--decay-from", str(decay_from)]
    return subprocess.Popen(
        command + ["--resume"] * resume,
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, code=0):
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    return out, err


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.005)


def losses(folder):
    log = Path(folder) / "log.jsonl"
    return [line["loss"] for line in read_log(log) if line["kind"] == "report"] if log.exists() else []


def test_two_processes_make_the_steps_of_one(tmp_path):
    """Twice B patches each are 1 × 2B: the same patches, gradients averaged."""
    one = start(tmp_path / "one", NARROW, "steps=6")
    finish(one)
    torchrun = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port", str(random.randint(20000, 60000)))
    two = start(tmp_path / "two", NARROW, "steps=6", launcher=torchrun)
    finish(two)
    assert len(losses(tmp_path / "one")) == 6
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    finish(start(tmp_path / "one", "steps=8", launcher=torchrun, resume=True))
    finish(start(tmp_path / "two", "steps=8", resume=True))  # each by the other's number of processes
    assert len(losses(tmp_path / "one")) == 8
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


def test_killed_at_random_moments_lamnet_x2_goes_on_to_the_last_bit(tmp_path):
    settings = ("model_args={}", "steps=14", "batch=1", "save_every=1", "keep=2")
    finish(start(tmp_path / "whole", *settings))
    chance = random.Random(0)
    states = tmp_path / "parts" / "states"
    for kill in range(3):
        process = start(tmp_path / "parts", *settings, resume=True)
        before = len(losses(tmp_path / "parts"))
        wait_for(lambda known=before: len(losses(tmp_path / "parts")) > known, process)
        if kill == 0:  # in the middle of a save
            wait_for(lambda: any(states.glob(".lamnet-*")), process)
        else:
            time.sleep(chance.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finish(start(tmp_path / "parts", *settings, resume=True))
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "whole")) == 14


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_asked_to_stop_it_saves_and_stops_asked_to_save_it_goes_on(tmp_path, number, code):
    process = start(tmp_path / "run", NARROW, "steps=100000", "schedule=constant", "save_every=0", "save_minutes=0")
    wait_for(lambda: len(losses(tmp_path / "run")) > 2, process)
    process.send_signal(signal.SIGUSR1)
    states = tmp_path / "run" / "states"
    wait_for(lambda: any(states.glob("step_*.pt")), process)
    first = {path.name for path in states.glob("step_*.pt")}
    done = len(losses(tmp_path / "run"))
    wait_for(lambda: len(losses(tmp_path / "run")) > done + 2, process)
    process.send_signal(number)
    _, err = finish(process, code)
    assert "state saved; go on with: lamnet train --resume -o" in err.splitlines()[-1]
    assert "Traceback" not in err
    last = max(states.glob("step_*.pt"))
    assert last.name not in first
    assert torch.load(last)["step"] == len(losses(tmp_path / "run"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with room for a few states."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_costs_no_state(small_disk):
    run = small_disk / "run"
    finish(start(run, NARROW, "steps=2", "save_every=1"))
    good = {path.name: path.read_bytes() for path in (run / "states").glob("step_*.pt")}
    filler = small_disk / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    process = start(run, NARROW, "steps=5", "save_every=1", resume=True)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "was not saved" in err or "cannot be written" in err or "No space" in err
    assert "Traceback" not in err
    for name, content in good.items():
        assert (run / "states" / name).read_bytes() == content
    filler.unlink()
    finish(start(run, NARROW, "steps=5", "save_every=1", resume=True))
    assert len(losses(run)) == 5


def test_decay_branch_of_running_trunk_survives_kill(tmp_path):
    trunk = start(tmp_path / "trunk", NARROW, "steps=100000", "schedule=constant", "save_every=1", "keep=1")
    states = tmp_path / "branch" / "states"
    try:
        wait_for(lambda: len(losses(tmp_path / "trunk")) > 2, trunk)
        branch = start(tmp_path / "branch", "steps=20", "save_every=1", "keep=100", decay_from=tmp_path / "trunk")
        wait_for(lambda: len(losses(tmp_path / "branch")) > 3, branch)
        branch.send_signal(signal.SIGKILL)
        branch.communicate()
        finish(start(tmp_path / "branch", resume=True))
        assert trunk.poll() is None
    finally:
        trunk.send_signal(signal.SIGKILL)
        trunk.communicate()
    assert len(losses(tmp_path / "branch")) == 20
    whole = tmp_path / "whole"
    (whole / "states").mkdir(parents=True)
    shutil.copy(tmp_path / "branch" / "recipe.yaml", whole)
    shutil.copy(min(states.glob("step_*.pt")), whole / "states")
    finish(start(whole, resume=True))
    assert losses(whole) == losses(tmp_path / "branch")


def test_two_processes_share_textured_patches_of_branch(tmp_path):
    finish(start(tmp_path / "trunk", NARROW, "steps=2"))
    settings = ("steps=4", "crops=textured")
    finish(start(tmp_path / "one", *settings, decay_from=tmp_path / "trunk"))
    torchrun = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port", str(random.randint(20000, 60000)))
    finish(start(tmp_path / "two", *settings, decay_from=tmp_path / "trunk", launcher=torchrun))
    assert len(losses(tmp_path / "one")) == 4
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
