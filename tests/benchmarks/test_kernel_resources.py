"""Resources of the Triton kernels, compiled for GPUs that are not present."""

import pytest
import torch

pytest.importorskip("triton")
from kernel_resources import ARCHITECTURES, DTYPES, SIZES, in_process, measure, names


def compile_kernels(*args):
    try:
        results = in_process(measure, *args)
    except NotImplementedError as error:
        pytest.skip(str(error))
    assert {result.kernel for result in results} == names()
    return results


@pytest.mark.parametrize(
    ("arch", "dtypes", "sizes"),
    [
        (90, (torch.bfloat16,), SIZES),
        *(pytest.param(arch, DTYPES, SIZES, marks=pytest.mark.slow) for arch in ARCHITECTURES),
    ],
)
def test_kernels_do_not_spill(arch, dtypes, sizes):
    assert not [result for result in compile_kernels(arch, dtypes, sizes) if result.spilled]


@pytest.mark.slow
def test_kernels_compile_with_wide_offsets():
    compile_kernels(90, (torch.bfloat16,), SIZES, True)
