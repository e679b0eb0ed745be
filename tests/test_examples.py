"""Examples in ``examples/``."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

from lamnet_layers import DGFN, FocalSeparableAttention

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.parametrize(
    ("name", "layer", "count"), [("fsa_in_vit", FocalSeparableAttention, 3), ("dgfn_in_convnext", DGFN, 6)]
)
def test_timm_backbones_with_lamnet_layers_train(name, layer, count, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    textures, example = importlib.import_module("textures"), importlib.import_module(name)
    torch.manual_seed(0)
    model = example.build()
    assert sum(isinstance(module, layer) for module in model.modules()) == count
    before = [parameter.clone() for parameter in model.parameters()]
    losses = textures.train(model, steps=30)
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])
    assert textures.accuracy(model) > 0.5  # chance level is 1/3
    assert all(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    for module in ("textures", name):
        sys.modules.pop(module)


def test_quickstart_notebook_runs(tmp_path, monkeypatch):
    pytest.importorskip("accelerate", reason="needs the extra train")
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((EXAMPLES / "quickstart.ipynb").read_text(encoding="utf-8"))
    names = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and "install" not in cell["metadata"].get("tags", ()):
            assert cell["outputs"] == []
            exec("".join(cell["source"]).replace("minutes=1", "steps=3"), names)
    assert names["upscaled"].shape == names["photo"].shape
    assert names["result"].step == 3
