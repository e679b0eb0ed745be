"""Devices, precisions with fp32 fallback on overflow, and ``torch.compile``."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .errors import LAMNetError


def resolve_device(device: torch.device | str) -> torch.device:
    """Return an available device; ``"auto"`` is the first available of CUDA, MPS and CPU.

    Raises:
        ValueError: If the device is unknown or not available.
    """
    accelerators = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if device == "auto":
        device = next((name for name, is_available in accelerators.items() if is_available()), "cpu")
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:  # AssertionError from a torch built without CUDA
        names = ["cpu", *(name for name, is_available in accelerators.items() if is_available())]
        raise ValueError(f"device must be {' or '.join(names)} on this machine, got {str(device)!r}") from error


@contextmanager
def without_onednn(disable: bool = True) -> Iterator[None]:
    """Context manager that disables oneDNN if ``disable``; used for float16 on a CPU.

    The float16 depthwise convolutions of oneDNN with few channels hang on some processors (torch 2.14, AVX-512).
    """
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = before and not disable
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before


PRECISIONS = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}
"""Autocast dtypes by name; None: the network's own dtype."""

DTYPE_NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.float64: "fp64"}
"""Names of the dtypes of networks and autocast."""


class Autocast:
    """Autocast that recomputes images with non-finite results in the network's own dtype.

    The fallback is decided per image, so a result does not depend on the rest of the batch.

    Args:
        device: Device of the computation.
        dtype: The network's own dtype.
        half: Autocast dtype; None: disabled.

    Attributes:
        device: Device of the computation.
        half: Autocast dtype; None: disabled.
        overflowed: Whether any image has been recomputed.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, half: torch.dtype | None = None) -> None:
        self.device = device
        self.overflowed = False
        self._dtype = dtype
        self.half = half

    def __call__(self, compute: Callable[..., Tensor], *sources: Tensor) -> Tensor:
        """Return ``compute(*sources)`` as float32 or float64.

        Args:
            compute: Function of tensors (B, C, h, w) that returns a tensor of B images.
            sources: Inputs on any device, of any dtype.
        """
        sources = tuple(source.to(self.device, self._dtype) for source in sources)
        with self._autocast():
            out = compute(*sources)
        out = out.to(torch.promote_types(out.dtype, torch.float32))
        if self.half and (overflow := ~out.isfinite().flatten(1).all(1)).any():
            self.overflowed = True
            out[overflow] = compute(*(source[overflow] for source in sources)).to(out.dtype)
        return out

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        on_cpu, enabled = self.device.type == "cpu", self.half is not None
        with (
            without_onednn(on_cpu and self.half == torch.float16),
            torch.autocast(self.device.type, self.half, enabled=enabled),
        ):
            yield

    @staticmethod
    def check(out: Tensor) -> Tensor:
        """Return a network's result after checking that it is finite.

        Raises:
            LAMNetError: If it is not finite.
        """
        if not out.isfinite().all():
            raise LAMNetError("the network's output is not finite; its weights are damaged or do not match the model")
        return out


# torch.compile, with a check for a working C++ compiler


def compile_network(network: nn.Module) -> None:
    """Compile a network in place, block by block if it has ``compile_blocks``.

    Compilation runs at the first forward pass.

    Args:
        network: Any network; LAMNet is compiled by [`compile_blocks`][lamnet_models.LAMNet.compile_blocks].

    Raises:
        LAMNetError: If no working C++ compiler is installed.
    """
    compile_blocks = getattr(network, "compile_blocks", None)
    if compile_blocks is not None:
        compile_blocks()
    else:
        check_compiler()
        network.compile()


def check_compiler(header: str = "Python.h") -> None:
    """Check for a working C++ compiler before ``torch.compile`` fails with a long message.

    Args:
        header: Header that the compiled code includes: ``Python.h`` for ``torch.compile``.

    Raises:
        LAMNetError: If no C++ compiler is installed, or it fails on an empty program.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler  # takes seconds to import
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        compiler = get_cpp_compiler()
    except (InvalidCxxCompiler, RuntimeError, OSError):
        raise LAMNetError(
            "compiling needs a C++ compiler: install g++ or clang, set CXX, or disable compilation"
        ) from None
    if sys.platform == "win32":  # MSVC has other options
        return
    command = [compiler, "-fsyntax-only", "-x", "c++", "-I", sysconfig.get_path("include"), "-"]
    result = subprocess.run(command, input=f"#include <{header}>\n", capture_output=True, text=True)
    if result.returncode:
        reason = next((line for line in result.stderr.splitlines() if "error" in line), f"code {result.returncode}")
        advice = "install Python's headers (python3-dev)" if "Python.h" in reason else "set CXX to another compiler"
        raise LAMNetError(f"compiling needs a working C++ compiler, but {compiler} failed: {reason}; {advice}")
