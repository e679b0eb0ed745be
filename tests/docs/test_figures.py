"""Figures of the documentation against the library."""

import torch

from lamnet_layers import FocalSeparableAttention


def test_drawings_match_committed_files(docs):
    from assets import ASSETS
    from diagrams import drawings

    generated = drawings()
    assert len(generated) >= 6
    assert [name for name, drawing in generated.items() if (ASSETS / name).read_text(encoding="utf-8") != drawing] == []


def test_exact_kernel_reproduces_attention_output(docs):
    from network_figures import exact_kernel

    torch.manual_seed(0)
    attention = FocalSeparableAttention(8, num_heads=2, window=((1, 2), (2, 1)))
    x = torch.randn(1, 8, 24, 30)
    column, row, head, radius = 13, 11, 1, attention.window.radius
    kernel = exact_kernel(attention, x, (column, row), head)
    assert kernel.shape == (attention.window.size,) * 2
    neighborhood = x[0, 4:, row - radius : row + radius + 1, column - radius : column + radius + 1]
    torch.testing.assert_close((kernel * neighborhood).sum((1, 2)), attention(x)[0, 4:, row, column])
