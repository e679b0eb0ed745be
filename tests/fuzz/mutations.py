"""Damage done to image files, at random and where it hurts: lengths, sizes, chunks, tags."""

from __future__ import annotations

import random
import struct
import zlib

_NUMBERS = (0, 1, 2, 3, 7, 8, 16, 127, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def mutated(data: bytes, form: str, others: list[bytes], dice: random.Random) -> bytes:
    """Returns a file with one to three kinds of damage.

    Args:
        data: A sound file.
        form: Its format.
        others: Other files of the format, to take parts from.
        dice: What decides.
    """
    ways = [_flip, _bytes, _truncate, _cut, _repeat, _number, _number, _splice, *_OF_FORMAT.get(form, ()) * 2]
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        if len(data) > 8:
            data = dice.choice(ways)(data, others, dice)
    return data


def _flip(data: bytes, _: list[bytes], dice: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 8))):
        out[_place(out, dice)] ^= 1 << dice.randrange(8)
    return bytes(out)


def _bytes(data: bytes, _: list[bytes], dice: random.Random) -> bytes:
    out = bytearray(data)
    start = _place(out, dice)
    out[start : start + dice.choice((1, 2, 4, 64))] = dice.randbytes(dice.choice((1, 2, 4, 64)))
    return bytes(out)


def _truncate(data: bytes, _: list[bytes], dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def _cut(data: bytes, _: list[bytes], dice: random.Random) -> bytes:
    start = _place(data, dice)
    return data[:start] + data[start + dice.choice((1, 2, 4, 100)) :]


def _repeat(data: bytes, _: list[bytes], dice: random.Random) -> bytes:
    start = _place(data, dice)
    return data[:start] + data[start : start + dice.choice((1, 4, 100))] * dice.choice((2, 3, 50)) + data[start:]


def _number(data: bytes, _: list[bytes], dice: random.Random) -> bytes:
    """Puts a number that programs trip over where some number may stand."""
    out, length = bytearray(data), dice.choice((1, 2, 4))
    start = _place(out, dice) & ~(length - 1)
    number = dice.choice((*_NUMBERS, len(data), dice.randrange(2**32))) % 256**length
    out[start : start + length] = number.to_bytes(length, dice.choice(("little", "big")))
    return bytes(out)


def _splice(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    other = dice.choice(others)
    return data[: dice.randrange(len(data))] + other[dice.randrange(len(other)) :]


def _place(data: bytes, dice: random.Random) -> int:
    """Returns a position, in half of all cases near the beginning, where the headers are."""
    return dice.randrange(len(data) if dice.random() < 0.5 else min(len(data), 96))


def _png_chunks(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """Alters chunks and makes their checksums right, so that decoders believe them."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return data
    index = dice.randrange(len(chunks))
    name, body = chunks[index]
    way = dice.randrange(6)
    if way == 0:
        chunks.insert(dice.randrange(len(chunks)), (name, body))
    elif way == 1:
        del chunks[index]
    elif way == 2:
        dice.shuffle(chunks)
    elif name == b"IDAT" and way < 5:
        chunks[index] = (name, zlib.compress(dice.randbytes(dice.choice((0, 10, 5000)))))
    elif body:
        chunks[index] = (name, dice.choice((_flip, _bytes, _number, _truncate))(body + b"\0", others, dice))
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def _tiff_tags(data: bytes, _: list[bytes], dice: random.Random) -> bytes:
    """Alters an entry of the first directory: its tag, its type, its count or its value."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    if start + 2 > len(data):
        return data
    (count,) = struct.unpack_from(f"{order}H", data, start)
    entry = start + 2 + 12 * dice.randrange(max(1, count))
    if entry + 12 > len(data):
        return data
    out = bytearray(data)
    offset, kind = dice.choice(((0, "H"), (2, "H"), (4, "I"), (8, "I"), (8, "I"), (8, "H")))
    size = 8 * struct.calcsize(kind)
    number = dice.choice((*_NUMBERS, dice.randrange(1, 20), len(data), dice.randrange(254, 350))) % 2**size
    struct.pack_into(order + kind, out, entry + offset, number)
    return bytes(out)


def _jpeg_segments(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """Alters, repeats, removes or moves a segment before the pixels."""
    segments, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, at + 2)
        segments.append(data[at : at + 2 + length])
        at += 2 + length
    if not segments:
        return data
    index, way = dice.randrange(len(segments)), dice.randrange(5)
    if way == 0:
        segments.insert(dice.randrange(len(segments)), segments[index])
    elif way == 1:
        del segments[index]
    elif way == 2:
        dice.shuffle(segments)
    else:
        body = dice.choice((_flip, _bytes, _number, _truncate))(segments[index][4:] + b"\0", others, dice)
        segments[index] = segments[index][:2] + struct.pack(">H", (len(body) + 2) % 65536) + body
    return data[:2] + b"".join(segments) + data[at:]


def _riff_chunks(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """Alters chunks of a WebP file, with lengths that fit again."""
    chunks, at = [], 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        chunks.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    if not chunks:
        return data
    index, way = dice.randrange(len(chunks)), dice.randrange(5)
    name, body = chunks[index]
    if way == 0:
        chunks.insert(dice.randrange(len(chunks)), chunks[index])
    elif way == 1:
        del chunks[index]
    else:
        chunks[index] = (name, dice.choice((_flip, _bytes, _number, _truncate))(body + b"\0", others, dice))
    joined = b"".join(name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2) for name, body in chunks)
    return b"RIFF" + struct.pack("<I", len(joined) + 4) + b"WEBP" + joined


_OF_FORMAT = {"PNG": (_png_chunks,), "TIFF": (_tiff_tags,), "JPEG": (_jpeg_segments,), "WEBP": (_riff_chunks,)}
