"""The element of the pixels: found, and copied byte by byte from one file to another."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal

from isocenter.errors import FileFormatError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from isocenter.io.dicom.deidentify.residue import Identifiers

__all__ = ["Pixels", "copy_pixels", "find_pixels"]

_CHUNK = 1 << 20
_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"UN")
_VR_OF = {0x0008: b"OF", 0x0009: b"OD", 0x0010: b"OW"}
_ITEM, _END = 0xFFFEE000, 0xFFFEE0DD
Order = Literal["big", "little"]


@dataclass(frozen=True)
class Pixels:
    """Where the pixels of a file are.

    Attributes:
        element: Low half of the tag; the high one is 7FE0.
        vr: As the file says, or as it has to be.
        start: First byte of the value.
        end: Behind its last byte; of a compressed one, behind the delimiter of its items.
        compressed: The value is a sequence of items of undefined length.
        surplus: Bytes at the end that lie behind the pixels that are declared; of compressed ones all bytes, since
            text may stand in each of the streams.
    """

    element: int
    vr: bytes
    start: int
    end: int
    compressed: bool
    surplus: int

    def head(self, *, implicit: bool, order: Order) -> bytes:
        """Tag, VR and length of the element in an encoding."""
        length = (_UNDEFINED if self.compressed else self.end - self.start).to_bytes(4, order)
        tag = (0x7FE0).to_bytes(2, order) + self.element.to_bytes(2, order)
        return tag + (b"" if implicit else self.vr + b"\0\0") + length


def find_pixels(file: BinaryIO, at: int, order: Order, dataset: Dataset) -> Pixels | None:
    """The element that begins at a byte; ``None`` where it is not that of pixels.

    Raises:
        FileFormatError: It is cut off or damaged.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(at)
    head = file.read(12)
    element = int.from_bytes(head[2:4], order)
    if int.from_bytes(head[:2], order) != 0x7FE0 or element not in _VR_OF:
        return None
    explicit = head[4:6] in _LONG_VRS
    length = int.from_bytes(head[8:12] if explicit else head[4:8], order)
    start = at + (12 if explicit else 8)
    compressed = length == _UNDEFINED
    vr = head[4:6] if explicit else b"OB" if compressed else _VR_OF[element]
    if compressed:
        end = _end_of_items(file, start, size)
        return Pixels(element, vr, start, end, compressed=True, surplus=end - start)
    if start + length > size:
        raise FileFormatError(f"{file.name}: pixel data is cut off; send it again")
    return Pixels(element, vr, start, start + length, compressed=False, surplus=_surplus(dataset, length))


def _end_of_items(file: BinaryIO, at: int, size: int) -> int:
    """Where the items of encapsulated pixel data end (PS3.5 A.4); they are always little endian."""
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        tag = int.from_bytes(head[0:2], "little") << 16 | int.from_bytes(head[2:4], "little")
        length = int.from_bytes(head[4:8], "little")
        at += 8
        if tag == _END:
            return at
        if tag != _ITEM or length == _UNDEFINED:
            break
        at += length
    raise FileFormatError(f"{file.name}: compressed pixel data is cut off or damaged; send it again")


def _surplus(dataset: Dataset, length: int) -> int:
    """Bytes behind native pixels, where text could stand; the byte that makes the length even does not count."""
    if length == 0:
        return 0
    counts = [dataset.get(k) for k in ("Rows", "Columns", "BitsAllocated")]
    try:
        rows, columns, bits = (int(v) for v in counts)
        samples, frames = (int(dataset.get(k) or 1) for k in ("SamplesPerPixel", "NumberOfFrames"))
    except (TypeError, ValueError):
        return length
    declared = (rows * columns * samples * frames * bits + 7) // 8
    return max(0, length - declared - declared % 2)


def copy_pixels(old: BinaryIO, new: BinaryIO, pixels: Pixels, who: Identifiers) -> bool:
    """Copy the value, and look for identifiers in its surplus; whether there are none.

    Raises:
        FileFormatError: The file ended before its pixels did.
    """
    old.seek(pixels.start)
    count = pixels.end - pixels.start
    look_from = count - pixels.surplus
    overlap = max((len(n) for n in who.needles), default=1) - 1
    tail, done, clean = b"", 0, True
    while done < count:
        data = old.read(min(_CHUNK, count - done))
        if not data:
            raise FileFormatError(f"{old.name}: ended while it was copied; check the file")
        new.write(data)
        if done + len(data) > look_from:
            window = tail + data[max(0, look_from - done) :]
            clean = clean and not who.in_bytes(window)
            tail = window[-overlap:] if overlap else b""
        done += len(data)
    return clean
