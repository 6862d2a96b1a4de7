"""Decoders of compressed frames, by transfer syntax (PS3.5 A.4).

All are those of imagecodecs, which let other threads run. Measured on CT slices, one thread each: RLE and JPEG 2000
as fast as pylibjpeg's, JPEG-LS as pyjpegls, lossless JPEG twice as fast as two others. High-throughput JPEG 2000 goes
through OpenJPEG: OpenJPH needs two thirds of its time, but takes a stream that ends early for a whole one.

What a stream says of its size is compared with the header before it is decoded, since decoders allocate what it says.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from isocenter.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from isocenter.io.dicom.values.layout import Layout

__all__ = ["DECODERS", "decode_frame"]

_REMEDY = "send or export it again"
_END_OF_IMAGE = b"\xff\xd9"
_RLE_RATIO = 64  # two bytes stand for at most 128
_MAX_TILES = 4096  # each costs the decoder kilobytes before it has seen any data
_NOT_FRAMES = {0xC4, 0xC8, 0xCC}  # tables and extensions among the markers that begin frames
_START_OF_SCAN = 0xDA


class _Stated(NamedTuple):
    """What a stream says of itself."""

    shape: tuple[int, int]
    samples: int
    bits: int
    signed: bool


def decode_frame(data: bytes, syntax: str, layout: Layout) -> NDArray[Any]:
    """One frame as cells of ``layout``.

    Raises:
        FileFormatError: It has another size, ends early, or there is no decoder for ``syntax``. What a decoder cannot
            read, it says with errors of its own.
    """
    if syntax not in DECODERS:
        raise FileFormatError(
            f"{layout.file}: TransferSyntaxUID (0002,0010) is {syntax or 'absent'}, for which there is no decoder;"
            " export it uncompressed"
        )
    if layout.allocated not in (8, 16, 32):
        raise FileFormatError(
            f"{layout.file}: BitsAllocated (0028,0100) is {layout.allocated} in compressed pixels, which is not read;"
            " export it uncompressed"
        )
    return DECODERS[syntax](data, layout)


def _early(layout: Layout) -> FileFormatError:
    return FileFormatError(f"{layout.file}: pixels cannot be decoded (their compressed data end early); {_REMEDY}")


def _whole(data: bytes, layout: Layout) -> NDArray[Any]:
    """Cells that are not compressed, or no longer."""
    size = layout.frame_bits // 8
    if len(data) < size:
        raise _early(layout)
    return np.frombuffer(data, f"<u{layout.dtype.itemsize}", layout.rows * layout.columns).reshape(layout.shape).copy()


def _deflated(data: bytes, layout: Layout) -> NDArray[Any]:
    return _whole(zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, layout.frame_bits // 8), layout)


def _rle(data: bytes, layout: Layout) -> NDArray[Any]:
    from imagecodecs import dicomrle_decode

    width = layout.dtype.itemsize
    size = layout.frame_bits // 8
    segments = int.from_bytes(data[:4], "little")
    if segments != width or size > _RLE_RATIO * len(data):
        raise FileFormatError(
            f"{layout.file}: pixels cannot be decoded ({segments} RLE segments in {len(data)} bytes, for"
            f" {layout.rows} x {layout.columns} pixels of {width} bytes); {_REMEDY}"
        )
    cells = np.zeros(size, np.uint8)
    untouched = np.ones(width, bool)
    for mark in (0xA5, 0x5A):
        # the decoder does not say that a segment was too short: it leaves the last bytes as they were
        cells[-width:] = mark
        dicomrle_decode(data, np.dtype(f"<u{width}"), out=cells.data)
        untouched &= cells[-width:] == mark
        if not untouched.any():
            return cells.view(f"<u{width}").reshape(layout.shape)
    raise _early(layout)


def _jpeg(data: bytes, layout: Layout) -> NDArray[Any]:
    from imagecodecs import jpeg8_decode

    stated = _fitting(_jpeg_head(data), layout)
    if not data.rstrip(b"\0\xff").endswith(_END_OF_IMAGE):  # the decoder would fill what is missing with grey
        raise _early(layout)
    return _cells(jpeg8_decode(data), stated, layout)


def _jpeg_ls(data: bytes, layout: Layout) -> NDArray[Any]:
    from imagecodecs import jpegls_decode

    stated = _fitting(_jpeg_head(data), layout)
    if not data.rstrip(b"\0\xff").endswith(_END_OF_IMAGE):  # without it CharLS takes four seconds, whatever the size
        raise _early(layout)
    return _cells(jpegls_decode(data), stated, layout)


def _jpeg_2000(data: bytes, layout: Layout) -> NDArray[Any]:
    from imagecodecs import jpeg2k_decode

    stated = _fitting(_jpeg_2000_head(data), layout)
    return _cells(jpeg2k_decode(data), stated, layout)


def _jpeg_xl(data: bytes, layout: Layout) -> NDArray[Any]:
    from imagecodecs import jpegxl_decode

    width = layout.dtype.itemsize
    cells = np.empty(layout.shape, f"u{width}")  # a stream of another size is refused by the decoder
    jpegxl_decode(data, out=cells)
    return _cells(cells, _Stated(layout.shape, 1, 8 * width, False), layout)


def _jpeg_head(data: bytes) -> _Stated:
    """Frame header of JPEG (ITU-T T.81 B.2.2) or JPEG-LS (T.87 C.1.1)."""
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # have no length
            at += 2
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES):
            bits, rows, columns, samples = struct.unpack_from(">BHHB", data, at + 4)
            return _Stated((rows, columns), samples, bits, False)
        elif marker == _START_OF_SCAN:
            break
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise ValueError("no JPEG frame header")


def _jpeg_2000_head(data: bytes) -> _Stated:
    """Image and tile size (ITU-T T.800 A.5.1); before it some write the boxes of a JP2 file."""
    at = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if at < 0 or at + 43 > len(data):
        raise ValueError("no JPEG 2000 header")
    right, bottom, left, top, width, height, x0, y0, samples, bits = struct.unpack_from(">8IHB", data, at + 8)
    tiles = -(-(right - x0) // max(width, 1)) * -(-(bottom - y0) // max(height, 1))
    if not 1 <= tiles <= _MAX_TILES:
        raise ValueError(f"{tiles} tiles")
    return _Stated((bottom - top, right - left), samples, (bits & 0x7F) + 1, bool(bits & 0x80))


def _fitting(stated: _Stated, layout: Layout) -> _Stated:
    if stated.shape != layout.shape or stated.samples != 1 or stated.bits > layout.allocated:
        raise FileFormatError(
            f"{layout.file}: pixels decode to {stated.shape} with {stated.samples} sample(s) of {stated.bits} bits, the"
            f" header says {layout.shape} of {layout.allocated}; export it again"
        )
    if layout.high != layout.stored - 1:
        raise FileFormatError(
            f"{layout.file}: HighBit (0028,0102) is {layout.high} with BitsStored (0028,0101) {layout.stored} in"
            " compressed pixels, which may mean two things; export it uncompressed"
        )
    return stated


def _cells(decoded: NDArray[Any], stated: _Stated, layout: Layout) -> NDArray[Any]:
    """Decoded numbers as cells; where stream and header do not agree on the sign, the header knows what is meant."""
    if decoded.shape != layout.shape or decoded.dtype.kind not in "iu":
        raise FileFormatError(
            f"{layout.file}: pixels decode to {decoded.shape} {decoded.dtype}, the header says {layout.shape};"
            " export it again"
        )
    width = layout.dtype.itemsize
    cells = decoded.astype(f"{decoded.dtype.kind}{width}", copy=False).view(f"u{width}")
    spare = 8 * width - stated.bits
    if spare and stated.signed != layout.signed:
        if layout.signed:
            numbers = cells.view(f"i{width}")
            numbers <<= spare
            numbers >>= spare
        else:
            cells &= (1 << stated.bits) - 1
    return cells


DECODERS: dict[str, Callable[[bytes, Layout], NDArray[Any]]] = {
    "1.2.840.10008.1.2.1.98": _whole,  # encapsulated, not compressed
    "1.2.840.10008.1.2.8.1": _deflated,  # each frame for itself
    "1.2.840.10008.1.2.5": _rle,
    "1.2.840.10008.1.2.4.50": _jpeg,  # baseline, 8 bits
    "1.2.840.10008.1.2.4.51": _jpeg,  # extended, 8 or 12 bits
    "1.2.840.10008.1.2.4.57": _jpeg,  # lossless
    "1.2.840.10008.1.2.4.70": _jpeg,  # lossless, first-order prediction: what most archives use
    "1.2.840.10008.1.2.4.80": _jpeg_ls,  # lossless
    "1.2.840.10008.1.2.4.81": _jpeg_ls,  # near-lossless
    "1.2.840.10008.1.2.4.90": _jpeg_2000,  # reversible
    "1.2.840.10008.1.2.4.91": _jpeg_2000,
    "1.2.840.10008.1.2.4.201": _jpeg_2000,  # high-throughput, reversible
    "1.2.840.10008.1.2.4.202": _jpeg_2000,  # the same, resolution by resolution
    "1.2.840.10008.1.2.4.203": _jpeg_2000,
    "1.2.840.10008.1.2.4.110": _jpeg_xl,  # reversible
    "1.2.840.10008.1.2.4.112": _jpeg_xl,
}
"""By transfer syntax; each is given the bytes of one frame."""
