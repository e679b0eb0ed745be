"""The compiled CPU kernels: choice of the variant for the processor, loading and calls."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ...window import FocalWindow

FOLDER = Path(__file__).parent
VARIANTS = {"AVX512": ("avx512", "avx2", "sse2"), "AVX2": ("avx2", "sse2")}
"""Names of the libraries that can run, best first, by PyTorch's CPU capability; the first installed is used."""
BASELINE = ("sse2", "neon")
"""The same for other capabilities, such as ``"DEFAULT"`` and ``"SVE256"``."""


@cache
def unavailable_reason() -> str | None:
    """Return the reason why the kernels cannot run, or None if they can."""
    if _library_path() is None:
        return "the CPU kernels are not installed: reinstall with a C++ compiler (g++ or clang++)"
    try:
        _load()
    except OSError as error:
        return f"the CPU kernels cannot be loaded: {error}"
    return None


def variant() -> str:
    """Return the name of the loaded variant: ``"avx512"``, ``"avx2"``, ``"sse2"`` or ``"neon"``."""
    return _library_path().stem.removeprefix("kernels_")


@cache
def bf16_available() -> bool:
    """Return whether products can be computed in bfloat16, with AMX."""
    return bool(_load().lamnet_bf16_available())


class FocalPassConfig(ctypes.Structure):
    """Configuration of a focal pass, as in ``focal_attention.h``."""

    _fields_ = (
        ("dim", ctypes.c_int32),
        ("heads", ctypes.c_int32),
        ("taps", ctypes.c_int32),
        ("radius", ctypes.c_int32),
        ("first", ctypes.POINTER(ctypes.c_int32)),
        ("length", ctypes.POINTER(ctypes.c_int32)),
        ("vertical", ctypes.c_int32),
        ("bf16", ctypes.c_int32),
    )


class MixerConfig(ctypes.Structure):
    """Configuration of a mixer, as in ``mixer.h``."""

    _fields_ = (
        ("dim", ctypes.c_int32),
        ("reduced", ctypes.c_int32),
        ("heads", ctypes.c_int32),
        ("taps", ctypes.c_int32),
        ("radius", ctypes.c_int32),
        ("first", ctypes.POINTER(ctypes.c_int32)),
        ("length", ctypes.POINTER(ctypes.c_int32)),
        ("eps", ctypes.c_float),
        ("bf16", ctypes.c_int32),
    )


class FeedForwardConfig(ctypes.Structure):
    """Configuration of a feed-forward network, as in ``feed_forward.h``."""

    _fields_ = (
        ("dim", ctypes.c_int32),
        ("hidden", ctypes.c_int32),
        ("eps", ctypes.c_float),
        ("bf16", ctypes.c_int32),
    )


@cache
def window_cells(strides: tuple[int, ...], steps: tuple[int, ...]) -> tuple[int, int, ctypes.Array, ctypes.Array]:
    """Return a configuration's fields for a window: taps, radius, and the first pixel and length of each cell."""
    window = FocalWindow(strides, steps)
    first, length = ((ctypes.c_int32 * window.taps)(*values) for values in zip(*window.spans, strict=True))
    return window.taps, window.radius, first, length


INFERENCE, FORWARD, BACKWARD = range(3)
"""Passes of a kernel: forward without gradients, forward followed by a backward pass, backward."""


def maps_shape(kernel: str, config: ctypes.Structure, shape: Sequence[int], kind: int) -> tuple[int, int]:
    """Return the shape of the maps of a pass: (images, floats of an image).

    The maps of a forward pass are kept for the backward pass, those of others are working memory.

    Args:
        kernel: ``"focal_pass"``, ``"mixer"`` or ``"feed_forward"``.
        config: Configuration of the kernel.
        shape: Shape of the input; its sizes may be symbolic.
        kind: ``INFERENCE``, ``FORWARD`` or ``BACKWARD``.
    """
    sizes = _MapSizes()
    getattr(_load(), f"lamnet_{kernel}_maps")(ctypes.byref(config), kind, ctypes.byref(sizes))
    batch, _, height, width = shape
    threads = torch.get_num_threads()
    images = batch if kind == FORWARD else 1 if batch < threads else threads
    return images, sizes.per_pixel * height * width + sizes.per_image


def forward(
    kernel: str,
    config: ctypes.Structure,
    x: Tensor,
    out: Tensor,
    parameters: Sequence[Tensor | None],
    maps: Tensor,
    save: bool,
) -> None:
    """Run a forward kernel. Tensors have channel stride 1; ``maps`` has the shape of ``maps_shape``."""
    function = getattr(_load(), f"lamnet_{kernel}_forward")
    tensors = _tensor(x), _tensor(out), _pointers(parameters), *_maps(maps)
    function(ctypes.byref(config), _shape(x), *tensors, int(save), torch.get_num_threads())


def backward(
    kernel: str,
    config: ctypes.Structure,
    x: Tensor,
    grad: Tensor,
    grad_x: Tensor,
    parameters: Sequence[Tensor | None],
    maps: Tensor,
    working_maps: Tensor,
    grads: Sequence[Tensor | None],
) -> None:
    """Run a backward kernel.

    Args:
        kernel: Name of the kernel.
        config: Configuration of the kernel.
        x: Input of the forward pass.
        grad: Gradient of the output.
        grad_x: Receives the gradient of the input.
        parameters: Parameters, None for absent ones.
        maps: Maps of the forward pass.
        working_maps: Maps of the backward pass.
        grads: Receive the gradients of the parameters.
    """
    function = getattr(_load(), f"lamnet_{kernel}_backward")
    tensors = [_tensor(tensor) for tensor in (x, grad, grad_x)]
    tensors += [_pointers(parameters), *_maps(maps), *_maps(working_maps), _pointers(grads)]
    function(ctypes.byref(config), _shape(grad_x), *tensors, torch.get_num_threads())


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("batch_stride", ctypes.c_int64),
        ("row_stride", ctypes.c_int64),
        ("column_stride", ctypes.c_int64),
    )


class _MapSizes(ctypes.Structure):
    _fields_ = (("per_pixel", ctypes.c_int32), ("per_image", ctypes.c_int32))


class _Shape(ctypes.Structure):
    _fields_ = (("batch", ctypes.c_int64), ("height", ctypes.c_int64), ("width", ctypes.c_int64))


def _shape(x: Tensor):
    return ctypes.byref(_Shape(x.shape[0], x.shape[2], x.shape[3]))


def _tensor(x: Tensor):
    batch, _, row, column = x.stride()
    return ctypes.byref(_Tensor(x.data_ptr(), batch, row, column))


def _maps(maps: Tensor):
    return ctypes.c_void_p(maps.data_ptr()), ctypes.c_int64(maps.stride(0))


def _pointers(tensors: Sequence[Tensor | None]) -> ctypes.Array:
    pointers = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
    return (ctypes.c_void_p * len(pointers))(*pointers)


@cache
def _library_path() -> Path | None:
    names = VARIANTS.get(torch.backends.cpu.get_cpu_capability(), BASELINE)
    paths = (FOLDER / f"kernels_{name}.so" for name in names)
    return next((path for path in paths if path.is_file()), None)


@cache
def _load() -> ctypes.CDLL:
    # The library uses the OpenMP runtime that PyTorch has loaded: a second one would have threads of its own.
    for path in _openmp_libraries():
        ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(_library_path()))


def _openmp_libraries() -> list[str]:
    """Return the OpenMP runtimes loaded in this process."""
    if platform.system() == "Linux":
        lines = Path("/proc/self/maps").read_text().splitlines()
        paths = {line.split(maxsplit=5)[-1] for line in lines if "omp" in line.rpartition("/")[2]}
        return sorted(path for path in paths if path.startswith("/") and ".so" in path)
    folder = Path(torch.__file__).parent / "lib"
    return [str(path) for path in folder.glob("libomp*.dylib")]
