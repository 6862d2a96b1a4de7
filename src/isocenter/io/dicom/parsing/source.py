"""A DICOM file as a window that moves forward over it, inflated on the way where it is deflated."""

from __future__ import annotations

import os
import sys
import zlib
from dataclasses import dataclass
from typing import IO

from isocenter.errors import FileFormatError

__all__ = ["REMEDY", "Limits", "Source"]

_FIRST = 1 << 14  # holds the head of most slices; the rest of the file stays where it is
_NEXT = 1 << 16
_PAD = bytes(16)  # the head of an element can be unpacked at any place before the end
REMEDY = "send or export it again"


@dataclass(frozen=True)
class Limits:
    """What the head of a foreign file may ask for. Far above what scanners write.

    Attributes:
        depth: Sequences inside of sequences that are kept.
        skipped_depth: The same of those that are passed over.
        elements: Elements and sequence items, those that are passed over included.
        value_bytes: Of one element that is kept.
        memory_bytes: Of all that is kept, by estimate; twice the size of the file is granted on top, so that a head
            of many thousand frames is read, and a small file never becomes a large one in memory.
        header_bytes: Read before the pixels; what is passed over by seeking does not count.
        inflated_bytes: Inflated before the pixels of a deflated file.
        inflate_ratio: Of inflated to deflated bytes, asked after the first mebibyte.
    """

    depth: int = 16
    skipped_depth: int = 32
    elements: int = 4_000_000
    value_bytes: int = 4 << 20
    memory_bytes: int = 16 << 20
    header_bytes: int = 256 << 20
    inflated_bytes: int = 256 << 20
    inflate_ratio: int = 200


class Source:
    """Bytes of a file from ``base`` on, as ``data``; what lies before the window is gone.

    Attributes:
        size: Length of the file; of a deflated one unknown, and as large as a number can be, until its end was seen.
        data: Bytes from ``base``, with a few zeros at the end.
        full: How many of them are the file's.
    """

    def __init__(self, file: IO[bytes], name: str, limits: Limits) -> None:
        self.name, self.limits = name, limits
        self.file_size = self.size = os.fstat(file.fileno()).st_size
        self.base = 0
        self._file = file
        self._packed: zlib._Decompress | None = None
        self._taken = self._start = self._inflated = self._read = 0
        self._fill(file.read(_FIRST))

    def _fill(self, data: bytes) -> None:
        self._taken += len(data)
        if self._taken > self.limits.header_bytes:
            raise FileFormatError(
                f"{self.name}: more than {self.limits.header_bytes} bytes stand before the pixels; {REMEDY}"
            )
        self.full = len(data)
        self.data = data + _PAD

    def move(self, at: int, need: int = 16) -> None:
        """Make the window begin at ``at``, with ``need`` bytes in it where there are so many."""
        if self._packed is None:
            self._file.seek(at)
            self._fill(self._file.read(max(need, _NEXT)))
        else:
            self._inflate_to(at, max(need, _NEXT))
        self.base = at

    def value(self, at: int, length: int) -> bytes:
        """So many bytes from ``at``, fewer at the end."""
        if at + length > self.base + self.full or at < self.base:
            self.move(at, length)
        return self.data[at - self.base : min(at - self.base + length, self.full)]

    def inflate(self, at: int) -> None:
        """Take everything from ``at`` on for deflated (PS3.5 A.5); places are then counted as if it were not."""
        self._file.seek(at)
        self._packed = zlib.decompressobj(-zlib.MAX_WBITS)
        self.size, self._start = sys.maxsize, at
        self.base, self.data, self.full = at, _PAD, 0

    def _inflate_to(self, at: int, need: int) -> None:
        """Bytes before ``at`` are inflated and dropped, so that a long value costs time but no memory."""
        held = self.data[min(at - self.base, self.full) : self.full]
        skip = max(at - self.base - self.full, 0)
        parts, have = [held], len(held)
        while have < need:
            piece = self._piece(_NEXT)
            if not piece:
                self.size = self._start + self._inflated
                break
            used = piece[skip:]
            skip -= len(piece) - len(used)
            parts.append(used)
            have += len(used)
        self.data, self.full = b"".join([*parts, _PAD]), have

    def _piece(self, most: int) -> bytes:
        if self._packed is None or self._packed.eof:
            return b""
        limits = self.limits
        piece = b""
        while not piece and not self._packed.eof:
            fresh = self._packed.unconsumed_tail or self._file.read(_FIRST)
            try:
                piece = self._packed.decompress(fresh, most)
            except zlib.error as error:
                raise FileFormatError(f"{self.name}: its deflated data set is damaged ({error}); {REMEDY}") from error
            if not (fresh or piece or self._packed.eof):
                raise FileFormatError(f"{self.name}: its deflated data set ends early; {REMEDY}")
            self._read += len(fresh) - len(self._packed.unconsumed_tail)
        self._inflated += len(piece)
        if self._inflated > limits.inflated_bytes or (
            self._inflated > 1 << 20 and self._inflated > limits.inflate_ratio * self._read
        ):
            raise FileFormatError(
                f"{self.name}: {self._read} deflated bytes hold more than {self._inflated} before the pixels, which no"
                f" image does; {REMEDY}"
            )
        return piece
