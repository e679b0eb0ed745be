"""Fusion of whole layers into single CPU kernels, and the conditions for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from .backend import select_backend
from .chunking import has_hooks, simulated_device_type
from .validation import check_feature_map, is_traced

_DTYPES = (torch.float32, torch.bfloat16)


class FusedLayer(NamedTuple):
    """What a CPU kernel computes in place of the modules of a layer.

    Attributes:
        kernel: Name of the kernel: ``"focal_pass"``, ``"mixer"`` or ``"feed_forward"``.
        sizes: Sizes of the layer, in the order of the kernel.
        convolutions: Convolutions in the order of the kernel, with input channels and shapes of the weights.
        strides: Strides of the focal window, if the layer has one.
        steps: Steps of the focal window.
        backend: The ``backend`` argument of the layer.
    """

    kernel: str
    sizes: tuple[int, ...]
    convolutions: tuple[tuple[nn.Module, int, tuple[int, ...]], ...]
    strides: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    backend: str | None = None


def run_fused(
    x: Tensor,
    fuse: Callable[[], FusedLayer | None],
    *modules: nn.Module,
    norm: nn.Module | None = None,
    residual: nn.Module | None = None,
) -> Tensor | None:
    """Return the output of a layer from one CPU kernel, or None if the modules must be called.

    The kernels compute in float32 on a CPU; with bfloat16 tensors or autocast, matrix products are in bfloat16 if the
    processor has AMX. Modules are called if a hook is registered or one of them is replaced, in other dtypes, and in
    programs that are traced, exported or transformed.

    Args:
        x: Features, (B, C, H, W).
        fuse: Function that returns the layer, or None if its modules are not those of a kernel.
        modules: Modules replaced, with their submodules, which are checked for hooks.
        norm: Norm of the input, as of [`PreNormResidual`][lamnet_layers.PreNormResidual].
        residual: Residual connection with the input, with the scale ``alpha``.

    Raises:
        ValueError: If a kernel can run, and x has the wrong shape.
    """
    # In this order: on other devices, nothing but the first check runs.
    if not _supports_input(x) or (fused := fuse()) is None or select_backend(fused.backend, "cpu") != "native":
        return None
    if not all(_is_plain(*convolution) for convolution in fused.convolutions) or has_hooks(*modules):
        return None
    check_feature_map("x", x, fused.sizes[0])
    parameters = [parameter for module, *_ in fused.convolutions for parameter in module._parameters.values()]
    if norm is not None:
        gain, shift, alpha = norm.weight, norm.bias, residual.alpha
        if not gain.numel() == shift.numel() == alpha.numel() == x.shape[1]:
            return None
        parameters = [gain, shift, *parameters, alpha]
    autocast = torch.is_autocast_enabled("cpu")  # to bfloat16, or the input is not supported
    dtypes = _DTYPES if autocast else (x.dtype,)
    if not all(_has_dtype(parameter, *dtypes) and parameter.device == x.device for parameter in parameters):
        return None
    from .ops.native.operators import Layer, native_layer

    save = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *parameters))
    norm_and_residual = (1e-5, False, False) if norm is None else (norm.eps, True, True)
    bf16 = autocast or x.dtype == torch.bfloat16
    layer = Layer(fused.kernel, list(fused.sizes), list(fused.strides), list(fused.steps), *norm_and_residual, bf16)
    if not bf16:
        return native_layer(x, parameters, layer, save)[0]
    out, _ = native_layer(x.float(), [parameter.float() for parameter in parameters], layer, save)
    if not autocast:
        return out.to(x.dtype)
    return out.bfloat16() if residual is None else out.to(torch.promote_types(x.dtype, parameters[-1].dtype))


def is_unmodified(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Return whether a module is of one of these classes, not of a subclass, and has their forward method."""
    return type(module) in kinds and "forward" not in vars(module)


def is_channels_last(x: Tensor) -> bool:
    """Return whether the channels of a pixel are adjacent in memory."""
    return isinstance(x, Tensor) and x.dim() == 4 and x.stride(1) == 1 and x.shape[1] > 1


def to_channels_last(x: Tensor) -> Tensor:
    """Return features in the memory format in which the layers are fastest on a CPU.

    Norms and most products reduce over the channels of a pixel. In programs that are traced, exported or transformed,
    and on other devices, x is returned as it is.
    """
    return x.contiguous(memory_format=torch.channels_last) if _supports_input(x) and x.dim() == 4 else x


def _supports_input(x: Tensor) -> bool:
    if is_traced(x) or not _has_dtype(x, *_DTYPES) or simulated_device_type(x) != "cpu":
        return False
    if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return False
    if torch.jit.is_tracing() or _is_exporting() or torch._C._are_functorch_transforms_active():
        return False
    return forward_ad._current_level < 0


def _is_exporting() -> bool:
    return torch.compiler.is_exporting() if hasattr(torch.compiler, "is_exporting") else torch.compiler.is_compiling()


def _has_dtype(tensor: Tensor, *dtypes: torch.dtype) -> bool:
    # Subclasses have operations of their own.
    return type(tensor) in (Tensor, nn.Parameter) and tensor.dtype in dtypes


def _is_plain(module: nn.Module, in_channels: int, weight_shape: tuple[int, ...]) -> bool:
    if not is_unmodified(module, nn.Conv2d):
        return False
    parameters = module._parameters  # many times faster than attributes
    weight, bias = parameters.get("weight"), parameters.get("bias")
    return (
        len(parameters) == 2
        and weight is not None
        and weight.shape == weight_shape
        and module.in_channels == in_channels
        and bias is not None
        and bias.shape == weight_shape[:1]
        and module.stride == module.dilation == (1, 1)
        and module.padding == tuple(size // 2 for size in weight_shape[2:])
        and module.padding_mode == "zeros"
    )
