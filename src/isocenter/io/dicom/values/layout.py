"""How the cells of pixel data hold numbers: bits, sign, and what a file of its size can hold (PS3.5 8.1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import FileFormatError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isocenter.io.dicom.header import Header

__all__ = ["Layout"]

_MAX_RATIO = 2000  # of compressed images; more than this is a bomb


@dataclass(frozen=True)
class Layout:
    """The cells of one frame of a file.

    Attributes:
        file: Path, for messages.
        size: Of the file in bytes.
        rows: Of the whole frame, also where the header is that of one tile of it.
        columns: Likewise.
        frames: How many the file says it has.
        allocated: Bits of a cell: 1, 8, 16 or 32 for integers, 32 or 64 for float pixel data.
        stored: Bits of it that are the number; others may hold overlays or rubbish.
        high: The highest of them, counted from 0.
        signed: Whether that one is the sign (two's complement).
    """

    file: str
    size: int
    rows: int
    columns: int
    frames: int
    allocated: int
    stored: int
    high: int
    signed: bool

    @staticmethod
    def of(header: Header) -> Layout:
        """As the elements of ``header`` state it.

        Raises:
            SeriesError: One of them is absent.
            FileFormatError: There is no such layout, or the image has several samples a pixel.
        """
        names = ("TotalPixelMatrixRows", "TotalPixelMatrixColumns") if header.tile else ("Rows", "Columns")
        allocated = header.integer("BitsAllocated")
        stored = header.integer("BitsStored", allocated)
        layout = Layout(
            header.file,
            header.size,
            header.integer(names[0]),
            header.integer(names[1]),
            max(header.integer("NumberOfFrames", 1), 1),
            allocated,
            stored,
            header.integer("HighBit", stored - 1),
            header.integer("PixelRepresentation", 0) == 1,
        )
        samples = header.integer("SamplesPerPixel", 1)
        if samples != 1:
            raise FileFormatError(
                f"{header.file}: SamplesPerPixel (0028,0002) is {samples}, a colour image, not one of numbers;"
                " choose another series"
            )
        layout._check()
        return layout

    def _check(self) -> None:
        if self.allocated not in (1, 8, 16, 32, 64) or not 1 <= self.stored <= self.high + 1 <= self.allocated:
            raise FileFormatError(
                f"{self.file}: BitsAllocated (0028,0100) {self.allocated}, BitsStored (0028,0101) {self.stored},"
                f" HighBit (0028,0102) {self.high} is not a layout that is read; export it again"
            )
        if self.rows < 1 or self.columns < 1:
            raise FileFormatError(
                f"{self.file}: Rows x Columns (0028,0010) {self.rows} x {self.columns} is no image; export it again"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.rows, self.columns

    @property
    def frame_bits(self) -> int:
        """Bits of a frame that is not compressed; frames of one bit a pixel may begin inside of a byte."""
        return self.rows * self.columns * self.allocated

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a cell before its sign is looked at."""
        return np.dtype(f"u{max(self.allocated // 8, 1)}")

    @property
    def limits(self) -> tuple[int, int]:
        """Least and greatest number that the bits can hold."""
        if self.signed:
            return -(1 << (self.stored - 1)), (1 << (self.stored - 1)) - 1
        return 0, (1 << self.stored) - 1

    def refuse_bomb(self, frames: int, *, packed: bool) -> None:
        """Before anything is allocated: a file of this size does not hold ``frames`` such frames.

        Raises:
            FileFormatError: It does not.
        """
        need = -(-self.frame_bits * frames // 8)
        if need > self.size * (_MAX_RATIO if packed else 1):
            raise FileFormatError(
                f"{self.file}: pixels cannot be decoded (Rows x Columns {self.rows} x {self.columns}, {frames} frame(s)"
                f" declare {need} bytes, the file has {self.size}{', compressed' if packed else ''});"
                " truncated or damaged, send or export it again"
            )

    def numbers(self, cells: NDArray[Any]) -> NDArray[Any]:
        """Numbers in ``cells``, without what else stands in their bits; in place where they are integers."""
        if cells.dtype.kind != "u" or self.allocated == 1:
            return cells
        width = cells.dtype.itemsize * 8
        low = self.high + 1 - self.stored
        if low:
            cells >>= low
        if self.signed:
            cells = cells.view(f"i{cells.dtype.itemsize}")
            if self.stored < width:
                cells <<= width - self.stored
                cells >>= width - self.stored  # repeats the sign bit
        elif self.stored + low < width:
            cells &= (1 << self.stored) - 1
        return cells
