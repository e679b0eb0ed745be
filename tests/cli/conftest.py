import functools

import pytest
import torch
import typer
from lamnet_cli.main import main

from lamnet_models import LAMNet, save_checkpoint
from lamnet_models.inference import planner

# typer builds all commands anew for each call, which takes longer than most commands.
get_command = functools.cache(typer.main.get_command)


@pytest.fixture
def lamnet(capsys, monkeypatch):
    """Function that runs the command in this process; returns exit code, standard output and standard error."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(typer.main, "get_command", get_command)

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Checkpoint file of a small ×2 model."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "x2.safetensors"
    save_checkpoint(LAMNet(scale=2, embed_dim=8, num_blocks=1, depth=1), path)
    return path


@pytest.fixture
def constant_memory(monkeypatch):
    """Let the planner see constant memory in use, for limits that are derived from an earlier call."""
    monkeypatch.setattr(planner, "used_memory", lambda: 2**28)
