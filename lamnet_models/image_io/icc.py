"""ICC profiles made from chromaticities and a transfer function."""

from __future__ import annotations

import struct

import numpy as np

SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
"""Parameters g, a, b, c, d of sRGB: light (a·v + b)^g for v ≥ d, otherwise c·v."""

_VERSION = 0x04300000
_D50 = (0.9642, 1.0, 0.8249)  # XYZ, white of profiles
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_DATE = (2000, 1, 1, 0, 0, 0)


def make_profile(
    white_point: tuple[float, ...],
    primaries: tuple[float, ...],
    curve: float | tuple[float, ...] | list[tuple[int, ...]],
    gray: bool = False,
) -> bytes:
    """Return an ICC profile, version 4.

    Args:
        white_point: Chromaticity x, y of white.
        primaries: Chromaticities x, y of red, green and blue.
        curve: From values to light: exponent; parameters like ``SRGB_CURVE``; or a list of one or three tables of
            16-bit integers, at equidistant values.
        gray: Whether the profile is for gray images.

    Raises:
        ValueError: If the chromaticities describe no color space.
    """
    white = _to_xyz(*white_point)
    adaptation = np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ _D50 / (_BRADFORD @ white)) @ _BRADFORD
    text = "Color space of the source image"
    tags = [(b"desc", _text(text)), (b"cprt", _text("No copyright")), (b"wtpt", _numbers(b"XYZ ", _D50))]
    tags.append((b"chad", _numbers(b"sf32", adaptation.ravel())))
    curves = [_curve(table) for table in curve] if isinstance(curve, list) else [_curve(curve)]
    if gray:
        tags.append((b"kTRC", curves[0]))
    else:
        columns = np.stack([_to_xyz(*primaries[at : at + 2]) for at in (0, 2, 4)], axis=1)
        try:
            columns = adaptation @ (columns * np.linalg.solve(columns, white))
        except np.linalg.LinAlgError as error:
            raise ValueError(f"primaries must not be on one line, got {primaries}") from error
        tags += [
            (name, _numbers(b"XYZ ", column))
            for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns.T, strict=True)
        ]
        tags += zip((b"rTRC", b"gTRC", b"bTRC"), curves if len(curves) == 3 else 3 * curves, strict=True)
    return _assemble(tags, b"GRAY" if gray else b"RGB ")


def _to_xyz(x: float, y: float) -> np.ndarray:
    if not y:
        raise ValueError("chromaticities must have y > 0, got 0")
    return np.array((x / y, 1, (1 - x - y) / y))


def _assemble(tags: list[tuple[bytes, bytes]], space: bytes) -> bytes:
    directory, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags:
        directory += struct.pack(">4s2I", name, start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4xI4s4s4s6H4s", start + len(body), _VERSION, b"mntr", space, b"XYZ ", *_DATE, b"acsp")
    header = header.ljust(68, b"\0") + _fixed(_D50)
    return header.ljust(128, b"\0") + directory + body


def _numbers(kind: bytes, values: tuple[float, ...] | np.ndarray) -> bytes:
    return kind + bytes(4) + _fixed(values)


def _fixed(values: tuple[float, ...] | np.ndarray) -> bytes:
    return np.round(np.asarray(values) * 65536).astype(">i4").tobytes()


def _text(text: str) -> bytes:
    data = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">4x2I4s2I", 1, 12, b"enUS", len(data), 28) + data


def _curve(curve: float | tuple[float, ...]) -> bytes:
    if isinstance(curve, float):
        return b"para" + struct.pack(">4x2H", 0, 0) + _fixed((curve,))
    if len(curve) == len(SRGB_CURVE):
        return b"para" + struct.pack(">4x2H", 3, 0) + _fixed(curve)
    return b"curv" + struct.pack(">4xI", len(curve)) + np.array(curve, ">u2").tobytes()
