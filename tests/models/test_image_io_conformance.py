"""Pixels of generated files of all formats, compared with the pixels encoded or with reference decoders."""

import io
import itertools
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from lamnet_models.errors import ImageError
from lamnet_models.image_io import Picture, read_image
from lamnet_models.image_io.color import png_chunk

HEIGHT, WIDTH = 19, 35


def pixels(channels, dtype=np.uint8, height=HEIGHT, width=WIDTH):
    y, x = np.mgrid[:height, :width]
    values = np.stack([127 + 120 * np.sin(x / (5 + c) + y / (7 - c)) for c in range(channels)], axis=-1).round()
    return (values * (1 if dtype == np.uint8 else 257)).astype(dtype)


def check(folder, data, expected):
    if data is not None:
        (folder / "a").write_bytes(data)
    found = read_image(folder / "a").pixels
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected if expected.ndim == 3 else expected[..., None])


def save(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def decoded_by_pillow(data, mode):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert(mode))


# PNG


ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
PNG_KINDS = [
    (color, bits)
    for color, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items()
    for bits in depths
]


def png_rows(values, bits):
    rows = values.reshape(len(values), -1)
    if bits == 16:
        packed = rows.astype(">u2").view(np.uint8)
    else:
        packed = np.packbits((rows[..., None] >> np.arange(bits)[::-1] & 1).reshape(len(rows), -1), axis=1)
    return b"".join(b"\0" + row.tobytes() for row in packed)


def png(values, color, bits, interlaced, chunks):
    parts = [values[y::dy, x::dx] for y, x, dy, dx in ADAM7] if interlaced else [values]
    body = zlib.compress(b"".join(png_rows(part, bits) for part in parts if part.size))
    header = struct.pack(">2I5B", values.shape[1], values.shape[0], bits, color, 0, 0, interlaced)
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + chunks + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("color", "bits"), PNG_KINDS)
def test_png(tmp_path, color, bits):
    random = np.random.default_rng(0)
    for size, interlaced, is_transparent in itertools.product([(9, 11), (1, 1), (5, 1)], [0, 1], [False, True]):
        if is_transparent and (color > 3 or size != (9, 11)):
            continue
        top = 2**bits - 1
        values = random.integers(0, top + 1, (*size, {2: 3, 4: 2, 6: 4}.get(color, 1)))
        palette = random.integers(0, 256, (min(256, 2**bits), 4)).astype(np.uint8)
        if color == 3:
            expected, key = palette[values[..., 0]][..., : 3 + is_transparent], palette[:, 3].tobytes()
        else:
            expected = values.astype(np.uint16) if bits == 16 else (values * 255 // top).astype(np.uint8)
            key = values[-1, -1].astype(">u2").tobytes()
            if is_transparent:
                is_visible = (values != values[-1, -1]).any(-1, keepdims=True)
                expected = np.concatenate((expected, is_visible * expected.dtype.type(-1 % 2 ** max(8, bits))), axis=2)
        chunks = png_chunk(b"PLTE", palette[:, :3].tobytes()) if color == 3 else b""
        chunks += png_chunk(b"tRNS", key) if is_transparent else b""
        check(tmp_path, png(values, color, bits, interlaced, chunks), expected)


# PNM


def pnm(kind, values, top):
    """Return a PNM file; kind 7 for PAM."""
    height, width, channels = values.shape
    fields = f"WIDTH {width}\nHEIGHT {height}\nDEPTH {channels}\nMAXVAL {top}\nTUPLTYPE X\nENDHDR"
    header = f"P{kind}\n# comment\n{width} {height}" + (f"\n{top}" if kind not in (1, 4) else "")
    header = f"P7\n# comment\n{fields}\n" if kind == 7 else f"{header}\n"
    if kind <= 3:
        return (header + "\n".join(map(str, values.ravel()))).encode()
    if kind == 4:
        return header.encode() + np.packbits(values[..., 0], axis=1).tobytes()
    return header.encode() + values.astype(np.uint8 if top < 256 else ">u2").tobytes()


@pytest.mark.parametrize("top", [1, 15, 255, 1023, 65535])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pnm(tmp_path, channels, top):
    values = np.random.default_rng(channels).integers(0, top + 1, (9, 11, channels))
    full, dtype = (255, np.uint8) if top < 256 else (65535, np.uint16)
    expected = np.round(values / top * full).astype(dtype)
    for kind in {1: (2, 5, 7), 3: (3, 6, 7)}.get(channels, (7,)):
        check(tmp_path, pnm(kind, values, top), expected)
        if kind != 7 and (top == 255 or (top == 65535 and channels == 1)):  # Pillow reads other colors as 8 bits
            np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a")), expected.squeeze())


@pytest.mark.parametrize("kind", [1, 4])
def test_pnm_bitmap(tmp_path, kind):
    values = np.random.default_rng(0).integers(0, 2, (9, 11, 1)).astype(np.uint8)
    check(tmp_path, pnm(kind, values, 1), decoded_by_pillow(pnm(kind, values, 1), "L"))
    check(tmp_path, b"P1 3 2 101\n010", np.array([[0, 255, 0], [255, 0, 255]], np.uint8))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"P5 2 2 255\n123", "truncated"),
        (b"P6 9 99999 65535\n123", "truncated"),
        (b"P2 2 2 255\n1 2 3", "truncated"),
        (b"P4 9 2\n123", "truncated"),
        (b"P5 2 2 15\n\0\1\2\20", "above the maximum 15"),
        (b"P2 2 1 15\n1 16", "above the maximum 15"),
        (b"P2 2 1 15\n1 x", "damaged"),
        (b"P5 2 2", "header"),
        (b"P5 0 2 255\n", "not supported"),
        (b"P5 1 1 65536\n1234", "not supported"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 5\nMAXVAL 255\nENDHDR\n12345", "5 channels"),
        (b"P5 1 1 255\n1P5 1 1 255\n2", "several images"),
        (b"P5 99999 99999 255\n1", "at most"),
    ],
)
def test_pnm_refused(tmp_path, data, reason):
    (tmp_path / "a.pgm").write_bytes(data)
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(tmp_path / "a.pgm")
    assert "\n" not in str(caught.value)


# TIFF


@pytest.mark.parametrize("compression", ["none", "lzw", "adobe_deflate", "packbits", "lzma", "zstd"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff(tmp_path, compression, channels, dtype):
    layouts = ["contig", "separate"] if channels > 1 else [None]
    variants = itertools.product("<>", layouts, [{}, {"rowsperstrip": 8}, {"tile": (16, 32)}], [False, True])
    for byteorder, planar, layout, has_predictor in variants:
        if has_predictor and compression in ("none", "packbits"):
            continue
        values = pixels(channels, dtype)
        stored = values.squeeze() if planar is None else np.moveaxis(values, 2, 0) if planar == "separate" else values
        tifffile.imwrite(
            tmp_path / "a",
            stored,
            photometric="rgb" if channels > 2 else "minisblack",
            planarconfig=planar,
            extrasamples=["unassalpha"] if channels in (2, 4) else None,
            compression=None if compression == "none" else compression,
            predictor=has_predictor,
            byteorder=byteorder,
            metadata=None,
            **layout,
        )
        check(tmp_path, None, values)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff_metadata_of_16_bit_gray_with_alpha(tmp_path, planar):
    values = pixels(2, np.uint16)
    stored = values if planar == "contig" else np.moveaxis(values, 2, 0)
    tifffile.imwrite(
        tmp_path / "a",
        stored,
        photometric="minisblack",
        planarconfig=planar,
        extrasamples=["unassalpha"],
        metadata=None,
        resolution=(300, 150),
        resolutionunit="inch",
        extratags=[(274, "H", 1, 6, True), (315, "s", 0, "Author", True)],
    )
    picture = read_image(tmp_path / "a")
    np.testing.assert_array_equal(picture.pixels, np.rot90(values, 3))
    assert picture.dpi == pytest.approx((150, 300), abs=0.01)
    assert b"Author" in picture.exif


@pytest.mark.parametrize("compression", ["none", "lzma"])
def test_tiff_planes_truncated(tmp_path, compression):
    options = {"compression": None if compression == "none" else compression, "tile": (16, 32), "metadata": None}
    stored = np.moveaxis(np.random.default_rng(0).integers(0, 65536, (64, 64, 3), np.uint16), 2, 0)
    tifffile.imwrite(tmp_path / "a", stored, photometric="rgb", planarconfig="separate", **options)
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match="truncated"):
        read_image(tmp_path / "a")


# JPEG, WebP, GIF, AVIF, HEIC


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg(tmp_path, mode):
    image = Image.fromarray(pixels(len(mode) if mode != "L" else 1).squeeze(), mode)
    variants = itertools.product(
        [False, True], [0, 1, 2] if mode == "RGB" else [-1], [{}, {"restart_marker_blocks": 3}]
    )
    for is_progressive, subsampling, options in variants:
        data = save(image, "JPEG", progressive=is_progressive, subsampling=subsampling, quality=80, **options)
        check(tmp_path, data, decoded_by_pillow(data, "L" if mode == "L" else "RGB"))


@pytest.mark.parametrize("space", ["CMYK", "YCCK", "RGB"])
def test_jpeg_of_adobe(tmp_path, space):
    channels, source = (3, "RGB") if space == "RGB" else (4, "CMYK")
    data = imagecodecs.jpeg8_encode(pixels(channels), level=95, colorspace=source, outcolorspace=space)
    check(tmp_path, data, decoded_by_pillow(data, "RGB"))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (8, 1), (7, 9)])
@pytest.mark.parametrize("form", ["JPEG", "WEBP", "GIF", "BMP", "PNG", "TIFF"])
def test_small_sizes(tmp_path, form, size):
    for mode, channels in (("L", 1), ("RGB", 3)):
        data = save(
            Image.fromarray(pixels(channels, height=size[0], width=size[1]).squeeze(2 if channels == 1 else ())), form
        )
        is_gray = mode == "L" and form not in ("WEBP", "GIF")
        check(tmp_path, data, decoded_by_pillow(data, "L" if is_gray else "RGB"))


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": True, "exact": True}, {"quality": 60}], ids=str)
@pytest.mark.parametrize("channels", [3, 4])
def test_webp(tmp_path, channels, options):
    data = save(Image.fromarray(pixels(channels)), "WEBP", **options)
    check(tmp_path, data, imagecodecs.webp_decode(data))


@pytest.mark.parametrize("interlace", [0, 1])
def test_gif(tmp_path, interlace):
    image = Image.fromarray(pixels(3)).quantize(16)
    data = save(image, "GIF", interlace=interlace)
    check(tmp_path, data, imagecodecs.gif_decode(data))
    data = save(image, "GIF", interlace=interlace, transparency=int(image.getpixel((0, 0))))
    check(tmp_path, data, decoded_by_pillow(data, "RGBA"))


@pytest.mark.parametrize("subsampling", ["444", "422", "420", "400"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_avif(tmp_path, subsampling, channels):
    if (channels == 1) != (subsampling == "400"):
        pytest.skip("not a combination")
    data = imagecodecs.avif_encode(pixels(channels).squeeze(), level=95, pixelformat=subsampling)
    check(tmp_path, data, imagecodecs.avif_decode(data))


def deep_pixels(channels, height=HEIGHT, width=WIDTH):
    """Return 16-bit pixels that include the extremes."""
    values = pixels(channels, np.uint16, height, width)
    values[0, 0], values[-1, -1] = 0, 65535
    return values


def heic(values, bits, mode=None, **options):
    heif, file = pytest.importorskip("pillow_heif"), io.BytesIO()
    mode = mode or ("L", "", "RGB", "RGBA")[values.shape[2] - 1] + ("" if bits == 8 else ";16")
    options = {"quality": -1, "chroma": 444, "matrix_coefficients": 0, "bit_depth": bits, **options}
    heif.encode(mode, values.shape[1::-1], values.tobytes(), file, **options)
    return file.getvalue()


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_avif_above_8_bits(tmp_path, channels, bits):
    subsampling = "400" if channels == 1 else "444"
    stored = np.round(deep_pixels(channels) / 65535 * (2**bits - 1)).astype(np.uint16)
    data = imagecodecs.avif_encode(stored.squeeze(), level=95, pixelformat=subsampling, bitspersample=bits)
    (tmp_path / "a").write_bytes(data)
    picture = read_image(tmp_path / "a")
    assert (picture.pixels.dtype, picture.bit_depth) == (np.uint16, bits)
    reference = imagecodecs.avif_decode(data).reshape(HEIGHT, WIDTH, -1) / (2**bits - 1)
    assert np.abs(picture.pixels / 65535 - reference).max() * (2**bits - 1) < 1.01
    assert picture.pixels.max() == 65535


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("subsampling", ["420", "422"])
@pytest.mark.parametrize("channels", [3, 4])
def test_avif_above_8_bits_subsampled(tmp_path, channels, subsampling, matrix):
    options = {"pixelformat": subsampling, "bitspersample": 10, "matrix": matrix}
    data = imagecodecs.avif_encode(pixels(channels, np.uint16) >> 6, level=95, **options)
    reference = imagecodecs.avif_decode(data)
    for name, content in (("a", data), ("b", data.replace(b"colrnclx", b"freenclx"))):  # matrix from AV1's header
        (tmp_path / name).write_bytes(content)
        found = read_image(tmp_path / name).pixels
        error = np.abs(found / 65535 * 1023 - reference)
        assert error.mean() < 0.5  # 7 with repeated chroma
        assert error.max() < 16  # where colors are clipped


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_heic_of_any_depth(tmp_path, channels, bits):
    values = deep_pixels(channels) if bits > 8 else pixels(channels)
    (tmp_path / "a").write_bytes(heic(values, bits))
    picture = read_image(tmp_path / "a")
    assert (picture.pixels.dtype, picture.bit_depth) == (values.dtype, None if bits == 8 else bits)
    step = 2 if bits == 8 else 65535 / (2**bits - 1)  # 8 bits: rounding of the color conversion
    assert np.abs(picture.pixels.astype(int) - values).max() <= step
    assert bits == 8 or picture.pixels.max() == 65535


def test_heic_with_premultiplied_alpha_above_8_bits(tmp_path):
    values = deep_pixels(4)
    values[..., 3] |= 0x4000
    premultiplied = np.concatenate((values[..., :3] * (values[..., 3:] / 65535), values[..., 3:]), 2).astype(np.uint16)
    (tmp_path / "a").write_bytes(heic(premultiplied, 12, "RGBa;16"))
    assert np.abs(read_image(tmp_path / "a").pixels.astype(int) - values).max() < 5 * 16


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_orientation_above_8_bits(tmp_path, orientation):
    values, exif = deep_pixels(3), Image.Exif()
    exif[274] = orientation
    (tmp_path / "a").write_bytes(heic(values, 10, exif=exif.tobytes()))
    expected = Picture(values).upright(orientation).pixels
    assert np.abs(read_image(tmp_path / "a").pixels.astype(int) - expected).max() <= 64


@pytest.mark.parametrize("subsampling", ["420", "422", "444"])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_avif_orientation_above_8_bits(tmp_path, subsampling, turns):
    values = deep_pixels(3, 20, 36)  # libheif rotates subsampled chroma
    data = imagecodecs.avif_encode(values >> 6, level=95, pixelformat=subsampling, bitspersample=10)
    (tmp_path / "a").write_bytes(data)
    (pixel_information, rotation) = b"pixi\0\0\0\0\3\x0a\x0a\x0a", b"irot" + bytes((turns,)) + bytes(7)
    (properties, essential) = b"\4\1\2\x83\4", b"\4\1\x83\4\x82"  # indices; the rotation last, as essential
    assert (data.count(pixel_information), data.count(properties)) == (1, 1)
    (tmp_path / "b").write_bytes(data.replace(pixel_information, rotation).replace(properties, essential))
    picture = read_image(tmp_path / "b")
    difference = picture.pixels.astype(int) - np.rot90(read_image(tmp_path / "a").pixels, turns)
    assert np.abs(difference).mean() < 64  # one level
    assert subsampling == "422" or np.abs(difference).max() <= 128  # of 4:2:2, clipped colors differ
    assert picture.bit_depth == 10


def test_avif_above_8_bits_truncated(tmp_path):
    data = imagecodecs.avif_encode(deep_pixels(3) >> 6, level=95, pixelformat="444", bitspersample=10)
    (tmp_path / "a").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(ImageError, match="truncated"):
        read_image(tmp_path / "a")
