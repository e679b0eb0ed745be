"""Choice of the compiled library."""

import pytest
import torch

from lamnet_layers.ops.native import library


@pytest.mark.parametrize(
    ("capability", "installed", "expected"),
    [
        ("AVX512", {"avx512", "avx2", "sse2"}, "avx512"),
        ("AVX512", {"avx2", "sse2"}, "avx2"),
        ("AVX2", {"avx512", "avx2", "sse2"}, "avx2"),
        ("DEFAULT", {"avx512", "avx2", "sse2"}, "sse2"),
        ("DEFAULT", {"neon"}, "neon"),
        ("SVE256", {"neon"}, "neon"),
        ("VSX", set(), None),
    ],
)
def test_variant_for_capability(capability, installed, expected, tmp_path, monkeypatch):
    for name in installed:
        (tmp_path / f"kernels_{name}.so").touch()
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    path = library._library_path.__wrapped__()
    assert path == (expected and tmp_path / f"kernels_{expected}.so")
