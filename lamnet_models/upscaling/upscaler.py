"""Images in, larger images out: colours, transparency, bit depth, devices, memory."""

from __future__ import annotations

import os

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
from .inference import PRECISIONS, Inference
from .memory import host_memory, parse_memory, to_mega
from .pixels import Pixels
from .sizing import ImageT, Size, resized, shape_of
from .strategy import Strategy
from .tiling import Progress

BACKENDS = ("torch", "onnxruntime")
"""What can run a network."""

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
    """Enlarges an image; for several with one model, [`Upscaler`][lamnet_models.Upscaler] loads it once.

    Args:
        image: The image, see [`Upscaler`][lamnet_models.Upscaler].
        model: See [`Upscaler`][lamnet_models.Upscaler], as for all that follow but the next three. None is the one of
            the next larger factor.
        scale: Factor of enlargement. Between whole ones, the image is enlarged further and reduced by MATLAB's bicubic
            interpolation.
        width: Width of the result in pixels, in place of ``scale``; the shape is kept.
        height: Height of the result in pixels; with ``width``, both are the most.
        tile: Side of the tiles.
        tile_pad: Pixels around a tile.
        device: Where to compute.
        precision: Type to compute in.
        max_memory: Most memory that the process may have.
        compile: Whether to compile the network.
        backend: What runs the network.
        progress: Called after each step with the number of steps done and of all steps.

    Returns:
        The enlarged image, of the kind that came.

    Raises:
        ValueError: If an argument is out of its range.
        LAMNetError: If there is no such model or not enough memory.
    """
    shape, size = shape_of(image), Size(scale, width, height)
    step = size.step(*shape) if model is None or size.is_plain else None
    upscaler = Upscaler(
        model,
        scale=step,
        tile=tile,
        tile_pad=tile_pad,
        device=device,
        precision=precision,
        max_memory=max_memory,
        compile=compile,
        backend=backend,
    )
    result = size.result(*shape, upscaler.scale)
    larger = upscaler(image, progress=progress)
    return larger if size.is_plain else resized(larger, *result, upscaler.max_memory)


class Upscaler:
    """A network made ready to enlarge any number of images, of any kind.

    An image is one of

    - an array (H, W) or (H, W, C), uint8, uint16, or floating-point in [0, 1];
    - a Pillow image of any mode but F: it comes back as L, LA, RGB, RGBA or, if it was 16-bit grey, I;16; profile,
      resolution and EXIF data go with it. As in Pillow's ``resize``, an EXIF orientation is not applied;
    - a tensor (C, H, W) or (B, C, H, W), floating-point in [0, 1], on any device;
    - a [`Picture`][lamnet_models.images.Picture].

    C is 1 (grey), 2 (grey, alpha), 3 (RGB), 4 (RGB, alpha), or whatever the network has. With a network for RGB, grey
    and alpha run as three equal channels, and come back as the luma of the three: what an eye, or a metric on Y, would
    make of the slightly tinted result. With a network for grey, each channel runs by itself. Under fully transparent
    pixels, colours are first filled in from around, so that no fringes appear (see
    ``fill_transparent``); an alpha of one value stays exactly that.

    Args:
        model: A network on (B, C, H, W) with attributes ``scale`` and ``in_chans``, a model's name, or the path of a
            checkpoint. None is ``"lamnet_x4"``, or the one for ``scale``.
        scale: Factor of enlargement; it must be the network's. None takes whatever that is.
        tile: Side in pixels of the tiles that an image is cut into, see ``forward_tiled``; 0
            for the whole image at once; ``"exact"`` for tiles with the result of the whole image, see
            ``forward_exact``; ``"auto"`` for the whole where memory allows, otherwise exact tiles, or for networks
            other than LAMNet tiles of 256.
        tile_pad: Pixels around a tile that are run with it.
        device: ``"auto"`` is where a given network lies already; for others CUDA, then Apple's MPS, then the CPU. Given
            a device, the network is moved there.
        precision: ``"fp32"``, ``"fp16"`` or ``"bf16"``, the latter two by autocast; a tile with non-finite results is
            done again in float32, with a warning. ``"auto"`` is fp16 for 8-bit images on CUDA, and fp32 otherwise:
            fp16 resolves a tenth of an 8-bit level, bf16 about one.
        max_memory: Most bytes of the host's memory that the process may have, all that is there already included, or
            text such as ``"4G"``; see ``parse_memory``. Beyond it, the result and then LAMNet's features are kept in
            temporary files: what comes back may be an array mapped from one, which goes with it. None is what is free.
        compile: Whether to compile the network in place, see ``compile_network``: worth its half minute for many
            images or large ones.
        backend: What runs the network: ``"torch"``, or ``"onnxruntime"``, on the CPU and in float32.

    Attributes:
        model: The network.
        scale: Its factor of enlargement.
        device: Where it computes.
        max_memory: Most bytes of memory that the process may have; None for no limit.

    Raises:
        ValueError: If an argument is out of its range.
        LAMNetError: If there is no such model, or no compiler or ONNX Runtime where one is needed.
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
                f"tile is {tile!r}, but it must be 'auto', 'exact', 0 for the whole image, or a number of pixels"
            )
        if not isinstance(tile_pad, int) or tile_pad < 0:
            raise ValueError(f"tile_pad is {tile_pad!r}, but it must be an integer of at least 0")
        if precision not in ("auto", *PRECISIONS):
            raise ValueError(f"precision is {precision!r}, but it must be one of auto, {', '.join(PRECISIONS)}")
        if backend not in BACKENDS:
            raise ValueError(f"backend is {backend!r}, but it must be one of {', '.join(BACKENDS)}")
        elsewhere = compile or str(device) not in ("auto", "cpu") or precision not in ("auto", "fp32")
        if backend == "onnxruntime" and elsewhere:
            raise ValueError(
                "backend is 'onnxruntime', which runs on the CPU in float32: leave out device, precision and compile"
            )
        limit = None if max_memory is None else parse_memory(max_memory)
        given = isinstance(model, nn.Module)
        target = None if given and device == "auto" else resolve_device(device)
        network = resolve_model(f"lamnet_x{scale or 4}" if model is None else model)
        if backend == "onnxruntime":
            network = to_onnxruntime(network)
        if scale not in (None, network.scale):
            raise ValueError(
                f"scale is {scale!r}, but {'the model' if given else model} enlarges {network.scale} times"
            )
        if tile == "exact" and not isinstance(network, LAMNet):
            raise ValueError("tile is 'exact', which is for LAMNet only: give a number of pixels")
        if target is None:
            target = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        self.model = network.to(target)
        if compile:
            compile_network(self.model)
        self.scale: int = network.scale
        self.device = target
        self._precision = precision
        self.max_memory = limit
        self._strategy = Strategy(self.model, target, tile, tile_pad, limit)
        if limit is not None and limit < (least := self._strategy.least_memory()):
            raise ValueError(f"max_memory is {max_memory!r}, but no image takes less than {to_mega(least)}")
        self._inference = Inference(self.model, target, self._strategy)

    def tile_for(self, height: int, width: int) -> int | str:
        """Returns the side of the tiles that an image of this size would be cut into now, or ``"exact"``; 0: none.

        With ``tile="auto"`` that depends on the free memory. Where it runs out all the same, an image is done in tiles,
        with a warning.
        """
        way = next(self._strategy.plans((1, self.model.in_chans, height, width))).way
        return "exact" if way.is_exact else way.tile

    def no_room_to_write(self, extension: str, height: int, width: int) -> str | None:
        """Returns why ``max_memory`` is too little to write a result of a size in a format, or None if it is not."""
        need = encoder_memory(extension, height, width)
        if self.max_memory is None or need <= host_memory(self.max_memory):
            return None
        return f"encoding {width}x{height} pixels takes {to_mega(need)} of memory, more than max_memory leaves"

    def __call__(self, image: ImageT, *, progress: Progress | None = None) -> ImageT:
        """Returns the enlarged image, of the kind that came; ``progress`` gets the steps done and all steps."""
        if isinstance(image, Picture):
            return image.with_pixels(self._array(image.pixels, progress))
        if isinstance(image, Image.Image):
            picture = from_pillow(image)
            result = to_pillow(self(picture, progress=progress))
            result.info.update({key: image.info[key] for key in ("exif", "xmp") if key in image.info})
            return result
        if isinstance(image, np.ndarray):
            return self._array(image[..., None], progress)[..., 0] if image.ndim == 2 else self._array(image, progress)
        if isinstance(image, Tensor):
            return self._tensor(image, progress)
        raise ValueError(f"image is of type {type(image).__name__}, but it must be an array, Pillow image or tensor")

    def _array(self, pixels: np.ndarray, progress: Progress | None) -> np.ndarray:
        if pixels.ndim != 3 or 0 in pixels.shape:
            raise ValueError(f"image has shape {pixels.shape}, but it must be (H, W) or (H, W, C), none of them 0")
        kind = pixels.dtype
        if kind not in (np.uint8, np.uint16) and kind.kind != "f":
            raise ValueError(f"image is of type {kind}, but it must be uint8, uint16 or floating-point")
        half = self._half(eight_bit=kind == np.uint8)
        return self._inference.enlarge(Pixels.of_array(pixels), half, progress).to_array()

    def _tensor(self, image: Tensor, progress: Progress | None) -> Tensor:
        if image.dim() not in (3, 4) or 0 in image.shape:
            raise ValueError(f"image has shape {tuple(image.shape)}, but it must be (C, H, W) or (B, C, H, W), none 0")
        if not image.is_floating_point():
            raise ValueError(f"image is of type {image.dtype}, but a tensor must be floating-point in [0, 1]")
        planes = image.detach() if image.dim() == 4 else image.detach()[None]
        result = self._inference.enlarge(Pixels(planes), self._half(eight_bit=False), progress).data
        return result if image.dim() == 4 else result[0]

    def _half(self, eight_bit: bool) -> torch.dtype | None:
        if self._precision == "auto":
            return torch.float16 if eight_bit and self.device.type == "cuda" else None
        return PRECISIONS[self._precision]
