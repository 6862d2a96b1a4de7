"""Small colour pictures as PNG (W3C PNG, third edition), without an imaging library."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["png_bytes"]


def png_bytes(picture: NDArray[np.uint8]) -> bytes:
    """A ``(row, column, 3)`` picture of red, green, blue bytes as a PNG file.

    Example:
        >>> png_bytes(np.zeros((2, 3, 3), np.uint8))[1:4]
        b'PNG'
    """
    rows, columns = picture.shape[:2]
    lines = np.zeros((rows, 1 + 3 * columns), np.uint8)
    flat = picture.reshape(rows, -1)
    lines[:, 0] = 1  # filter "sub": each byte less the one of the pixel to the left
    lines[:, 1:] = flat
    lines[:, 4:] -= flat[:, :-3]
    head = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
