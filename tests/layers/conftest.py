"""Fixtures of the kernel tests."""

import importlib

import pytest
import torch

KERNELS = {
    "focal_aggregate": ("_forward_kernel", "_grad_x_kernel", "_grad_weights_kernel"),
    "focal_pass": ("_focal_pass_kernel",),
    "dual_gate": ("_dual_gate_kernel",),
}


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def launches(monkeypatch, triton_interpreter):
    """Count kernel launches by name, to detect a silent fallback."""
    counts = {}

    class CountingKernel:
        def __init__(self, name, kernel):
            self.name, self.kernel = name, kernel

        def __getitem__(self, grid):
            counts[self.name] = counts.get(self.name, 0) + 1
            return self.kernel[grid]

    for file, names in KERNELS.items():
        module = importlib.import_module(f"lamnet_layers.ops.triton.{file}")
        for name in names:
            monkeypatch.setattr(module, name, CountingKernel(name, getattr(module, name)))
    return counts


@pytest.fixture
def poisoned(monkeypatch):
    """Fill the output buffers of kernels with NaN, to detect values that are never written."""
    empty_like = torch.empty_like

    def poison(*args, **kwargs):
        return empty_like(*args, **kwargs).fill_(float("nan"))

    monkeypatch.setattr(torch, "empty_like", poison)
