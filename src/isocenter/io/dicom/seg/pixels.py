"""Pixels of the frames of a segmentation, one frame at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import FileFormatError, SeriesError
from isocenter.io.dicom.values.decode import DECODERS
from isocenter.io.dicom.values.pixels import Pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isocenter.io.dicom.header import Header

__all__ = ["SegPixels"]

_BITS = {"BINARY": (1, 8), "FRACTIONAL": (8,), "LABELMAP": (8, 16)}
_BYTES_OF_BITS = ("1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.1.98")  # frames of bits, each padded to whole bytes


class SegPixels:
    """Frames of a segmentation of ``kind``; their number is checked against the file before memory is asked for.

    Attributes:
        bits: Of a pixel.

    Raises:
        SeriesError: Pixels are of a form that segmentations of this kind do not have.
        FileFormatError: They are fewer than the frames need.
    """

    def __init__(self, header: Header, kind: str) -> None:
        self.bits = header.integer("BitsAllocated")
        self._shape = header.integer("Rows"), header.integer("Columns")
        samples, signed = header.integer("SamplesPerPixel", 1), header.integer("PixelRepresentation", 0)
        if self.bits not in _BITS[kind] or samples != 1 or signed != 0:
            raise SeriesError(
                f"{header.file}: BitsAllocated (0028,0100) is {self.bits}, SamplesPerPixel {samples},"
                f" PixelRepresentation {signed}: not pixels of a {kind} segmentation; export it again"
            )
        count = header.integer("NumberOfFrames", 0)
        if count < 1:
            raise FileFormatError(f"{header.file}: NumberOfFrames (0028,0008) is {count}; export it again")
        syntax = header.text("TransferSyntaxUID")
        compressed = syntax in DECODERS
        self._in_bytes = self.bits == 1 and syntax in _BYTES_OF_BITS
        if compressed and self.bits == 1:
            header = _with_bytes(header, -(-self._shape[0] * self._shape[1] // 8) if self._in_bytes else None)
        # of compressed frames, which are decoded one by one, each has to be in the file
        self._pixels = Pixels(header, frames=1 if compressed else count)

    def frame(self, index: int) -> NDArray[Any]:
        """``(rows, columns)``: bits as uint8 0 or 1, else as stored.

        Raises:
            FileFormatError: They are truncated or damaged.
        """
        pixels = self._pixels.frame(index)
        if self._in_bytes:
            pixels = np.unpackbits(pixels[0], count=self._shape[0] * self._shape[1], bitorder="little")
        elif self.bits == 1:
            pixels = (pixels != 0).view(np.uint8)
        return pixels.reshape(self._shape)


def _with_bytes(header: Header, length: int | None) -> Header:
    """Compressed bits as decoders know them: a byte a pixel, or one row of ``length`` bytes."""
    tags = {**header.tags, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    if length is not None:
        tags |= {"Rows": 1, "Columns": length}
    return replace(header, tags=tags)
