"""Degradations of LR images: blur, noise and lossy compression, fixed for evaluation or random for training."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image
from scipy import fft

from .resize import imresize

KINDS = {"blur": (0.0, 10.0), "noise": (0.0, 100.0), "jpeg": (1, 100), "webp": (1, 100)}
"""Kinds of fixed degradations, with the range of their values."""

_GRID = 16  # pixels of a JPEG block with subsampled chroma

FILTERS = ("bicubic", "box", "lanczos")
"""Filters that reduce HR patches."""


@dataclass(frozen=True)
class Degradation:
    """Fixed degradation of an LR image.

    Attributes:
        kind: ``"blur"``, ``"noise"``, ``"jpeg"`` or ``"webp"``.
        value: Standard deviation of the Gaussian blur in pixels; that of the Gaussian noise in levels of 255; or the
            quality of the codec. JPEG files have chroma subsampling 4:2:0.
    """

    kind: str
    value: float

    def __str__(self) -> str:
        return f"{self.kind}={self.value:g}"


def parse_degradations(text: str) -> tuple[Degradation, ...]:
    """Parse a comma-separated list such as ``"noise=10,jpeg=75"``, in the order of application.

    Raises:
        ValueError: If a kind is unknown or a value is out of range.
    """
    steps = []
    for part in filter(None, text.split(",")):
        kind, _, value = part.strip().partition("=")
        if kind not in KINDS:
            raise ValueError(f"degradation must be one of {', '.join(KINDS)}, such as jpeg=75, got {part.strip()!r}")
        low, high = KINDS[kind]
        try:
            number = type(low)(value)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            kind_of_number = "an integer" if isinstance(low, int) else "a number"
            raise ValueError(f"{kind} must be {kind_of_number} from {low:g} to {high:g}, got {value!r}")
        steps.append(Degradation(kind, number))
    return tuple(steps)


def apply_degradations(image: np.ndarray, degradations: Iterable[Degradation], name: str = "") -> np.ndarray:
    """Apply degradations to an image, in order; each rounds to 8 bits.

    Args:
        image: RGB image (H, W, 3), uint8.
        degradations: Degradations, in order.
        name: Name of the image, which seeds the noise: results are the same in every run.
    """
    for index, step in enumerate(degradations):
        if step.kind in ("jpeg", "webp"):
            image = compress(image, step.kind, int(step.value))
            continue
        values = image.astype(np.float32)
        if step.kind == "blur":
            values = blur(values, step.value, step.value, 0.0)
        else:
            seed = hashlib.sha256(f"{index} {name}".encode()).digest()
            random = np.random.Generator(np.random.Philox(int.from_bytes(seed[:16], "little")))
            values += random.normal(0, step.value, values.shape)
        image = _round(values)
    return image


def blur(image: np.ndarray, sigma: float, other_sigma: float, angle: float) -> np.ndarray:
    """Blur an image by a Gaussian, with mirrored borders.

    Args:
        image: Image (H, W, C), float32.
        sigma: Standard deviation in pixels along the first axis of the Gaussian.
        other_sigma: Standard deviation along its second axis.
        angle: Angle of the first axis to the rows of the image, in radians.
    """
    border = int(np.ceil(4 * max(sigma, other_sigma)))
    padded = np.pad(image, ((border, border), (border, border), (0, 0)), "symmetric")
    height, width = padded.shape[:2]
    v, u = np.meshgrid(fft.fftfreq(height), fft.rfftfreq(width), indexing="ij")
    along, across = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
    # The Fourier transform of a Gaussian is a Gaussian.
    transfer = np.exp(-2 * np.pi**2 * ((sigma * along) ** 2 + (other_sigma * across) ** 2)).astype(np.float32)
    blurred = fft.irfft2(fft.rfft2(padded, axes=(0, 1)) * transfer[..., None], (height, width), axes=(0, 1))
    return blurred[border : height - border, border : width - border]


def compress(image: np.ndarray, codec: str, quality: int, subsampling: str = "4:2:0") -> np.ndarray:
    """Return an image after encoding and decoding.

    Args:
        image: RGB image (H, W, 3), uint8.
        codec: ``"jpeg"`` or ``"webp"``.
        quality: Quality of the codec, 1 to 100.
        subsampling: Chroma subsampling of JPEG: ``"4:2:0"`` or ``"4:4:4"``.
    """
    options = {"subsampling": subsampling} if codec == "jpeg" else {}
    file = io.BytesIO()
    Image.fromarray(image).save(file, codec, quality=quality, **options)
    with Image.open(file) as decoded:
        return np.array(decoded.convert("RGB"))


@dataclass(frozen=True)
class PhotoDegradation:
    """Random degradation of training patches, as of photographs from phones and the web.

    A patch remains clean, or is blurred, reduced by a random filter, given noise, and compressed once or twice, with
    the grid of JPEG blocks at random positions.

    Attributes:
        clean: Probability of no degradation.
        blur: Probability of blur.
        blur_sigma: Smallest and largest standard deviation of the Gaussian blur, in LR pixels.
        anisotropic: Probability that a blur has two standard deviations, at a random angle.
        noise: Probability of noise.
        noise_sigma: Smallest and largest standard deviation of the noise, in levels of 255.
        shot: Probability that the variance of the noise is proportional to the value of a pixel; at mid-gray it is that
            of the other noise.
        quality: Lowest and highest quality of the codecs.
        webp: Probability of WebP in place of JPEG.
        full_chroma: Probability of 4:4:4 in place of 4:2:0, in JPEG.
        twice: Probability of a second compression.
    """

    clean: float = 0.4
    blur: float = 0.5
    blur_sigma: tuple[float, float] = (0.2, 1.2)
    anisotropic: float = 0.5
    noise: float = 0.5
    noise_sigma: tuple[float, float] = (0.0, 10.0)
    shot: float = 0.5
    quality: tuple[int, int] = (40, 95)
    webp: float = 0.1
    full_chroma: float = 0.3
    twice: float = 0.2

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, tuple):
                low, high = (1, 100) if name == "quality" else (0, 100)
                if len(value) != 2 or not low <= value[0] <= value[1] <= high:
                    raise ValueError(f"{name} must be two numbers from {low} to {high}, in order, got {list(value)}")
            elif not 0 <= value <= 1:
                raise ValueError(f"{name} must be a probability, 0 to 1, got {value:g}")

    def apply(self, hr: np.ndarray, scale: int, random: np.random.Generator) -> np.ndarray:
        """Return the LR image of an HR image, reduced and degraded.

        Args:
            hr: HR image (s·H, s·W, 3), uint8.
            scale: Scale factor s.
            random: Source of all random choices.

        Returns:
            LR image (H, W, 3), uint8.
        """
        values = hr.astype(np.float32)
        if random.random() < self.blur:
            sigma, other = random.uniform(*self.blur_sigma, 2) * scale
            is_anisotropic = random.random() < self.anisotropic
            values = blur(values, sigma, other if is_anisotropic else sigma, random.uniform(0, np.pi))
        lr = _reduce(values, scale, FILTERS[random.integers(len(FILTERS))])
        if random.random() < self.noise:
            sigma = random.uniform(*self.noise_sigma)
            deviation = sigma * np.sqrt(lr.clip(0) / 127.5) if random.random() < self.shot else sigma
            lr = lr + deviation * random.standard_normal(lr.shape, np.float32)
        image = _round(lr)
        for _ in range(1 + (random.random() < self.twice)):
            image = self._compress(image, random)
        return image

    def _compress(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        codec = "webp" if random.random() < self.webp else "jpeg"
        subsampling = "4:4:4" if random.random() < self.full_chroma else "4:2:0"
        quality = round(random.uniform(*self.quality))
        top, left = random.integers(_GRID, size=2)  # shifts the grid of blocks
        shifted = np.pad(image, ((top, 0), (left, 0), (0, 0)), "edge")
        return compress(shifted, codec, quality, subsampling)[top:, left:]


def _reduce(image: np.ndarray, scale: int, kernel: str) -> np.ndarray:
    if kernel == "bicubic":
        return imresize(image, 1 / scale)
    size = image.shape[1] // scale, image.shape[0] // scale
    resample = Image.Resampling[kernel.upper()]
    channels = (Image.fromarray(np.ascontiguousarray(image[..., c])).resize(size, resample) for c in range(3))
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def _round(values: np.ndarray) -> np.ndarray:
    return (values + 0.5).clip(0, 255).astype(np.uint8)
