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


# Slow, as other versions of Triton allocate registers differently: a new one must not fail the default run.
@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_kernels_do_not_spill(arch):
    assert not [result for result in compile_kernels(arch, DTYPES, SIZES) if result.spilled]


@pytest.mark.parametrize("contiguous", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_kernels_compile_with_wide_offsets(contiguous):
    compile_kernels(90, (torch.bfloat16,), SIZES, True, contiguous)
