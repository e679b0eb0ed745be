"""CPU chunking of layers: results, chunk shapes, and the conditions that disable it."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.flop_counter import FlopCounterMode

from lamnet_layers import (
    DGFN,
    ULM,
    FocalPass,
    FocalSeparableAttention,
    FocalWindow,
    LAMBlock,
    chunking,
    use_backend,
)

WINDOW = FocalWindow((1, 2), (1, 1))  # 7 pixels, 5 taps
MIXER = partial(ULM, attn_layer=partial(FocalSeparableAttention, num_heads=2, window=WINDOW))
LAYERS = {
    "DGFN": partial(DGFN, 4),
    "horizontal": partial(FocalPass, 4, 2, WINDOW, axis="horizontal"),
    "vertical": partial(FocalPass, 4, 2, WINDOW, axis="vertical"),
}
SHAPES = [(1, 4, 1, 1), (1, 4, 1, 67), (1, 4, 67, 1), (2, 4, 13, 17), (5, 4, 2, 3), (1, 4, 31, 8), (1, 4, 8, 31)]

every_layer = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture(autouse=True)
def chunks(monkeypatch):
    """Split maps of any size into chunks of about 20 pixels; returns a list to record chunk shapes."""
    monkeypatch.setattr(chunking, "_THRESHOLD", 0)
    monkeypatch.setattr(chunking, "_CHUNK_BYTES", 20 * 8 * 8)
    monkeypatch.setattr(chunking, "_MIN_SIDE", 3)
    torch.manual_seed(0)
    return []


def build(name, chunks=None, dtype=torch.float64):
    layer = LAYERS[name](dtype=dtype)
    if chunks is not None:
        first = layer.depthwise if hasattr(layer, "depthwise") else layer.proj_in
        forward = first.forward
        first.forward = lambda x: chunks.append(tuple(x.shape)) or forward(x)  # a hook would disable chunking
    return layer


@every_layer
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("shape", SHAPES)
def test_chunked_output_equals_whole(name, layout, shape):
    layer = build(name)
    x = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=layout)
    expected = layer(x)
    with torch.no_grad():
        result = layer(x)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)
    for memory_format in (torch.channels_last, torch.contiguous_format):
        assert result.is_contiguous(memory_format=memory_format) == expected.is_contiguous(memory_format=memory_format)


@every_layer
def test_chunking_only_without_gradients(name, chunks):
    layer = build(name, chunks)
    x = torch.randn(2, 4, 13, 17, dtype=torch.float64)
    layer(x)
    assert len(chunks) == 1
    chunks.clear()
    with torch.inference_mode():
        layer(x)
    assert len(chunks) > 2
    assert all(batch == 1 for batch, *_ in chunks)


@pytest.mark.parametrize(
    ("name", "shape", "max_chunk"),
    [
        ("DGFN", (1, 4, 40, 5), (6, 5)),  # bands with a halo of one row on each side
        ("DGFN", (1, 4, 5, 40), (4, 6)),  # bands would be too thin
        ("horizontal", (1, 4, 8, 40), (1, 40)),
        ("vertical", (1, 4, 40, 8), (40, 3)),
    ],
)
def test_chunk_shapes(name, shape, max_chunk, chunks):
    layer = build(name, chunks)
    with torch.no_grad():
        layer(torch.randn(shape, dtype=torch.float64))
    assert (max(rows for _, _, rows, _ in chunks), max(columns for *_, columns in chunks)) == max_chunk


@every_layer
@pytest.mark.filterwarnings("ignore")  # tracing is deprecated but still used by operation counters
def test_no_chunking_in_compiled_exported_traced(name):
    layer = build(name).eval()
    x = torch.randn(1, 4, 9, 11, dtype=torch.float64)

    def sizes():
        torch.compiler.reset()  # discard sizes marked dynamic by other tests
        graphs = []
        torch.compile(layer, fullgraph=True, backend=lambda graph, _: graphs.append(graph.graph) or graph)(x)
        graphs += [torch.export.export(layer, (x,)).graph, torch.jit.trace(layer, (x,)).inlined_graph]
        return [len(list(graph.nodes() if callable(graph.nodes) else graph.nodes)) for graph in graphs]

    expected = sizes()
    with torch.no_grad():
        assert sizes() == expected


@pytest.mark.parametrize("size", [(40, 9), (30, 31), (5, 64)], ids=["bands", "squares", "columns"])
def test_compiled_layers_compile_once_for_all_chunks(size):
    torch.compiler.reset()  # discard sizes marked dynamic by other tests
    block = LAMBlock(4, 1, MIXER).eval()
    graphs, calls = [], []

    def compiler(graph, _):
        graphs.append(graph)
        return lambda *inputs: calls.append(graph) or graph(*inputs)

    for layer in block.layers:
        layer.compile(backend=compiler)
    with torch.no_grad(), use_backend("eager"):  # CPU kernels are not compiled
        block(torch.randn(1, 4, *size).contiguous(memory_format=torch.channels_last))
    assert len(graphs) == len(block.layers)
    assert len(calls) > len(graphs)  # chunks


@every_layer
def test_vmap(name):
    layer = build(name)
    x = torch.randn(3, 2, 4, 9, 11, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(torch.vmap(layer)(x), torch.stack([layer(part) for part in x]))


@pytest.mark.parametrize("is_global", [False, True])
def test_hook_disables_chunking(is_global):
    layer = build("DGFN")
    x = torch.randn(1, 4, 13, 17, dtype=torch.float64)
    sizes = []

    def hook(module, inputs):
        if module is layer.depthwise:
            sizes.append(inputs[0].shape[2:])

    register = register_module_forward_pre_hook if is_global else layer.depthwise.register_forward_pre_hook
    handle = register(hook)
    with torch.no_grad():
        layer(x)
        handle.remove()
        layer(x)
    assert sizes == [(13, 17)]


def test_flop_counts():
    layer = build("DGFN")
    x = torch.randn(1, 4, 13, 17, dtype=torch.float64)
    totals = []
    for is_grad_enabled in (True, False):
        with torch.set_grad_enabled(is_grad_enabled), FlopCounterMode(display=False) as counter:
            layer(x)
        totals.append(counter.get_total_flops())
    assert totals[0] == totals[1]


@pytest.mark.parametrize("gate_layer", ["iem", None])
def test_block_chunks_norm_and_residual(gate_layer):
    block = LAMBlock(4, 2, partial(MIXER, gate_layer=gate_layer), dtype=torch.float64)
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(1, 4, 13, 17, dtype=torch.float64)
    norm = block.layers[1].norm
    forward, sizes = norm.forward, []
    norm.forward = lambda x: sizes.append(tuple(x.shape[2:])) or forward(x)
    expected = block(x)
    assert sizes == [(13, 17)]
    with torch.no_grad():
        torch.testing.assert_close(block(x), expected, rtol=1e-9, atol=1e-9)
    assert len(sizes) > 2
    assert len(set(sizes[1:])) == 1  # one chunk shape, so compiled layers are not recompiled


def test_treat_meta_as(chunks):
    layer = build("DGFN", chunks).to("meta")
    x = torch.empty(1, 4, 40, 5, device="meta", dtype=torch.float64)

    def count():
        chunks.clear()
        with torch.no_grad():
            layer(x)
        return len(chunks)

    assert count() == 1
    with chunking.treat_meta_as("cpu"):
        assert count() > 1
    with chunking.treat_meta_as("cuda"):
        assert count() == 1
    assert count() == 1
