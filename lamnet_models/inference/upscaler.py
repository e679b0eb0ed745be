"""Upscale images of any type, channel count and bit depth."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..devices import DTYPE_NAMES, PRECISIONS, Autocast, compile_network, resolve_device
from ..errors import LAMNetError
from ..exporting import to_onnxruntime
from ..factory import create_model, resolve_model
from ..image_io import Picture
from ..image_io.picture import from_pillow, to_pillow
from ..integrations.onnxruntime import OnnxNetwork
from ..lamnet import LAMNet
from ..names import (
    check_weights,
    default_model_for_scale,
    has_weights,
    offers_photo_weights,
    split_name,
)
from .pixels import Pixels, fill_transparent, scratch_folder
from .planner import TilePlan, TilePlanner, format_memory, parse_memory
from .sizing import SCALES, ImageT, TargetSize, image_size, resize_image
from .tiling import Progress, forward_exact, forward_tiled

BACKENDS = ("torch", "onnxruntime")
"""Available inference backends."""

TILE_PAD = 32
"""Default of ``tile_pad``, in pixels."""

_ARRAY_DTYPES = (np.uint8, np.uint16, np.float16, np.float32, np.float64)
_TOLERANCE = 1e-3
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def upscale(
    image: ImageT,
    model: nn.Module | str | os.PathLike | None = None,
    *,
    weights: str | None = None,
    strength: float | None = None,
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
        weights: ``"clean"`` or ``"photo"``, see [`Upscaler`][lamnet_models.Upscaler].
        strength: Strength of the photo weights, 0 to 1, see [`Upscaler`][lamnet_models.Upscaler].
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
    upscalers = UpscalerPool(
        model,
        TargetSize(scale, width, height),
        weights=weights,
        strength=strength,
        tile=tile,
        tile_pad=tile_pad,
        device=device,
        precision=precision,
        max_memory=max_memory,
        compile=compile,
        backend=backend,
    )
    return upscalers.run(image, progress=progress).image


@dataclass(frozen=True)
class UpscaleOutput(Generic[ImageT]):
    """SR image, and how it was computed.

    Attributes:
        image: SR image, of the type of the input.
        plan: Tile plan that ran, after any out-of-memory fallback.
        precision: Precision of the computation: ``"fp32"``, ``"fp16"``, ``"bf16"`` or ``"fp64"``; ``"int32"``
            for Lanczos interpolation.
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
    - a [`Picture`][lamnet_models.image_io.Picture].

    C is 1 (gray), 2 (gray, alpha), 3 (RGB), 4 (RGB, alpha), or the network's ``in_chans``. An RGB network runs gray and
    alpha as three equal channels and returns their luma, because its result may be slightly tinted. A gray network runs
    each channel as a separate image. Colors under fully transparent pixels are filled in first to avoid fringes, see
    ``fill_transparent``. A constant alpha channel stays exactly the same.

    Args:
        model: A network on (B, C, H, W) with attributes ``scale`` and ``in_chans``, a model name, or the path of a
            checkpoint. None: the LAMNet model for ``scale``, by default ``"lamnet_x4"``.
        weights: Purpose of the weights: ``"clean"`` for sharp images, ``"photo"`` for photographs with JPEG artifacts,
            noise or slight blur. Requires a model name without tag. None: ``"photo"`` with ``strength``, otherwise
            those of the model.
        strength: Strength of the photo weights: 1, the default, for these weights, 0 for the clean weights, in between
            their interpolation, see [`interpolate_weights`][lamnet_models.pretrained.interpolate_weights].
        scale: Upscaling factor, which must equal the network's. None: the network's.
        tile: Side of the tiles in pixels, see ``forward_tiled``; 0: the whole image at once; ``"exact"``: tiles with
            the result of the whole image, see ``forward_exact``; ``"auto"``: the whole image if memory allows,
            otherwise exact tiles for LAMNet and tiles of 256 for other networks.
        tile_pad: Pixels of padding around a tile.
        device: Device to move the network to. ``"auto"``: the CPU for ONNX Runtime; the current device of a network
            passed as a module; otherwise the first available of CUDA, MPS and CPU.
        precision: ``"fp32"``, or ``"fp16"`` or ``"bf16"`` by autocast; tiles with non-finite results are recomputed in
            float32, with a warning. ``"auto"``: fp16 for 8-bit images on CUDA, otherwise fp32. fp16, and bf16 on
            CPUs, resolve about a tenth of an 8-bit level, bf16 on GPUs about one.
        max_memory: Limit of the process's host memory, including what it already uses, in bytes or as text such as
            ``"4G"``, see ``parse_memory``. Beyond it, the result and then LAMNet's features are stored in temporary
            files; the returned array may be mapped from such a file, which is deleted with it. None: the free memory.
        compile: Compile the network in place, see ``compile_network``. This takes about half a minute and pays off for
            many or large images.
        backend: Inference backend: ``"torch"``, or ``"onnxruntime"`` on the CPU in float32, which also runs exported
            files (``.onnx``).

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
        weights: str | None = None,
        strength: float | None = None,
        scale: int | None = None,
        tile: int | str = "auto",
        tile_pad: int = TILE_PAD,
        device: torch.device | str = "auto",
        precision: str = "auto",
        max_memory: int | str | None = None,
        compile: bool = False,
        backend: str = "torch",
    ) -> None:
        self.max_memory = _check_options(tile, tile_pad, device, precision, max_memory, compile, backend)
        is_module = isinstance(model, nn.Module)
        source = default_model_for_scale(scale or 4) if model is None else model
        network = resolve_model(source, weights=weights, strength=strength)
        if backend == "onnxruntime":
            network = to_onnxruntime(network)
        if scale not in (None, network.scale):
            raise ValueError(
                f"scale must be {network.scale}, the scale of {'the model' if is_module else model}, got {scale!r}"
            )
        if tile == "exact" and not isinstance(network, LAMNet):
            raise ValueError("tile must be a number of pixels for networks other than LAMNet, got 'exact'")
        if isinstance(network, OnnxNetwork):
            _check_onnx_options(device, precision, compile)
            device = "cpu"
        elif is_module and device == "auto":
            device = next((parameter.device for parameter in network.parameters()), "cpu")
        self.device = resolve_device(device)
        self.model = network.to(self.device)
        if compile:
            compile_network(self.model)
        self.scale: int = network.scale
        self._precision = precision
        self._planner = TilePlanner(self.model, self.device, tile, tile_pad, self.max_memory)
        _check_max_memory(self._planner, max_memory)

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
        image_size(image)  # raises
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
        return self._run_tensor(image, progress)

    def plan(self, picture: Picture) -> TilePlan:
        """Return the tile plan for a picture with the current free memory, without upscaling it.

        Raises:
            ValueError: As ``run``.
            LAMNetError: As ``run``, if every plan exceeds ``max_memory``.
        """
        plan, _ = self._select_plan(Pixels.from_array(picture.pixels))
        return plan

    def _run_array(self, pixels: np.ndarray, progress: Progress | None) -> UpscaleOutput[np.ndarray]:
        pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        if pixels.dtype not in _ARRAY_DTYPES:
            raise ValueError(f"image must be uint8, uint16, float16, float32 or float64, got {pixels.dtype}")
        output = self._run(Pixels.from_array(pixels), progress)
        return replace(output, image=output.image.to_array())

    def _run_tensor(self, image: Tensor, progress: Progress | None) -> UpscaleOutput[Tensor]:
        if not image.is_floating_point():
            raise ValueError(f"image must be floating-point in [0, 1] if it is a tensor, got {image.dtype}")
        batch = image.detach() if image.dim() == 4 else image.detach()[None]
        output = self._run(Pixels(batch), progress)
        return replace(output, image=output.image.data if image.dim() == 4 else output.image.data[0])

    def _select_plan(self, source: Pixels) -> tuple[TilePlan, Iterator[TilePlan]]:
        """Check images and return their tile plan, and its fallbacks when out of memory."""
        if source.data.is_floating_point():
            low, high = (bound.item() for bound in source.data.aminmax())
            if not -_TOLERANCE <= low <= high <= 1 + _TOLERANCE:  # also rejects NaN
                raise ValueError(f"image must have values in [0, 1], got values from {low:g} to {high:g}")
        channels, in_chans = source.shape[1], self.model.in_chans
        if channels != in_chans and not (channels <= 4 and in_chans in (1, 3)):
            raise ValueError(f"image must have the model's {in_chans} channels, got {channels} channels")
        plans = self._planner.plans(source.shape, source.data.dtype.itemsize)
        plan = next(plans)
        if files := plan.in_files:
            sizes = " and ".join(f"{name} ({size / 1e9:.2f} GB)" for name, size in files.items())
            warnings.warn(
                f"memory is short: {sizes} stored temporarily in {scratch_folder()}", RuntimeWarning, stacklevel=3
            )
        return plan, plans

    @torch.no_grad()
    def _run(self, source: Pixels, progress: Progress | None) -> UpscaleOutput[Pixels]:
        """Upscale images (B, C, H, W), including alpha; if memory is short, the result is in a temporary file."""
        plan, plans = self._select_plan(source)
        in_chans = self.model.in_chans
        out = source.empty_upscaled(self.scale, plan.result_in_file)
        half = self._autocast_dtype(source.data.dtype)
        dtype = next((parameter.dtype for parameter in self.model.parameters()), torch.float32)
        parts = _split_alpha(source, out, in_chans)
        with _eval_mode(self.model):
            for index, (part, into) in enumerate(parts):
                autocast = Autocast(self.device, dtype, half)
                part_progress = progress and _partial_progress(progress, index, len(parts))
                plan = self._run_plans(autocast, part, into, plan, plans, part_progress)
        return UpscaleOutput(out, plan, DTYPE_NAMES[half or dtype])

    def _autocast_dtype(self, dtype: torch.dtype) -> torch.dtype | None:
        if self._precision == "auto":
            return torch.float16 if dtype == torch.uint8 and self.device.type == "cuda" else None
        return PRECISIONS[self._precision]

    def _run_plans(
        self,
        autocast: Autocast,
        source: Pixels,
        out: Pixels,
        plan: TilePlan,
        fallbacks: Iterator[TilePlan],
        progress: Progress | None,
    ) -> TilePlan:
        """Run a plan, or its fallbacks when out of memory; return the plan that succeeded."""
        while not self._run_plan(autocast, source, out, plan, progress):
            if (smaller := next(fallbacks, None)) is None:
                size = f"{source.shape[3]}x{source.shape[2]} pixels" if plan.tile == 0 else plan
                raise LAMNetError(f"out of memory on {self.device} with {size}; use smaller tiles")
            warnings.warn(f"out of memory with {plan}: using {smaller}", RuntimeWarning, stacklevel=3)
            plan = smaller
        if autocast.overflowed:
            warnings.warn(f"{str(autocast.half)[6:]} overflowed: recomputed in float32", RuntimeWarning, stacklevel=3)
        return plan

    def _run_plan(
        self, autocast: Autocast, source: Pixels, out: Pixels, plan: TilePlan, progress: Progress | None
    ) -> bool:
        """Run a plan; return False if memory ran out."""

        def forward(image: Tensor) -> Tensor:
            return autocast.check(autocast(self.model, image))

        try:
            if plan.is_exact:
                in_file = plan.features_in_file
                forward_exact(self.model, source, out, autocast, tile=plan.tile, in_file=in_file, progress=progress)
            else:
                forward_tiled(forward, source, out, self.scale, plan.tile, self._planner.tile_pad, progress)
            return True
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            return False  # the retry runs outside this handler, whose traceback would keep the tensors alive


class UpscalerPool:
    """Upscalers for a target size, one per network scale.

    If the network's scale depends on the image, each network is loaded on first use, otherwise by the constructor. The
    constructor checks all arguments in both cases.

    Args:
        model: As for [`Upscaler`][lamnet_models.Upscaler]. None: for each image, the model with the smallest sufficient
            scale of ``lamnet_x2``, ``lamnet_x3`` and ``lamnet_x4``, or of those of them that have the weights.
        size: Target size; None: the model's own scale.
        weights: As for [`Upscaler`][lamnet_models.Upscaler].
        strength: As for [`Upscaler`][lamnet_models.Upscaler].
        **options: Other arguments of [`Upscaler`][lamnet_models.Upscaler].

    Attributes:
        size: Target size.
        scale: The network's upscaling factor; the largest possible one if it depends on the image.
        max_memory: Limit of the process's memory in bytes; None: no limit.

    Raises:
        ValueError: If an argument is out of range.
        LAMNetError: If the model does not exist.
    """

    def __init__(
        self,
        model: nn.Module | str | os.PathLike | None = None,
        size: TargetSize | None = None,
        *,
        weights: str | None = None,
        strength: float | None = None,
        **options: Any,
    ) -> None:
        purpose, _ = check_weights(model, weights, strength)
        self.size = size or TargetSize()
        self._model = model
        self._is_default = purpose is None
        self._options = {"weights": weights, "strength": strength, **options}
        self._loaded: dict[int, Upscaler] = {}
        self._fixed: Upscaler | None = None
        if model is not None or self.size.is_network_size:
            scale = self.size.scale if self.size.is_network_size else None
            self._fixed = Upscaler(model, scale=scale and int(scale), **self._options)
            self.scale, self.max_memory = self._fixed.scale, self._fixed.max_memory
            return
        self._scales = _scales_with_weights(purpose)
        self.scale, self.max_memory = self._scales[-1], _check_options(**options)
        if self.size.scale is not None and self.size.scale > self.scale:
            raise ValueError(f"scale must be at most {self.scale}, got {self.size.scale:g}; upscale twice")
        if self.max_memory is not None:
            network = create_model(default_model_for_scale(SCALES[0]), device=torch.device("meta"))
            planner = TilePlanner(network, torch.device("cpu"), "auto", TILE_PAD, self.max_memory)
            _check_max_memory(planner, options["max_memory"])

    def result_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the result for an image of this size.

        Raises:
            LAMNetError: If the result is not larger than the image, or exceeds the largest scale.
        """
        return self.size.result(height, width, self.scale)

    def for_size(self, height: int, width: int) -> Upscaler:
        """Return the upscaler with the smallest sufficient scale for an image of this size."""
        if self._fixed:
            return self._fixed
        scale = self.size.network_scale(height, width, self._scales)
        if scale not in self._loaded:
            self._loaded[scale] = Upscaler(scale=scale, **self._options)
        return self._loaded[scale]

    def suggested_weights(self, picture: Picture) -> str | None:
        """Return ``"photo"`` for a picture with JPEG artifacts if the default, clean weights are used, else None."""
        if not self._is_default or not picture.has_jpeg_artifacts:
            return None
        scale = self.for_size(picture.height, picture.width).scale
        model = default_model_for_scale(scale) if self._model is None else self._model
        return "photo" if offers_photo_weights(model) else None

    def plan(self, picture: Picture) -> TilePlan:
        """Return the tile plan for a picture, without upscaling it.

        Raises:
            ValueError: As ``run``.
            LAMNetError: As ``run``, before the computation.
        """
        self.result_size(picture.height, picture.width)
        return self.for_size(picture.height, picture.width).plan(picture)

    def run(self, image: ImageT, *, progress: Progress | None = None) -> UpscaleOutput[ImageT]:
        """Upscale an image to the target size; see [`Upscaler`][lamnet_models.Upscaler].

        Args:
            image: The image.
            progress: Called after each tile with the number of tiles done and their total.

        Raises:
            ValueError: If the image's type, shape or values are out of range.
            LAMNetError: If the result is not larger than the image or too large, memory is short, or the result is not
                finite.
        """
        height, width = image_size(image)
        result = self.result_size(height, width)
        upscaler = self.for_size(height, width)
        output = upscaler.run(image, progress=progress)
        return replace(output, image=resize_image(output.image, *result, upscaler.max_memory))


def _scales_with_weights(purpose: str | None) -> tuple[int, ...]:
    """Return the scales of the default models that have weights for a purpose, all for None.

    Raises:
        ModelError: If none has.
    """
    models = {scale: default_model_for_scale(scale) for scale in SCALES}
    if purpose is None:
        return SCALES
    scales = tuple(scale for scale, model in models.items() if has_weights(model, purpose))
    if not scales:
        split_name(f"{models[SCALES[-1]]}.{purpose}")  # raises
    return scales


def _check_options(
    tile: int | str = "auto",
    tile_pad: int = TILE_PAD,
    device: torch.device | str = "auto",
    precision: str = "auto",
    max_memory: int | str | None = None,
    compile: bool = False,
    backend: str = "torch",
) -> int | None:
    """Check the arguments of ``Upscaler`` that do not depend on the network; return ``max_memory`` in bytes."""
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
    if backend == "onnxruntime":
        _check_onnx_options(device, precision, compile)
        if tile == "exact":
            raise ValueError("tile must be a number of pixels with backend 'onnxruntime', got 'exact'")
    resolve_device(device)
    return None if max_memory is None else parse_memory(max_memory)


def _check_onnx_options(device: torch.device | str, precision: str, compile: bool) -> None:
    if compile or str(device) not in ("auto", "cpu") or precision not in ("auto", "fp32"):
        raise ValueError(
            "ONNX Runtime runs on the CPU in float32 and does not support device, precision and compile; omit them"
        )


def _check_max_memory(planner: TilePlanner, max_memory: int | str | None) -> None:
    if planner.max_memory is not None and planner.max_memory < (minimum := planner.min_memory()):
        raise ValueError(f"max_memory must be at least {format_memory(minimum)}, got {max_memory!r}")


def _split_alpha(source: Pixels, out: Pixels, in_chans: int) -> list[tuple[Pixels, Pixels]]:
    """Return pairs of network input and output: color and, unless it is constant, alpha."""
    channels = source.shape[1]
    if channels == in_chans or channels in (1, 3):
        return _match_channels(source, out, in_chans)
    color, alpha = (slice(None, -1), slice(-1, None))
    alpha_values = source.channels(alpha).read()
    if bool((alpha_values == alpha_values.flatten()[0]).all()):
        out.data[:, alpha] = source.data[0, -1, 0, 0]
        return _match_channels(source.channels(color), out.channels(color), in_chans)
    filled = Pixels(fill_transparent(source.channels(color).read(), alpha_values))
    return [
        *_match_channels(filled, out.channels(color), in_chans),
        *_match_channels(source.channels(alpha), out.channels(alpha), in_chans),
    ]


def _match_channels(source: Pixels, out: Pixels, in_chans: int) -> list[tuple[Pixels, Pixels]]:
    channels = source.shape[1]
    if channels > in_chans:  # each channel as a separate image
        return list(zip(source.split_channels(), out.split_channels(), strict=True))
    return [(source, out) if channels == in_chans else (source.repeat_channels(in_chans), out.as_luma())]


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _partial_progress(progress: Progress, index: int, parts: int) -> Progress:
    return lambda done, total: progress(index * total + done, parts * total)


def _is_out_of_memory(error: RuntimeError) -> bool:
    return any(phrase in str(error).lower() for phrase in _OUT_OF_MEMORY)
