"""Examples in ``examples/``."""

import importlib
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
