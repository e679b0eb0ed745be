"""Small valid image files of every format and variant, to be mutated."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import imagecodecs
import numpy as np
import pyvips
import tifffile
from PIL import Image, PngImagePlugin

HEIGHT, WIDTH = 20, 24


def originals() -> dict[str, list[bytes]]:
    """Return the files by format."""
    return {
        "PNG": list(_pngs()),
        "JPEG": list(_jpegs()),
        "WEBP": list(_webps()),
        "BMP": list(_bmps()),
        "GIF": list(_gifs()),
        "TIFF": list(_tiffs()),
        "AVIF": list(_avifs()),
        "PNM": list(_pnms()),
    }


def gradients(channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    """Return gradients with some noise, (H, W, C)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    planes = np.stack((x * 10, y * 12, (x + y) * 5, 255 - x * 7), axis=2)[..., :channels]
    noise = np.random.default_rng(0).integers(0, 12, planes.shape)
    return ((planes + noise).clip(0, 255) * (np.iinfo(dtype).max // 255)).astype(dtype)


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _modes() -> Iterator[Image.Image]:
    rgb = Image.fromarray(gradients())
    yield from (rgb, rgb.convert("L"), rgb.convert("1"), rgb.quantize(16))
    yield from (Image.fromarray(gradients(4)), rgb.convert("LA"))


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A], exif[0x011B] = 6, "Maker", 300.0, 300.0
    exif.get_ifd(0x8769)[0x9003] = "2024:01:01 00:00:00"
    return exif


def _pngs() -> Iterator[bytes]:
    for image in _modes():
        yield _saved(image, "PNG")
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "words", zip=True)
    text.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    rgb = Image.fromarray(gradients())
    profile = bytes(pyvips.Image.profile_load("srgb"))
    yield _saved(rgb, "PNG", pnginfo=text, exif=_exif(), icc_profile=profile, dpi=(300, 300))
    yield _saved(rgb.quantize(16), "PNG", transparency=3)
    yield _saved(rgb.convert("L"), "PNG", transparency=30)
    yield _saved(rgb, "PNG", save_all=True, append_images=[rgb.rotate(180)], duration=50)
    for bits, color_type in ((1, 0), (2, 0), (4, 0), (2, 3), (16, 0), (16, 2), (16, 4), (16, 6)):
        for interlaced in (0, 1):
            yield _png(bits, color_type, interlaced)


def _png(bits: int, color_type: int, interlaced: int) -> bytes:
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color_type]
    passes = [(0, 0, 1, 1)]
    if interlaced:  # Adam7: first column and row, steps
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for left, top, across, down in passes:
        width, height = -(-(WIDTH - left) // across), -(-(HEIGHT - top) // down)
        length = (width * channels * bits + 7) // 8
        rows += b"".join(b"\0" + bytes((row * 7 + i) % 256 for i in range(length)) for row in range(height))
    palette = [(b"PLTE", bytes(range(12)))] if color_type == 3 else []
    header = (b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, color_type, 0, 0, interlaced))
    parts = [header, *palette, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def _jpegs() -> Iterator[bytes]:
    rgb = Image.fromarray(gradients())
    profile = bytes(pyvips.Image.profile_load("srgb"))
    for image in (rgb, rgb.convert("L"), rgb.convert("CMYK")):
        yield _saved(image, "JPEG")
        yield _saved(image, "JPEG", progressive=True)
    yield _saved(rgb, "JPEG", subsampling=0, restart_marker_blocks=1)
    yield _saved(rgb, "JPEG", exif=_exif(), icc_profile=profile, xmp=b"<x:xmpmeta/>", dpi=(300, 300))
    yield _saved(rgb, "MPO", save_all=True, append_images=[rgb])


def _webps() -> Iterator[bytes]:
    rgb, rgba = Image.fromarray(gradients()), Image.fromarray(gradients(4))
    for image in (rgb, rgba):
        for lossless in (False, True):
            yield _saved(image, "WEBP", lossless=lossless)
    yield _saved(rgb, "WEBP", exif=_exif(), xmp=b"<x:xmpmeta/>")
    yield _saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(180)], duration=50)


def _bmps() -> Iterator[bytes]:
    for image in (image for image in _modes() if image.mode != "LA"):
        yield _saved(image, "BMP")
    masks = struct.pack("<IIII", 0xF800, 0x7E0, 0x1F, 0)
    body = bytes(range(256)) * (HEIGHT * WIDTH // 32)
    for size, bits, compression in ((40, 16, 3), (108, 16, 3), (124, 32, 3), (124, 32, 0), (40, 2, 0), (40, 4, 0)):
        yield _bmp(size, bits, compression, masks, body)
    runs = b"".join(bytes((WIDTH - 6, row, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0)) for row in range(HEIGHT)) + b"\0\1"
    yield _bmp(40, 8, 1, bytes(range(256)) * 4, runs)
    yield _bmp(40, 4, 2, bytes(range(64)), runs)
    header = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, 8)
    yield b"BM" + struct.pack("<IHHI", 0, 0, 0, 26 + 768) + header + bytes(range(256)) * 3 + body


def _bmp(size: int, bits: int, compression: int, between: bytes, body: bytes) -> bytes:
    header = struct.pack("<IiiHHIIiiII", size, WIDTH, -HEIGHT, 1, bits, compression, len(body), 3000, 3000, 0, 0)
    header = (header + between if size > 40 else header).ljust(size, b"\0")[:size] + (between if size == 40 else b"")
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(body), 0, 0, 14 + len(header)) + header + body


def _gifs() -> Iterator[bytes]:
    palette = Image.fromarray(gradients()).quantize(32)
    yield _saved(palette, "GIF", interlace=0)
    yield _saved(palette, "GIF", interlace=1, transparency=2, comment=b"words")
    yield _saved(palette, "GIF", save_all=True, append_images=[palette.rotate(180)], duration=50, loop=0, disposal=2)
    yield _saved(palette.convert("1"), "GIF")


def _tiffs() -> Iterator[bytes]:
    def tiff(pixels: np.ndarray, **options: object) -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(file, pixels, **options)
        return file.getvalue()

    rgb, deep = gradients(), gradients(3, np.uint16)
    for compression in ("none", "lzw", "deflate", "packbits", "jpeg", "lzma"):
        yield tiff(rgb, photometric="rgb", compression=compression)
        yield tiff(rgb, photometric="rgb", compression=compression, tile=(16, 16))
    for options in ({"predictor": 2, "compression": "lzw"}, {"byteorder": ">"}, {"bigtiff": True}, {"rowsperstrip": 3}):
        yield tiff(deep, photometric="rgb", **options)
    planes = np.ascontiguousarray(np.moveaxis(rgb, 2, 0))
    yield tiff(planes, photometric="rgb", planarconfig="separate")
    yield tiff(planes, photometric="rgb", planarconfig="separate", tile=(16, 16))
    # read by tifffile
    deep_planes = np.moveaxis(deep, 2, 0)
    yield tiff(deep_planes, photometric="rgb", planarconfig="separate", tile=(16, 16), compression="lzma", predictor=2)
    yield tiff(planes[:2], photometric="minisblack", planarconfig="separate", extrasamples=["unassalpha"])
    yield tiff(gradients(4), photometric="separated")
    yield tiff(gradients(4), photometric="rgb", extrasamples=["assocalpha"])
    yield tiff(gradients(4, np.uint16), photometric="rgb", extrasamples=["unassalpha"])
    yield tiff(rgb[..., 0], photometric="miniswhite")
    yield tiff(rgb[..., 0] > 99, photometric="minisblack")
    yield tiff(rgb / np.float32(255), photometric="rgb")
    yield tiff(np.stack([rgb[..., 0]] * 3), photometric="minisblack")
    image = Image.fromarray(rgb)
    for compression in ("group3", "group4"):
        yield _saved(image.convert("1"), "TIFF", compression=compression)
    yield _saved(image.quantize(16), "TIFF", exif=_exif())
    yield _saved(image.convert("YCbCr"), "TIFF")


def _avifs() -> Iterator[bytes]:
    for image in (Image.fromarray(gradients()), Image.fromarray(gradients(4))):
        yield _saved(image, "AVIF", speed=10)
    yield imagecodecs.avif_encode(gradients(3, np.uint16) >> 6, level=90, speed=10, bitspersample=10)


def _pnms() -> Iterator[bytes]:
    size, rgb = f"{WIDTH} {HEIGHT}\n", gradients()
    for kind, image in (("P4", Image.fromarray(rgb).convert("1")), ("P5", Image.fromarray(rgb).convert("L"))):
        yield f"{kind}\n{size}".encode() + (b"255\n" if kind == "P5" else b"") + image.tobytes()
    yield f"P6\n# comment\n{size}65535\n".encode() + gradients(3, np.uint16).astype(">u2").tobytes()
    yield f"P3\n{size}255\n{' '.join(map(str, rgb.ravel()))}".encode()
    yield f"P7\nWIDTH {WIDTH}\nHEIGHT {HEIGHT}\nDEPTH 4\nMAXVAL 255\nENDHDR\n".encode() + gradients(4).tobytes()
