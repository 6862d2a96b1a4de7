"""Files: the attributes are read and written by pydicom, pixel data is copied byte by byte as it is."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from isocenter.errors import FileFormatError
from isocenter.io.dicom.deidentify.pixels import Order, Pixels, copy_pixels, find_pixels

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from isocenter.io.dicom.deidentify.residue import Identifiers

__all__ = ["Source", "TooLargeError", "read_source", "write_file"]

MAX_ATTRIBUTES = 1 << 28
"""Bytes of a file without its pixels; no real one comes near it."""

_DEFLATED = "1.2.840.10008.1.2.1.99"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_IMPLICIT = "1.2.840.10008.1.2"
_CHUNK = 1 << 20


class TooLargeError(Exception):
    """The attributes of a file are more than is read into memory."""


@dataclass(frozen=True)
class Source:
    """One file as it was read.

    Attributes:
        file: Its path.
        dataset: Everything before the pixels; of a deflated file, everything.
        transfer_syntax: Its UID.
        pixels: Where they are in the file; ``None`` where it has none, or they are in the data set.
    """

    file: Path
    dataset: Dataset
    transfer_syntax: str
    pixels: Pixels | None


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
            pixels = find_pixels(file, file.tell(), _order(transfer_syntax), dataset)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    except (FileFormatError, TooLargeError):
        raise
    except Exception as error:  # what pydicom raises of damaged elements is of no one kind
        raise FileFormatError(f"{path}: damaged DICOM file ({type(error).__name__}); export it again") from error
    return Source(path, dataset, transfer_syntax, pixels)


def _check_size(file: BinaryIO, size: int) -> None:
    if size > MAX_ATTRIBUTES:
        raise TooLargeError(file.name)


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

    dataset = source.dataset
    dataset.preamble = bytes(128)
    implicit, order = source.transfer_syntax == _IMPLICIT, _order(source.transfer_syntax)
    if not implicit and any(dataset.get_item(tag, keep_deferred=True).VR is None for tag in list(dataset.keys())):
        for _ in dataset.iterall():  # its elements are without VRs though it says otherwise; pydicom looks them up
            pass
    with path.open("xb") as file:
        dcmwrite(file, dataset, enforce_file_format=True)
        if source.pixels is None:
            return True
        file.write(source.pixels.head(implicit=implicit, order=order))
        with source.file.open("rb") as old:
            return copy_pixels(old, file, source.pixels, who)


def _order(transfer_syntax: str) -> Order:
    return "big" if transfer_syntax == _BIG_ENDIAN else "little"
