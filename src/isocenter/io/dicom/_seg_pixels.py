"""Pixels of the frames of a segmentation: packed bits, whole bytes, or compressed, one frame at a time."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import FileFormatError, SeriesError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from isocenter.io.dicom.header import Header

__all__ = ["Pixels"]

_PLAIN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "")
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
_RLE = "1.2.840.10008.1.2.5"
_UNDEFINED = 0xFFFFFFFF
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
# How many bytes one byte of a compressed frame may stand for: RLE repeats one at most 128 times, deflate 1032 times; an
# empty frame of 512 x 512 has some 60 bytes in JPEG 2000.
_RATIO = {_RLE: 128, _DEFLATED_FRAMES: 1100}
_OTHER_RATIO = 20_000
_BITS = {"BINARY": (1, 8), "FRACTIONAL": (8,), "LABELMAP": (8, 16)}


@dataclass(frozen=True)
class Pixels:
    """Pixels of a segmentation."""

    header: Header
    kind: str

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows, columns of a frame."""
        return self.header.integer("Rows"), self.header.integer("Columns")

    @cached_property
    def bits(self) -> int:
        """Bits Allocated (0028,0100)."""
        return self.header.integer("BitsAllocated")

    @cached_property
    def _syntax(self) -> str:
        return self.header.text("TransferSyntaxUID")

    @property
    def _native(self) -> bool:
        return self._syntax in (*_PLAIN, _BIG_ENDIAN, _DEFLATED)

    def check(self) -> None:
        """Refuse what cannot be: before memory is asked for.

        Raises:
            SeriesError: Pixels are of a form that segmentations of this kind do not have.
            FileFormatError: They are fewer than the frames need.
        """
        header, (rows, columns) = self.header, self.shape
        samples, signed = header.integer("SamplesPerPixel", 1), header.integer("PixelRepresentation", 0)
        if self.bits not in _BITS[self.kind] or samples != 1 or signed != 0:
            raise SeriesError(
                f"{header.file}: BitsAllocated (0028,0100) is {self.bits}, SamplesPerPixel {samples},"
                f" PixelRepresentation {signed}: not pixels of a {self.kind} segmentation; export it again"
            )
        frames = header.integer("NumberOfFrames", 0)
        need = -(-frames * rows * columns * self.bits // 8)
        have, ratio = self._stored, 1 if self._native else _RATIO.get(self._syntax, _OTHER_RATIO)
        if min(rows, columns, frames) < 1 or need > have * ratio:
            raise FileFormatError(
                f"{header.file}: {frames} frames of {rows} x {columns} need {need} bytes, it has {have}: truncated or"
                " damaged; send or export it again"
            )

    def frames(self, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
        """Pixels ``(rows, columns)`` of the frames asked for: bits as uint8 0 or 1, else as stored.

        Raises:
            FileFormatError: They cannot be decoded.
        """
        found = self._from_bytes(indices) if self._native else self._decoded(indices)
        for index in indices:
            try:
                pixels = next(found).reshape(self.shape)
            except FileFormatError:
                raise
            except Exception as error:  # a decoder may raise anything on a damaged file
                raise FileFormatError(
                    f"{self.header.file}: frame {index + 1} cannot be decoded ({type(error).__name__}); export it again"
                ) from error
            yield pixels

    def _from_bytes(self, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
        size = self.shape[0] * self.shape[1]
        for index in indices:
            if self.bits == 1:
                yield _unpacked(self._bytes, index * size, size)
            else:
                width = self.bits // 8
                part = self._bytes[index * size * width : (index + 1) * size * width]
                yield part if width == 1 else part.view(">u2" if self._syntax == _BIG_ENDIAN else "<u2")

    @cached_property
    def _bytes(self) -> NDArray[np.uint8]:
        """Pixel data as it stands in the file, which is not read before it is looked at."""
        if self._syntax == _DEFLATED:
            return np.frombuffer(self._dataset.PixelData, np.uint8)
        start, length = self._element
        return np.memmap(self.header.file, np.uint8, "r", start, (length,))

    @cached_property
    def _element(self) -> tuple[int, int]:
        """Where the value of the pixel data element begins, and how long it is."""
        with open(self.header.file, "rb") as file:
            file.seek(self.header.pixels_at)
            head = file.read(12)
        order = "big" if self._syntax == _BIG_ENDIAN else "little"
        tag = b"\x7f\xe0\x00\x10" if order == "big" else _PIXEL_DATA
        # the bytes tell whether a value representation is there; a file may be written other than it says
        long = head[4:8] in (b"OB\0\0", b"OW\0\0")
        start = self.header.pixels_at + (12 if long else 8)
        length = int.from_bytes(head[8:12] if long else head[4:8], order)  # type: ignore[arg-type]
        rest = max(0, self.header.size - start)
        return start, 0 if head[:4] != tag else rest if length == _UNDEFINED else min(length, rest)

    @cached_property
    def _stored(self) -> int:
        return len(self._bytes) if self._syntax == _DEFLATED else self._element[1]

    @cached_property
    def _dataset(self) -> Dataset:
        from pydicom import dcmread

        return dcmread(self.header.file, force=True)

    def _decoded(self, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
        if self._syntax == _DEFLATED_FRAMES:
            yield from self._inflated(indices)
        else:
            from pydicom.pixels.utils import iter_pixels

            yield from iter_pixels(self._dataset, indices=indices, raw=True)

    def _inflated(self, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
        """Deflated Image Frame Compression (PS3.5 A.4.13)."""
        from pydicom.encaps import get_frame

        size = self.shape[0] * self.shape[1]
        need = -(-size * self.bits // 8)
        count = self.header.integer("NumberOfFrames")
        for index in indices:
            coded = get_frame(self._dataset.PixelData, index, number_of_frames=count)
            data = np.frombuffer(zlib.decompressobj(-zlib.MAX_WBITS).decompress(coded, need), np.uint8)
            yield _unpacked(data, 0, size) if self.bits == 1 else data.view(f"<u{self.bits // 8}")


def _unpacked(data: NDArray[np.uint8], start: int, size: int) -> NDArray[np.uint8]:
    """``size`` bits of a stream in which frames do not begin at bytes (PS3.5 8.1.1)."""
    skip = start % 8
    part = data[start // 8 : (start + size + 7) // 8]
    return np.unpackbits(part, count=skip + size, bitorder="little")[skip:]
