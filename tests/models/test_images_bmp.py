"""BMP files of every header and depth, compared with Pillow or known values."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from lamnet_models.errors import ImageError
from lamnet_models.images import read_image

WIDTH, HEIGHT = 7, 5
GRAYS = b"".join(bytes((i, i, i, 0)) for i in range(256))


def bmp(bits, body, *, compression=0, size=40, masks=b"", palette=b"", colors=0, height=HEIGHT, extra=b""):
    if size == 12:
        header = struct.pack("<IHHHH", 12, WIDTH, height, 1, bits)
    else:
        header = struct.pack("<IiiHHIIiiII", size, WIDTH, height, 1, bits, compression, 0, 2835, 2835, colors, 0)
        header = (header + masks).ljust(size, b"\0") if size > 40 else header + masks
    start = 14 + len(header) + len(palette) + len(extra)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + palette + extra + body


def rows(bits, seed=0):
    stride = (WIDTH * bits + 31) // 32 * 4
    return np.random.default_rng(seed).integers(0, 256, stride * HEIGHT, np.uint8).tobytes()


def read(tmp_path, data):
    (tmp_path / "a.bmp").write_bytes(data)
    return read_image(tmp_path / "a.bmp").pixels


ALPHA = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
PALETTE = np.random.default_rng(1).integers(0, 256, 1024, np.uint8).tobytes()
RUNS = b"".join(bytes((4, i, 0, 3, 1, 2, 3, 0, 0, 0)) for i in range(5)) + b"\0\1"
COMMON = {
    "1 bit": bmp(1, rows(1), palette=PALETTE[:8]),
    "4 bits": bmp(4, rows(4), palette=PALETTE[:64]),
    "8 bits": bmp(8, rows(8), palette=PALETTE),
    "OS/2": bmp(8, rows(8), size=12, palette=PALETTE[:768]),
    "OS/2 24 bits": bmp(24, rows(24), size=12),
    "OS/2 version 2": bmp(24, rows(24), size=64),
    "16 bits": bmp(16, rows(16)),
    "565": bmp(16, rows(16), compression=3, masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F)),
    "24 bits": bmp(24, rows(24)),
    "32 bits": bmp(32, rows(32)),
    "top down": bmp(24, rows(24), height=-HEIGHT),
    "version 4": bmp(32, rows(32), size=108, compression=3, masks=ALPHA),
    "version 5": bmp(32, rows(32), size=124, compression=3, masks=ALPHA),
    "gap": bmp(24, rows(24), extra=b"x" * 40),
    "runs": bmp(8, RUNS, compression=1, palette=PALETTE),
}


@pytest.mark.parametrize("kind", COMMON)
def test_read_bmp_matches_pillow(tmp_path, kind):
    pixels = read(tmp_path, COMMON[kind])
    with Image.open(io.BytesIO(COMMON[kind])) as image:
        expected = np.asarray(image.convert("RGBA" if pixels.shape[2] == 4 else "RGB")).astype(int)
    assert np.abs(pixels - expected).max() <= ("bits" in kind and "16" in kind) + (kind == "565")  # 5 bits scaled to 8


def test_read_bmp_two_bits(tmp_path):
    pixels = read(tmp_path, bmp(2, bytes((0b00011011, 0b00011011, 0, 0)) * 5, palette=PALETTE[:16]))
    palette = np.frombuffer(PALETTE, np.uint8).reshape(-1, 4)[:4, 2::-1]
    np.testing.assert_array_equal(pixels[0], palette[[0, 1, 2, 3, 0, 1, 2]])


@pytest.mark.parametrize(
    ("masks", "value", "expected"),
    [
        ((0xF00, 0xF0, 0xF, 0xF000), 0x8F05, (255, 0, 85, 136)),
        ((0x1F, 0x3E0, 0x7C00, 0x8000), 0x801F, (255, 0, 0, 255)),
    ],
)
def test_read_bmp_16_bit_masks(tmp_path, masks, value, expected):
    row = struct.pack("<H", value) * WIDTH + b"\0\0"
    data = bmp(16, row * HEIGHT, size=124, compression=3, masks=struct.pack("<IIII", *masks))
    assert read(tmp_path, data)[2, 3].tolist() == list(expected)


def test_read_bmp_32_bit_masks(tmp_path):
    row = struct.pack("<I", 0x3FF << 2 | 0x200 << 12) * WIDTH
    data = bmp(32, row * HEIGHT, compression=3, masks=struct.pack("<III", 0xFFC, 0x3FF000, 0xFFC00000))
    assert read(tmp_path, data)[0, 0].tolist() == [255, 128, 0]


def test_read_bmp_zero_alpha_is_padding(tmp_path):
    data = bmp(32, bytes((1, 2, 3, 0)) * WIDTH * HEIGHT, size=124, compression=3, masks=ALPHA)
    assert read(tmp_path, data)[0, 0].tolist() == [3, 2, 1]


def test_read_bmp_rle4_with_skips(tmp_path):
    body = bytes((0, 5, 0x12, 0x34, 0x50, 0, 2, 0x67, 0, 0)) + bytes((0, 2, 2, 1, 3, 0x98)) + b"\0\1"
    gray = read(tmp_path, bmp(4, body, compression=2, palette=GRAYS[:64]))[::-1, :, 0]
    assert gray[0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert gray[2].tolist() == [0, 0, 9, 8, 9, 0, 0]
    assert not gray[[1, 3, 4]].any()


def test_read_bmp_rle24(tmp_path):
    body = b"".join(bytes((WIDTH, 1, 2, row, 0, 0)) for row in range(HEIGHT)) + b"\0\1"
    pixels = read(tmp_path, bmp(24, body, compression=4, size=64))
    assert pixels[0, 0].tolist() == [4, 2, 1]


def test_read_bmp_gray_palette(tmp_path):
    assert read(tmp_path, bmp(8, rows(8), palette=GRAYS)).shape == (HEIGHT, WIDTH, 1)


def test_read_bmp_index_beyond_palette(tmp_path):
    pixels = read(tmp_path, bmp(8, bytes((0, 1, 2, 200, 0, 0, 0, 0)) * 5, palette=PALETTE[:12], colors=3))
    assert pixels[0, 3].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bmp(24, rows(24)[:-8]), "truncated"),
        (bmp(8, b"\7\1\0\0", compression=1, palette=GRAYS), "truncated"),
        (bmp(24, rows(24))[:30], "truncated|unsupported"),
        (bmp(0, b"\xff\xd8\xff", compression=4), "unsupported"),
        (bmp(5, rows(8)), "unsupported"),
        (bmp(24, rows(24), height=0), "unsupported"),
        (bmp(8, b"", height=10**9, palette=GRAYS), "decompression bomb"),
        (bmp(8, b"", height=10**7, palette=GRAYS), "truncated"),
    ],
)
def test_read_bmp_invalid(tmp_path, data, reason):
    with pytest.raises(ImageError, match=reason):
        read(tmp_path, data)
