"""Upscale images of any type, channel count and bit depth."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Generic

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..compilation import compile_network
from ..devices import resolve_device
from ..exporting import to_onnxruntime
from ..images import Picture
from ..images.pillow import from_pillow, to_pillow
from ..images.writing import encoder_memory
from ..lamnet import LAMNet
from ..registry import resolve_model
from .inference import DTYPE_NAMES, PRECISIONS, Inference
from .memory import format_memory, host_memory, parse_memory
from .pixels import Pixels
from .sizing import ImageT, TargetSize, image_size, resize_image
from .strategy import TilePlan, TilePlanner
from .tiling import Progress

BACKENDS = ("torch", "onnxruntime")
"""Available inference backends."""

TILE_PAD = 32
"""Default of ``tile_pad``, in pixels."""


def upscale(
    image: ImageT,
    model: nn.Module | str | os.PathLike | None = None,
    *,
    scale: float | None = None,
    width: int | None = None,
    height: int | None = None,
    tile: int | str = "auto",
    tile_pad: int = TILE_PAD,
    device: torch.device | str = "auto",
    precision: str = "auto",
    max_memory: int | str | None = None,
    compile: bool = False,
    backend: str = "torch",
    progress: Progress | None = None,
) -> ImageT:
    """Upscale an image.

    Use [`Upscaler`][lamnet_models.Upscaler] to load a model once for several images.

    Args:
        image: The image, see [`Upscaler`][lamnet_models.Upscaler].
        model: Network, model name or checkpoint, see [`Upscaler`][lamnet_models.Upscaler]. None: the LAMNet model with
            the smallest sufficient scale.
        scale: Upscaling factor. A fractional factor upscales further, then downscales by MATLAB's bicubic
            interpolation.
        width: Width of the result in pixels, instead of ``scale``; the aspect ratio is kept.
        height: Height of the result in pixels; with ``width``, the result fits into both.
        tile: Side of the tiles in pixels, ``"auto"`` or ``"exact"``, see [`Upscaler`][lamnet_models.Upscaler].
        tile_pad: Pixels of padding around a tile.
        device: Device of the computation.
        precision: ``"auto"``, ``"fp32"``, ``"fp16"`` or ``"bf16"``.
        max_memory: Limit of the process's memory.
        compile: Compile the network.
        backend: Inference backend.
        progress: Called after each tile with the number of tiles done and their total.

    Returns:
        The SR image, of the same type.

    Raises:
        ValueError: If an argument is out of range.
        LAMNetError: If the model does not exist or memory is short.
    """
    shape, size = image_size(image), TargetSize(scale, width, height)
    network_scale = size.network_scale(*shape) if model is None or size.is_network_size else None
    upscaler = Upscaler(
        model,
        scale=network_scale,
        tile=tile,
        tile_pad=tile_pad,
        device=device,
        precision=precision,
        max_memory=max_memory,
        compile=compile,
        backend=backend,
    )
    result = size.result(*shape, upscaler.scale)
    sr = upscaler(image, progress=progress)
    return sr if size.is_network_size else resize_image(sr, *result, upscaler.max_memory)


@dataclass(frozen=True)
class UpscaleOutput(Generic[ImageT]):
    """SR image, and how it was computed.

    Attributes:
        image: SR image, of the type of the input.
        plan: Tile plan that ran, after any out-of-memory fallback.
        precision: Precision of the computation: ``"fp32"``, ``"fp16"``, ``"bf16"`` or ``"fp64"``.
    """

    image: ImageT
    plan: TilePlan
    precision: str


class Upscaler:
    """Upscaler for images of any type.

    An image is one of

    - an array (H, W) or (H, W, C), uint8, uint16, or floating-point in [0, 1];
    - a Pillow image of any mode but F. The result has mode L, LA, RGB or RGBA, or I;16 for 16-bit gray; color profile,
      resolution and EXIF data are kept. As in Pillow's ``resize``, an EXIF orientation is not applied;
    - a tensor (C, H, W) or (B, C, H, W), floating-point in [0, 1], on any device;
    - a [`Picture`][lamnet_models.images.Picture].

    C is 1 (gray), 2 (gray, alpha), 3 (RGB), 4 (RGB, alpha), or the network's ``in_chans``. An RGB network runs gray and
    alpha as three equal channels and returns their luma, because its result may be slightly tinted. A gray network runs
    each channel as a separate image. Colors under fully transparent pixels are filled in first to avoid fringes, see
    ``fill_transparent``. A constant alpha channel stays exactly the same.

    Args:
        model: A network on (B, C, H, W) with attributes ``scale`` and ``in_chans``, a model name, or the path of a
            checkpoint. None: the LAMNet model for ``scale``, by default ``"lamnet_x4"``.
        scale: Upscaling factor, which must equal the network's. None: the network's.
        tile: Side of the tiles in pixels, see ``forward_tiled``; 0: the whole image at once; ``"exact"``: tiles with
            the result of the whole image, see ``forward_exact``; ``"auto"``: the whole image if memory allows,
            otherwise exact tiles for LAMNet and tiles of 256 for other networks.
        tile_pad: Pixels of padding around a tile.
        device: Device to move the network to. ``"auto"``: the current device of a network passed as a module; otherwise
            the first available of CUDA, MPS and CPU.
        precision: ``"fp32"``, or ``"fp16"`` or ``"bf16"`` by autocast; tiles with non-finite results are recomputed in
            float32, with a warning. ``"auto"``: fp16 for 8-bit images on CUDA, otherwise fp32. fp16 resolves a tenth of
            an 8-bit level, bf16 about one.
        max_memory: Limit of the process's host memory, including what it already uses, in bytes or as text such as
            ``"4G"``, see ``parse_memory``. Beyond it, the result and then LAMNet's features are stored in temporary
            files; the returned array may be mapped from such a file, which is deleted with it. None: the free memory.
        compile: Compile the network in place, see ``compile_network``. This takes about half a minute and pays off for
            many or large images.
        backend: Inference backend: ``"torch"``, or ``"onnxruntime"`` on the CPU in float32.

    Attributes:
        model: The network.
        scale: The network's upscaling factor.
        device: Device of the computation.
        max_memory: Limit of the process's memory in bytes; None: no limit.

    Raises:
        ValueError: If an argument is out of range.
        LAMNetError: If the model does not exist, or a required compiler or ONNX Runtime is missing.
    """

    def __init__(
        self,
        model: nn.Module | str | os.PathLike | None = None,
        *,
        scale: int | None = None,
        tile: int | str = "auto",
        tile_pad: int = TILE_PAD,
        device: torch.device | str = "auto",
        precision: str = "auto",
        max_memory: int | str | None = None,
        compile: bool = False,
        backend: str = "torch",
    ) -> None:
        if tile not in ("auto", "exact") and not (isinstance(tile, int) and tile >= 0):
            raise ValueError(
                f"tile must be 'auto', 'exact', 0 (the whole image) or a positive number of pixels, got {tile!r}"
            )
        if not isinstance(tile_pad, int) or tile_pad < 0:
            raise ValueError(f"tile_pad must be an integer of at least 0, got {tile_pad!r}")
        if precision not in ("auto", *PRECISIONS):
            raise ValueError(f"precision must be one of auto, {', '.join(PRECISIONS)}, got {precision!r}")
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
        needs_torch = compile or str(device) not in ("auto", "cpu") or precision not in ("auto", "fp32")
        if backend == "onnxruntime" and needs_torch:
            raise ValueError(
                "backend 'onnxruntime' runs on the CPU in float32 and does not support device, precision and compile; "
                "omit them"
            )
        limit = None if max_memory is None else parse_memory(max_memory)
        is_module = isinstance(model, nn.Module)
        target_device = None if is_module and device == "auto" else resolve_device(device)
        network = resolve_model(f"lamnet_x{scale or 4}" if model is None else model)
        if backend == "onnxruntime":
            network = to_onnxruntime(network)
        if scale not in (None, network.scale):
            raise ValueError(
                f"scale must be {network.scale}, the scale of {'the model' if is_module else model}, got {scale!r}"
            )
        if tile == "exact" and not isinstance(network, LAMNet):
            raise ValueError("tile must be a number of pixels for networks other than LAMNet, got 'exact'")
        if target_device is None:
            target_device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        self.model = network.to(target_device)
        if compile:
            compile_network(self.model)
        self.scale: int = network.scale
        self.device = target_device
        self._precision = precision
        self.max_memory = limit
        self._planner = TilePlanner(self.model, target_device, tile, tile_pad, limit)
        if limit is not None and limit < (minimum := self._planner.min_memory()):
            raise ValueError(f"max_memory must be at least {format_memory(minimum)}, got {max_memory!r}")
        self._inference = Inference(self.model, target_device, self._planner)

    def encoding_error(self, extension: str, height: int, width: int) -> str | None:
        """Return an error message if encoding a result exceeds ``max_memory``, otherwise None."""
        need = encoder_memory(extension, height, width)
        if self.max_memory is None or need <= host_memory(self.max_memory):
            return None
        return f"encoding {width}x{height} pixels needs {format_memory(need)} of memory, more than max_memory leaves"

    def __call__(self, image: ImageT, *, progress: Progress | None = None) -> ImageT:
        """Upscale an image; ``progress`` is called with the number of tiles done and their total."""
        return self.run(image, progress=progress).image

    def run(self, image: ImageT, *, progress: Progress | None = None) -> UpscaleOutput[ImageT]:
        """Upscale an image and return the result with the tile plan and the precision that ran.

        With ``tile="auto"``, the plan depends on the free memory. If memory runs out during the computation, smaller
        tiles are used, with a warning.

        Args:
            image: The image.
            progress: Called after each tile with the number of tiles done and their total.

        Raises:
            ValueError: If the image's type, shape or values are out of range.
            LAMNetError: If memory is short or the result is not finite.
        """
        if isinstance(image, Picture):
            output = self._run_array(image.pixels, progress)
            return replace(output, image=image.with_pixels(output.image))
        if isinstance(image, Image.Image):
            output = self.run(from_pillow(image), progress=progress)
            result = to_pillow(output.image)
            result.info.update({key: image.info[key] for key in ("exif", "xmp") if key in image.info})
            return replace(output, image=result)
        if isinstance(image, np.ndarray) and image.ndim == 2:
            output = self._run_array(image[..., None], progress)
            return replace(output, image=output.image[..., 0])
        if isinstance(image, np.ndarray):
            return self._run_array(image, progress)
        if isinstance(image, Tensor):
            return self._run_tensor(image, progress)
        raise ValueError(f"image must be an array, Pillow image, tensor or Picture, got {type(image).__name__}")

    def _run_array(self, pixels: np.ndarray, progress: Progress | None) -> UpscaleOutput[np.ndarray]:
        if pixels.ndim != 3 or 0 in pixels.shape:
            raise ValueError(f"image must have shape (H, W) or (H, W, C), none of them 0, got {pixels.shape}")
        dtype = pixels.dtype
        if dtype not in (np.uint8, np.uint16) and dtype.kind != "f":
            raise ValueError(f"image must be uint8, uint16 or floating-point, got {dtype}")
        output = self._run(Pixels.from_array(pixels), progress)
        return replace(output, image=output.image.to_array())

    def _run_tensor(self, image: Tensor, progress: Progress | None) -> UpscaleOutput[Tensor]:
        if image.dim() not in (3, 4) or 0 in image.shape:
            raise ValueError(
                f"image must have shape (C, H, W) or (B, C, H, W), none of them 0, got {tuple(image.shape)}"
            )
        if not image.is_floating_point():
            raise ValueError(f"image must be floating-point in [0, 1] if it is a tensor, got {image.dtype}")
        batch = image.detach() if image.dim() == 4 else image.detach()[None]
        output = self._run(Pixels(batch), progress)
        return replace(output, image=output.image.data if image.dim() == 4 else output.image.data[0])

    def _run(self, source: Pixels, progress: Progress | None) -> UpscaleOutput[Pixels]:
        precision = self._precision
        if precision == "auto":
            precision = "fp16" if source.data.dtype == torch.uint8 and self.device.type == "cuda" else "fp32"
        half = PRECISIONS[precision]
        out, plan = self._inference.upscale(source, half, progress)
        dtype = half or next((parameter.dtype for parameter in self.model.parameters()), torch.float32)
        return UpscaleOutput(out, plan, DTYPE_NAMES[dtype])
