"""gpu_targets at small sizes, on a GPU or in Triton's interpreter."""

import pytest
import torch

from lamnet_models import LAMNet, save_checkpoint

pytest.importorskip("triton")
import gpu_targets

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def plan(tmp_path):
    files = [str(tmp_path / name) for name in ("lamnet.safetensors", "peer.safetensors")]
    for file in files:
        save_checkpoint(LAMNet(scale=2, embed_dim=8, num_blocks=1, depth=1, num_heads=2, window=((1,), (1,))), file)
    shape, types = (1, 2, 2, 3), (torch.float32,)
    return gpu_targets.Plan((shape,), shape, *files, types, 1, size=(4, 3), train=(1, 4), mode="eager", rounds=1)


@pytest.mark.slow
@pytest.mark.usefixtures("triton_interpreter")
def test_table_all_rows_measured(plan):
    head, _, *lines = gpu_targets.table(plan, DEVICE)
    assert head.split("|")[1:-1] == [" quantity ", " target ", " measured ", " met "]
    graphs = [line for line in lines if "CUDA graph" in line]
    assert len(lines) == 19
    for line in lines:
        _, _, target, measured, met, _ = (cell.strip() for cell in line.split("|"))
        if line in graphs and DEVICE.type == "cpu":
            assert measured == "*not measured*"
        else:
            assert measured[0].isdigit(), line
            assert (met in ("yes", "**no**")) == (target != "none")


def test_table_without_device():
    lines = gpu_targets.table(gpu_targets.Plan(), None)[2:]
    assert all("*not measured*" in line and "yes" not in line for line in lines)
    assert any("B128 D32 64×64" in line for line in lines)


def test_speedup_different_results_raises(plan):
    with pytest.raises(RuntimeError, match="the results differ"):
        gpu_targets.speedup(plan, DEVICE, lambda: torch.zeros(2), lambda: torch.ones(2))
