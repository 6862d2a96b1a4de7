"""Stored pixels to the values they stand for: sign, unused bits, rescale (PS3.3 C.7.6.3.1, C.11.1)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from isocenter.io.dicom.header import Header
    from isocenter.volume import Unit

__all__ = ["padding_value", "read_slices", "stored_pixels", "value_unit"]

_INT16 = np.iinfo(np.int16)
_THREADS = 4


def stored_pixels(header: Header) -> NDArray[Any]:
    """Pixels of one single-frame file as stored: integers, ``(rows, columns)``, without unused bits.

    Raises:
        FileFormatError: They are absent, truncated or damaged, or no decoder is installed for them.
    """
    from pydicom.pixels.utils import pixel_array

    try:
        array = pixel_array(header.file, raw=True)
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise FileFormatError(
            f"{header.file}: pixels cannot be decoded ({type(error).__name__}: {_first_line(error)});"
            " send or export it again"
        ) from error
    shape = (header.integer("Rows"), header.integer("Columns"))
    if array.shape != shape or array.dtype.kind not in "iu":
        raise FileFormatError(
            f"{header.file}: pixels decode to {array.shape} {array.dtype}, the header says {shape}; export it again"
        )
    return _used_bits(array, header)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]


def _used_bits(array: NDArray[Any], header: Header) -> NDArray[Any]:
    """Overlays and rubbish may stand in the bits above Bits Stored; the sign bit is the highest one stored."""
    stored = header.integer("BitsStored")
    width = array.dtype.itemsize * 8
    signed = header.integer("PixelRepresentation", 0) == 1
    dtype = np.dtype(f"{'i' if signed else 'u'}{array.dtype.itemsize}")
    array = array.view(dtype)
    if stored < width:
        # up and down again: an arithmetic shift for signed, a logical one for unsigned types
        array = (array << (width - stored)) >> (width - stored)
    return array


def read_slices(headers: Sequence[Header]) -> NDArray[Any]:
    """Values of all slices, ``(slice, row, column)``.

    int16 where every slope is 1, every intercept whole, and all values fit; else float32, each value the stored one
    times slope plus intercept in double, rounded once.
    """
    shape = (len(headers), headers[0].integer("Rows"), headers[0].integer("Columns"))
    scales = [(h.number("RescaleSlope", 1.0), h.number("RescaleIntercept", 0.0)) for h in headers]
    whole = all(slope == 1 and float(inter).is_integer() for slope, inter in scales)
    out: NDArray[Any] = np.empty(shape, np.int16 if whole else np.float32)
    with ThreadPoolExecutor(_THREADS) as pool:
        for z, stored in enumerate(pool.map(stored_pixels, headers)):
            slope, inter = scales[z]
            if out.dtype == np.int16 and not _fits(stored, int(inter)):
                out = out.astype(np.float32)  # exact: 16-bit integers need fewer than its 24 bits
            if out.dtype == np.int16:
                out[z] = stored.astype(np.int32) + int(inter)
            elif slope == 1 and inter == 0:
                out[z] = stored
            else:
                out[z] = stored.astype(np.float64) * slope + inter
    return out


def _fits(stored: NDArray[Any], intercept: int) -> bool:
    low, high = int(stored.min()) + intercept, int(stored.max()) + intercept
    return bool(_INT16.min <= low and high <= _INT16.max)


def value_unit(header: Header) -> Unit:
    """What a value means: HU for CT unless Rescale Type (0028,1054) says otherwise, else arbitrary."""
    rescaled = "RescaleSlope" in header and "RescaleIntercept" in header
    if header.text("Modality") == "CT" and rescaled and header.text("RescaleType", "HU") == "HU":
        return "HU"
    return "a.u."


def padding_value(header: Header) -> float | None:
    """Value, after rescale, of pixels outside the field of view: Pixel Padding Value (0028,0120)."""
    if "PixelPaddingValue" not in header:
        return None
    stored = header.number("PixelPaddingValue")
    return stored * header.number("RescaleSlope", 1.0) + header.number("RescaleIntercept", 0.0)
