"""Figures of the documentation against the library."""

import re

import torch

from lamnet_layers import FocalSeparableAttention
from lamnet_models.benchmarking import Measurement


def test_drawings_match_committed_files(docs):
    from assets import ASSETS
    from diagrams import drawings

    generated = drawings()
    assert len(generated) >= 6
    assert [name for name, drawing in generated.items() if (ASSETS / name).read_text(encoding="utf-8") != drawing] == []


def test_chart_matches_committed_table(docs):
    from assets import ASSETS
    from performance import chart

    assert (ASSETS / "native.svg").read_text(encoding="utf-8") == chart()


def test_bars_are_proportional_within_panels(docs):
    from diagrams import bars_svg

    drawing = bars_svg({"first": {"a1": 1.0, "b": 4.0}, "second": {"b": 0.5}}, "s", "title", marked="a")
    bars = re.findall(r'rect class="(\w+)" x="[\d.]+" y="[\d.]+" width="([\d.]+)"', drawing)
    assert [css_class for css_class, _ in bars] == ["center", "cell", "cell"]
    low, high, other = (float(width) for _, width in bars)
    assert high == other == 4 * low
    assert "0.50 s" in drawing


def test_native_writes_table_and_chart(docs, tmp_path, monkeypatch):
    import assets
    import performance

    def bench(names, backends, train=None, **_):
        cases = [(names[0], backend) for backend in backends] + [(name, None) for name in names[1:]]
        return [
            Measurement(name, "eager", "fp32", "forward", (n, n), 1, 10**6, backend=backend, flops=1, matrix_share=0.5)
            for n, (name, backend) in enumerate(cases, 2 if train else 1)
        ]

    monkeypatch.setattr(performance, "bench", bench)
    for module in (assets, performance):
        monkeypatch.setattr(module, "ASSETS", tmp_path)
    performance.native()
    tables = assets.read_tables("native.md")
    assert [len(rows) for rows in tables] == [2 * 4, 2 * 4]
    rows = tables[0]
    assert (rows[0]["network"], rows[0]["of mm"], rows[0]["MB"]) == ("lamnet_x4, native", "50%", "1")
    drawing = (tmp_path / "native.svg").read_text(encoding="utf-8")
    assert re.findall(r">([\d.]+ s)<", drawing) == [f"{n}.00 s" for n in (1, 2, 3, 4, 2, 3, 4, 5)]


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
