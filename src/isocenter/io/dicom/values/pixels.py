"""The pixel data of one file: found, bounded, and read frame by frame, whatever the transfer syntax."""

from __future__ import annotations

import zlib
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import FileFormatError, IsocenterError
from isocenter.io.dicom.values.decode import DECODERS, decode_frame
from isocenter.io.dicom.values.encapsulated import find_fragments
from isocenter.io.dicom.values.layout import Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isocenter.io.dicom.header import Header
    from isocenter.io.dicom.values.encapsulated import Fragments

__all__ = ["Pixels"]

_DEFLATED = "1.2.840.10008.1.2.1.99"
_BIG_HEADS = {"1.2.840.10008.1.2.2"}
_BIG_CELLS = {"1.2.840.10008.1.2.2", "1.2.840.113619.5.2"}  # the latter: GE, little-endian heads, big-endian pixels
_NATIVE = {"", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", _DEFLATED} | _BIG_CELLS
_KINDS = {0x7FE00010: "u", 0x7FE00008: "f", 0x7FE00009: "f"}  # integers, float, double
_LONG_VRS = (b"OB\0\0", b"OW\0\0", b"OF\0\0", b"OD\0\0", b"UN\0\0")
_UNDEFINED = 0xFFFFFFFF
_REMEDY = "send or export it again"


class Pixels:
    """Frames of one file.

    Attributes:
        layout: Of their cells.

    Raises:
        FileFormatError: They are absent, truncated, or more than a file of its size can hold.
    """

    def __init__(self, header: Header, *, frames: int = 1) -> None:
        """Find the pixel data, of which ``frames`` frames are going to be read."""
        self.layout = Layout.of(header)
        self._syntax = header.text("TransferSyntaxUID")
        self._fragments: Fragments | None = None
        self._inflated: bytes | None = None
        self.layout.refuse_bomb(frames, packed=self._syntax not in _NATIVE or self._syntax == _DEFLATED)
        try:
            with open(header.file, "rb", buffering=0) as file:
                self._find(header, file)
        except OSError as error:
            raise FileFormatError(f"{header.file}: cannot be read ({error.strerror}); check the file") from error

    def frame(self, index: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Numbers of one frame, ``(rows, columns)``, in an array of its own.

        Args:
            index: From 0.
            out: C-contiguous memory for the cells, used where they stand in the file as they are.

        Raises:
            FileFormatError: They are truncated or damaged.
        """
        try:
            cells = self._native(index, out) if self._fragments is None else self._decoded(index, self._fragments)
        except IsocenterError:
            raise
        except Exception as error:  # a decoder may raise anything on a damaged file
            reason = (str(error).splitlines() or [""])[0][:200]
            raise self._error(f"{type(error).__name__}: {reason}") from error
        return self.layout.numbers(cells)

    def _error(self, reason: str) -> FileFormatError:
        return FileFormatError(f"{self.layout.file}: pixels cannot be decoded ({reason}); {_REMEDY}")

    def _find(self, header: Header, file: IO[bytes]) -> None:
        at = header.pixels_at
        if self._syntax == _DEFLATED:
            start = _data_set_start(file)
            at = max(at - start, 0)  # places in a deflated file are counted as if it were not
            self._inflated = self._inflate(file, start, at + 12)
            head = self._inflated[at : at + 12]
        else:
            file.seek(at)
            head = file.read(12)
        order: Any = "big" if self._syntax in _BIG_HEADS else "little"
        tag = int.from_bytes(head[:2], order) << 16 | int.from_bytes(head[2:4], order)
        if tag not in _KINDS or len(head) < 12:
            raise self._error("there is no pixel data element")
        # the bytes tell whether a value representation is there; a file may be written other than it says
        explicit = head[4:8] in _LONG_VRS
        length = int.from_bytes(head[8:] if explicit else head[4:8], order)
        self._start, self._length = at + (12 if explicit else 8), length
        encapsulated = self._syntax not in _NATIVE
        if encapsulated != (length == _UNDEFINED):
            raise self._error(f"they {'' if length == _UNDEFINED else 'do not '}stand in fragments, which"
                              f" TransferSyntaxUID (0002,0010) {self._syntax} does not have")  # fmt: skip
        if encapsulated:
            if self._syntax not in DECODERS:
                decode_frame(b"", self._syntax, self.layout)  # says what is missing
            self._fragments = find_fragments(file, header.file, self._start, header.size, self.layout.frames)
        self._prepare(_KINDS[tag], small_words=head[4:6] == b"OW" and self.layout.allocated <= 8)

    def _prepare(self, kind: str, *, small_words: bool) -> None:
        big = self._syntax in _BIG_CELLS
        self._cell = self.layout.dtype if kind == "u" else np.dtype(f"f{self.layout.allocated // 8}")
        if big:
            self._cell = self._cell.newbyteorder(">")
        # cells of 8 bits or 1 in words of 16 stand in pairs the other way round (PS3.5 8.1.1, annex D)
        self._pairs = big and small_words

    def _inflate(self, file: IO[bytes], start: int, before: int) -> bytes:
        file.seek(start)
        need = before + -(-self.layout.frame_bits * self.layout.frames // 8)
        self.layout.refuse_bomb(self.layout.frames, packed=True)
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(), need)
        except zlib.error as error:
            raise self._error(f"its deflated data set is damaged: {error}") from error

    def _native(self, index: int, out: NDArray[Any] | None) -> NDArray[Any]:
        bits = self.layout.frame_bits
        begin, end = bits * index // 8, -(-bits * (index + 1) // 8)
        if end > self._length:
            raise self._error(f"{end} bytes are needed for {index + 1} frame(s), {self._length} are there")
        if self._pairs:
            begin, end = begin // 2 * 2, -(-end // 2) * 2
        cells = np.empty(end - begin, np.uint8) if out is None else out.view(np.uint8).reshape(-1)
        self._read(begin, cells)
        if self._pairs:
            cells = cells.view(np.uint16).byteswap(inplace=True).view(np.uint8)
        count = self.layout.rows * self.layout.columns
        if self.layout.allocated == 1:
            first = bits * index - 8 * begin
            cells = np.unpackbits(cells, bitorder="little")[first : first + count]
        elif self.layout.allocated == 8:
            first = bits * index // 8 - begin
            cells = cells[first : first + count]
        cells = cells.view(self._cell)
        if not cells.dtype.isnative:
            cells = cells.byteswap(inplace=True).view(cells.dtype.newbyteorder("="))
        return cells.reshape(self.layout.shape)

    def _read(self, begin: int, cells: NDArray[np.uint8]) -> None:
        at, have = self._start + begin, 0
        if self._inflated is not None:
            piece = self._inflated[at : at + cells.size]
            have = len(piece)
            cells[:have] = np.frombuffer(piece, np.uint8)
        else:
            with open(self.layout.file, "rb", buffering=0) as file:
                file.seek(at)
                space = cells.data
                while have < cells.size and (got := file.readinto(space[have:])):
                    have += got
        if have < cells.size and not (self._pairs and have == cells.size - 1):
            raise self._error(f"they end early, after {have} of {cells.size} bytes")

    def _decoded(self, index: int, fragments: Fragments) -> NDArray[Any]:
        places = fragments.of_frame(index)
        parts = []
        with open(self.layout.file, "rb", buffering=0) as file:
            for at, length in places:
                file.seek(at)
                parts.append(file.read(length))
        return decode_frame(b"".join(parts), self._syntax, self.layout)


def _data_set_start(file: IO[bytes]) -> int:
    """First byte after the file meta information, whose length its first element states (PS3.10 7.1)."""
    file.seek(132)
    head = file.read(12)
    if head[:8] == b"\x02\x00\x00\x00UL\x04\x00":
        return 144 + int.from_bytes(head[8:], "little")
    at = 132  # it does not: the meta information ends where its group ends
    while head[:2] == b"\x02\x00":
        long = head[4:6] in (b"OB", b"UN", b"UT")
        at += 12 + int.from_bytes(head[8:12], "little") if long else 8 + int.from_bytes(head[6:8], "little")
        file.seek(at)
        head = file.read(12)
    return at
