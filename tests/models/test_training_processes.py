"""Training in subprocesses: several at once, stopped, killed, with a locked folder, on a full disk."""

import contextlib
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from filelock import FileLock
from lamnet_cli.launching import launch

from lamnet_models import TrainingError, train
from lamnet_models.training import processes
from lamnet_models.training.callbacks import NullCallback, read_log
from lamnet_models.training.processes import join_processes
from lamnet_models.training.recipe import parse_settings

NARROW = "model_args={embed_dim: 8, num_blocks: 1, depth: 1, num_heads: 1}"
SHORT = ["batch=4", "patch=8", "log_every=1", "valid_every=0", "valid_crop=32", "data=[sample]"]
# As documented for more processes than GPUs; on a machine without GPUs, users set nothing.
ENVIRONMENT = {"ACCELERATE_USE_CPU": "1"} if torch.cuda.is_available() else {}


def start(folder, *settings, launcher=(), program=("-m", "lamnet_cli"), resume=False, decay_from=None):
    command = [sys.executable, *launcher, *program, "train", "quick", *SHORT, *settings, "-o", str(folder)]
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


def wait_for(condition, process, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.005)


def workers(process, count=2):
    """Worker processes started by ``--processes``, by rank."""
    children = {int(child.environ()["RANK"]): child for child in psutil.Process(process.pid).children()}
    assert len(children) == count
    return children


def assert_gone(processes, seconds=120):
    """Wait until processes have exited; zombies count as exited."""
    deadline = time.monotonic() + seconds
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                assert time.monotonic() < deadline, process
                time.sleep(0.05)


def losses(folder):
    log = Path(folder) / "log.jsonl"
    return [line["loss"] for line in read_log(log) if line["kind"] == "report"] if log.exists() else []


@pytest.fixture
def patched_script(tmp_path):
    """A script that patches a module and runs the command; each process that runs the patch writes a file."""
    script = tmp_path / "patched.py"
    script.write_text(
        "import os, pathlib, lamnet_cli.main, lamnet_models.training.trainer as trainer\n"
        "create = trainer.create_model\n"
        "def create_model(*arguments, **options):\n"
        "    pathlib.Path(__file__).with_name(os.environ['RANK']).touch()\n"
        "    return create(*arguments, **options)\n"
        "trainer.create_model = create_model\n"
        "lamnet_cli.main.main()\n"
    )
    return script


def test_train_two_processes(tmp_path, patched_script):
    """Two processes with B patches each give the losses of one with 2B; a script is run in each process."""
    settings = (NARROW, "steps=300", "schedule=constant", "save_every=0", "save_minutes=0")
    process = start(tmp_path / "two", *settings, "--processes=2", program=(str(patched_script),))
    wait_for(lambda: losses(tmp_path / "two"), process)
    process.send_signal(signal.SIGUSR1)
    out, err = finish(process)
    assert (tmp_path / "0").exists()
    assert (tmp_path / "1").exists()
    assert len(out.splitlines()) == 1
    assert len([line for line in err.splitlines() if "step 300  loss" in line]) == 1
    steps = [torch.load(path)["step"] for path in sorted((tmp_path / "two/states").glob("step_*.pt"))]
    assert len(steps) == 2
    assert steps[0] < steps[1] == len(losses(tmp_path / "two")) == 300
    train("quick", tmp_path / "one", **parse_settings([*SHORT, NARROW, "steps=6", "schedule=constant"]))
    assert losses(tmp_path / "two")[:6] == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


@pytest.mark.slow
def test_train_resume_other_number_of_processes(tmp_path):
    finish(start(tmp_path / "one", NARROW, "steps=6"))
    finish(start(tmp_path / "two", NARROW, "steps=6", "--processes=2"))
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    out, _ = finish(start(tmp_path / "one", "steps=8", launcher=torchrun, resume=True))
    assert len(out.splitlines()) == 1
    finish(start(tmp_path / "two", "steps=8", resume=True))
    assert len(losses(tmp_path / "one")) == 8
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


LAUNCHERS = [
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
]


@pytest.mark.parametrize(("rank", "size"), LAUNCHERS)
def test_join_processes_launcher_variables(monkeypatch, rank, size):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS"):  # restored after the test
        monkeypatch.setenv(name, "1")
        if name != "OMP_NUM_THREADS":
            monkeypatch.delenv(name)
    for name, value in {rank: "1", size: "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)

    def join(*_, **__):
        return SimpleNamespace(process_index=int(os.environ["RANK"]), num_processes=int(os.environ["WORLD_SIZE"]))

    monkeypatch.setattr(processes, "PartialState", join)
    state = join_processes()
    assert (state.process_index, state.num_processes) == (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "size"), [LAUNCHERS[1], LAUNCHERS[-1]])
def test_join_processes_of_launcher(rank, size):
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # on a free port
    code = "from lamnet_models.training.processes import join_processes as join; s = join(); "
    code += "print(s.process_index, s.num_processes, s.device.type, s.backend)"
    environment = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        size: "2",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=os.environ | ENVIRONMENT | environment | {rank: str(index)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    assert [finish(process)[0].split() for process in processes] == [[str(i), "2", "cpu", "gloo"] for i in range(2)]


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        *(({rank: "0", size: "2"}, "MASTER_ADDR") for rank, size in LAUNCHERS),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}, "MASTER_PORT"),
        ({"WORLD_SIZE": "2"}, "RANK"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK"),
        ({"WORLD_SIZE": "two", "RANK": "0"}, "WORLD_SIZE"),
    ],
)
def test_join_processes_invalid_variables(tmp_path, monkeypatch, environment, name):
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(TrainingError, match=rf"^{name} must be"):
        join_processes()
    with pytest.raises(TrainingError, match=name):
        train("quick", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_launch_worker_killed(capfd, rank):
    code = f"import os, time; os.environ['RANK'] == '{rank}' and os.kill(os.getpid(), 9); time.sleep(1000)"
    assert launch([sys.executable, "-c", code], 2) == 137
    _, err = capfd.readouterr()
    assert err == f"lamnet: error: process {rank} was killed by SIGKILL; resume with --resume\n"


def test_launcher_killed(tmp_path):
    # In place of the package, which takes seconds to import:
    lines = ("from types import SimpleNamespace as N", "distributed = N(TCPStore=lambda *_, **__: N(port=1))")
    (tmp_path / "torch.py").write_text("\n".join([*lines, "get_num_threads = lambda: 2"]))
    work = "from lamnet_cli.launching import exit_with_launcher as f; import os, pathlib, time; f(); "
    work += "pathlib.Path(os.environ['RANK']).touch(); time.sleep(1000)"
    code = "import sys; from lamnet_cli.launching import launch; launch([sys.executable, '-c', sys.argv[1]], 2)"
    process = subprocess.Popen([sys.executable, "-c", code, work], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (tmp_path / "0").exists() and (tmp_path / "1").exists(), process)
    ranks = workers(process)
    process.kill()
    process.communicate()
    assert_gone(ranks.values())


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_train_worker_killed(tmp_path, rank):
    settings = (NARROW, "steps=100000", "schedule=constant", "--processes=2")
    process = start(tmp_path / "run", *settings)
    wait_for(lambda: losses(tmp_path / "run"), process)
    ranks = workers(process)
    ranks[rank].kill()
    _, err = finish(process, 137)
    assert [line for line in err.splitlines() if "error" in line] == err.splitlines()[-1:]
    assert f"process {rank}" in err.splitlines()[-1]
    assert "SIGKILL" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert_gone(ranks.values())


@pytest.mark.slow
def test_train_launcher_killed(tmp_path):
    run = tmp_path / "run"
    process = start(run, NARROW, "steps=100000", "schedule=constant", "--processes=2")
    wait_for(lambda: losses(run), process)
    ranks = workers(process)
    process.kill()  # also ends the workers and releases the lock
    process.communicate()
    assert_gone(ranks.values())
    assert train("quick", run, resume=True, steps=1).step == 1


def test_train_folder_without_locks(tmp_path, monkeypatch):
    def acquire(self):
        raise OSError(errno.ENOLCK, "No locks available")

    class Recorder(NullCallback):
        def on_message(self, text):
            messages.append(text)

    messages = []
    monkeypatch.setattr(FileLock, "acquire", acquire)
    settings = {"model_args": {"embed_dim": 8, "num_blocks": 1, "depth": 1, "num_heads": 1}, "data": ["sample"]}
    train("quick", tmp_path, callback=Recorder(), steps=1, batch=1, patch=8, valid_crop=32, **settings)
    assert [text for text in messages if "warning" in text and "No locks available" in text] == messages[:1]
    with pytest.raises(TrainingError, match="--resume"):
        train("quick", tmp_path)


@pytest.mark.slow
def test_train_killed_resume_bit_exact(tmp_path):
    settings = ("model_args={}", "steps=14", "batch=1", "save_every=1", "keep=2")
    finish(start(tmp_path / "whole", *settings))
    chance = random.Random(0)
    states = tmp_path / "parts" / "states"
    for kill in range(3):
        process = start(tmp_path / "parts", *settings, resume=True)
        count = len(losses(tmp_path / "parts"))
        wait_for(lambda count=count: len(losses(tmp_path / "parts")) > count, process)
        if kill == 0:  # during a save
            wait_for(lambda: any(states.glob(".lamnet-*")), process)
        else:
            time.sleep(chance.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finish(start(tmp_path / "parts", *settings, resume=True))
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "whole")) == 14


@pytest.mark.parametrize(
    ("number", "code", "processes"),
    [
        (signal.SIGTERM, 143, 2),
        pytest.param(signal.SIGINT, 130, 2, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, 1, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, 1, marks=pytest.mark.slow),
    ],
)
def test_train_folder_in_use_until_stopped(tmp_path, number, code, processes):
    run = tmp_path / "run"
    settings = (NARROW, "steps=100000", "schedule=constant", "save_every=0", "save_minutes=0")
    process = start(run, *settings, f"--processes={processes}")
    wait_for(lambda: losses(run), process)
    before = (run / "recipe.yaml").read_bytes()
    for resume in (False, True):
        with pytest.raises(TrainingError, match="output must be"):
            train("quick", run, resume=resume)
    assert (run / "recipe.yaml").read_bytes() == before
    done = len(losses(run))
    wait_for(lambda: len(losses(run)) > done, process)
    ranks = workers(process) if processes > 1 else {}
    process.send_signal(number)
    _, err = finish(process, code)
    assert_gone(ranks.values())
    assert len([line for line in err.splitlines() if "state saved" in line]) == 1
    assert "lamnet train --resume -o" in err.splitlines()[-1]
    assert "Traceback" not in err
    (state,) = (run / "states").glob("step_*.pt")
    step = torch.load(state)["step"]
    assert step == len(losses(run))
    assert train("quick", run, resume=True, steps=step + 1).step == step + 1


@pytest.fixture
def small_disk(tmp_path):
    """A separate file system with space for a few states."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("requires permission to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_train_full_disk_keeps_states(small_disk):
    run = small_disk / "run"
    model_args = {"embed_dim": 8, "num_blocks": 1, "depth": 1, "num_heads": 1}
    settings = {"model_args": model_args, "batch": 4, "patch": 8, "log_every": 1, "data": ["sample"]}
    settings |= {"valid_every": 0, "valid_crop": 32, "save_every": 1}
    train("quick", run, steps=2, **settings)
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
    assert train("quick", run, resume=True, steps=5).step == 5
    assert len(losses(run)) == 5


@pytest.mark.slow
def test_decay_branch_of_running_trunk_killed(tmp_path):
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


@pytest.mark.slow
def test_decay_branch_two_processes_textured(tmp_path):
    finish(start(tmp_path / "trunk", NARROW, "steps=2"))
    settings = ("steps=4", "crops=textured")
    finish(start(tmp_path / "one", *settings, decay_from=tmp_path / "trunk"))
    torchrun = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port", str(random.randint(20000, 60000)))
    finish(start(tmp_path / "two", *settings, decay_from=tmp_path / "trunk", launcher=torchrun))
    assert len(losses(tmp_path / "one")) == 4
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
