"""Random mutations of image files, with emphasis on lengths, sizes, chunks and tags."""

from __future__ import annotations

import random
import struct
import zlib

_NUMBERS = (0, 1, 2, 3, 7, 8, 16, 127, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def mutated(data: bytes, form: str, others: list[bytes], dice: random.Random) -> bytes:
    """Return a file with one to three mutations.

    Args:
        data: A valid file.
        form: Its format.
        others: Other files of the format, to take parts from.
        dice: Source of randomness.
    """
    mutations = [_flip, _bytes, _truncate, _cut, _repeat, _number, _number, _splice, *_OF_FORMAT.get(form, ()) * 2]
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        if len(data) > 8:
            data = dice.choice(mutations)(data, others, dice)
    return data


def _flip(data: bytes, _: list[bytes], dice: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 8))):
        out[_position(out, dice)] ^= 1 << dice.randrange(8)
    return bytes(out)


def _bytes(data: bytes, _: list[bytes], dice: random.Random) -> bytes:
    out = bytearray(data)
    start = _position(out, dice)
    out[start : start + dice.choice((1, 2, 4, 64))] = dice.randbytes(dice.choice((1, 2, 4, 64)))
    return bytes(out)


def _truncate(data: bytes, _: list[bytes], dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def _cut(data: bytes, _: list[bytes], dice: random.Random) -> bytes:
    start = _position(data, dice)
    return data[:start] + data[start + dice.choice((1, 2, 4, 100)) :]


def _repeat(data: bytes, _: list[bytes], dice: random.Random) -> bytes:
    start = _position(data, dice)
    return data[:start] + data[start : start + dice.choice((1, 4, 100))] * dice.choice((2, 3, 50)) + data[start:]


def _number(data: bytes, _: list[bytes], dice: random.Random) -> bytes:
    """Overwrite a position with a number at a type boundary."""
    out, length = bytearray(data), dice.choice((1, 2, 4))
    start = _position(out, dice) & ~(length - 1)
    number = dice.choice((*_NUMBERS, len(data), dice.randrange(2**32))) % 256**length
    out[start : start + length] = number.to_bytes(length, dice.choice(("little", "big")))
    return bytes(out)


def _splice(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    other = dice.choice(others)
    return data[: dice.randrange(len(data))] + other[dice.randrange(len(other)) :]


def _position(data: bytes, dice: random.Random) -> int:
    """Return a random position, in half of all cases within the headers."""
    return dice.randrange(len(data) if dice.random() < 0.5 else min(len(data), 96))


def _png_chunks(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """Alter chunks and update their checksums."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return data
    index = dice.randrange(len(chunks))
    name, body = chunks[index]
    action = dice.randrange(6)
    if action == 0:
        chunks.insert(dice.randrange(len(chunks)), (name, body))
    elif action == 1:
        del chunks[index]
    elif action == 2:
        dice.shuffle(chunks)
    elif name == b"IDAT" and action < 5:
        chunks[index] = (name, zlib.compress(dice.randbytes(dice.choice((0, 10, 5000)))))
    elif body:
        chunks[index] = (name, dice.choice((_flip, _bytes, _number, _truncate))(body + b"\0", others, dice))
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def _tiff_tags(data: bytes, _: list[bytes], dice: random.Random) -> bytes:
    """Alter the tag, type, count or value of an entry of the first directory."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    if start + 2 > len(data):
        return data
    (count,) = struct.unpack_from(f"{order}H", data, start)
    entry = start + 2 + 12 * dice.randrange(max(1, count))
    if entry + 12 > len(data):
        return data
    out = bytearray(data)
    offset, field = dice.choice(((0, "H"), (2, "H"), (4, "I"), (8, "I"), (8, "I"), (8, "H")))
    size = 8 * struct.calcsize(field)
    number = dice.choice((*_NUMBERS, dice.randrange(1, 20), len(data), dice.randrange(254, 350))) % 2**size
    struct.pack_into(order + field, out, entry + offset, number)
    return bytes(out)


def _jpeg_segments(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """Alter, repeat, remove or move a segment before the pixel data."""
    segments, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, at + 2)
        segments.append(data[at : at + 2 + length])
        at += 2 + length
    if not segments:
        return data
    index, action = dice.randrange(len(segments)), dice.randrange(5)
    if action == 0:
        segments.insert(dice.randrange(len(segments)), segments[index])
    elif action == 1:
        del segments[index]
    elif action == 2:
        dice.shuffle(segments)
    else:
        body = dice.choice((_flip, _bytes, _number, _truncate))(segments[index][4:] + b"\0", others, dice)
        segments[index] = segments[index][:2] + struct.pack(">H", (len(body) + 2) % 65536) + body
    return data[:2] + b"".join(segments) + data[at:]


def _riff_chunks(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """Alter chunks of a WebP file and update the lengths."""
    chunks, at = [], 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        chunks.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    if not chunks:
        return data
    index, action = dice.randrange(len(chunks)), dice.randrange(5)
    name, body = chunks[index]
    if action == 0:
        chunks.insert(dice.randrange(len(chunks)), chunks[index])
    elif action == 1:
        del chunks[index]
    else:
        chunks[index] = (name, dice.choice((_flip, _bytes, _number, _truncate))(body + b"\0", others, dice))
    joined = b"".join(name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2) for name, body in chunks)
    return b"RIFF" + struct.pack("<I", len(joined) + 4) + b"WEBP" + joined


_OF_FORMAT = {"PNG": (_png_chunks,), "TIFF": (_tiff_tags,), "JPEG": (_jpeg_segments,), "WEBP": (_riff_chunks,)}
