"""Files: the attributes are read and written by pydicom, pixel data is copied byte by byte as it is."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from isocenter.errors import FileFormatError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from isocenter.io.dicom.deidentify.residue import Identifiers

__all__ = ["Source", "TooLargeError", "read_source", "write_file"]

MAX_ATTRIBUTES = 1 << 28
"""Bytes of a file without its pixels; no real one comes near it."""

_DEFLATED = "1.2.840.10008.1.2.1.99"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_CHUNK = 1 << 20
_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"UN")
_PIXEL_ELEMENTS = (0x0008, 0x0009, 0x0010)
_ITEM, _END = 0xFFFEE000, 0xFFFEE0DD


class TooLargeError(Exception):
    """The attributes of a file are more than is read into memory."""


@dataclass(frozen=True)
class Source:
    """One file as it was read.

    Attributes:
        file: Its path.
        dataset: Everything before the pixels; of a deflated file, everything.
        transfer_syntax: Its UID.
        pixels: Where the element of the pixels begins and ends in the file; ``None`` where it has none of its own.
        surplus: Bytes of the pixel element that lie behind the pixels it declares; 0 for compressed ones.
    """

    file: Path
    dataset: Dataset
    transfer_syntax: str
    pixels: tuple[int, int] | None
    surplus: int = 0


def read_source(path: Path, transfer_syntax: str, before_pixels: int) -> Source:
    """Read a file whose header has been read before, under its limits.

    Args:
        path: The file.
        transfer_syntax: From its header.
        before_pixels: Bytes before its pixels, from its header.

    Raises:
        FileFormatError: It is damaged.
        TooLargeError: It has too many bytes beside its pixels.
    """
    from pydicom import dcmread

    try:
        with path.open("rb") as file:
            if transfer_syntax == _DEFLATED:
                _check_inflated(file)
                return Source(path, dcmread(file, force=True), transfer_syntax, None)
            _check_size(file, before_pixels)
            dataset = dcmread(file, force=True, stop_before_pixels=True)
            start = file.tell()
            pixels = _pixels(file, start, "big" if transfer_syntax == _BIG_ENDIAN else "little")
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    except (FileFormatError, TooLargeError):
        raise
    except Exception as error:  # what pydicom raises of damaged elements is of no one kind
        raise FileFormatError(f"{path}: damaged DICOM file ({type(error).__name__}); export it again") from error
    if pixels is None:
        return Source(path, dataset, transfer_syntax, None)
    return Source(path, dataset, transfer_syntax, pixels[:2], _surplus(dataset, pixels[2]))


def _check_size(file: BinaryIO, size: int) -> None:
    if size > MAX_ATTRIBUTES:
        raise TooLargeError(file.name)


def _pixels(file: BinaryIO, start: int, order: str) -> tuple[int, int, int] | None:
    """Start and end of the pixel element and the length of a native value; ``None`` where there is no such element."""
    size = file.seek(0, os.SEEK_END)
    file.seek(start)
    head = file.read(12)
    group, element = (int.from_bytes(head[n : n + 2], order) for n in (0, 2))  # type: ignore[arg-type]
    if group != 0x7FE0 or element not in _PIXEL_ELEMENTS:
        return None
    explicit = head[4:6] in _LONG_VRS
    length = int.from_bytes(head[8:12] if explicit else head[4:8], order)  # type: ignore[arg-type]
    value = start + (12 if explicit else 8)
    if length != _UNDEFINED:
        if value + length > size:
            raise FileFormatError(f"{file.name}: pixel data is cut off; send it again")
        return start, value + length, length
    return start, _end_of_items(file, value, size), 0


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


def _check_inflated(file: BinaryIO) -> None:
    """Refuse a deflated data set that is larger than the limit, without holding what it inflates to."""
    from pydicom.filereader import _read_file_meta_info, read_preamble

    read_preamble(file, True)
    _read_file_meta_info(file)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    data = file.read(_CHUNK)
    while data and not inflate.eof:
        total += len(inflate.decompress(data, _CHUNK))
        _check_size(file, total)
        data = inflate.unconsumed_tail or file.read(_CHUNK)
    file.seek(0)


def write_file(path: Path, source: Source, who: Identifiers) -> bool:
    """Write a data set that has been cleaned, with the pixels of its source.

    Returns:
        Whether no identifier was seen in the pixel data: in compressed streams, which may hold comments, and behind
        native pixels. Where one was, the file is not to be used.
    """
    from pydicom.filewriter import dcmwrite

    source.dataset.preamble = bytes(128)
    with path.open("xb") as file:
        dcmwrite(file, source.dataset, enforce_file_format=True)
        if source.pixels is None:
            return True
        start, end = source.pixels
        native = source.dataset.file_meta.TransferSyntaxUID in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", _BIG_ENDIAN)
        looked_at = end - source.surplus if native else start
        with source.file.open("rb") as old:
            old.seek(start)
            return _copy(old, file, end - start, looked_at - start, who)


def _copy(old: BinaryIO, new: BinaryIO, count: int, look_from: int, who: Identifiers) -> bool:
    """Copy bytes, and look for identifiers in those from ``look_from`` on; whether there are none."""
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
