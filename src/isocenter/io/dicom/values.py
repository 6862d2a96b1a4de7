"""Stored pixels to the values they stand for: sign, unused bits, rescale (PS3.3 C.7.6.3.1, C.11.1)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from isocenter.errors import FileFormatError
from isocenter.io.dicom._jpeg import JPEG_SYNTAXES, decode_jpeg

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from isocenter.io.dicom.header import Header
    from isocenter.volume import Unit

__all__ = ["padding_value", "read_slices", "stored_pixels", "value_unit"]

_INT16 = np.iinfo(np.int16)
_THREADS = 4
_LITTLE_ENDIAN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")  # and not compressed
_UNDEFINED = 0xFFFFFFFF


def stored_pixels(header: Header) -> NDArray[Any]:
    """Pixels of one single-frame file as stored: integers, ``(rows, columns)``, without unused bits.

    Raises:
        FileFormatError: They are absent, truncated or damaged, or no decoder is installed for them.
    """
    try:
        array = _native_pixels(header)
        if array is None:
            array = _decoded_pixels(header)
    except FileFormatError:
        raise
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


def _native_pixels(header: Header) -> NDArray[Any] | None:
    """Pixels that stand in the file as they are, read straight from their place; ``None`` where they do not."""
    if header.text("TransferSyntaxUID") not in _LITTLE_ENDIAN:
        return None
    with open(header.file, "rb") as file:
        file.seek(header.pixels_at)
        head = file.read(8)
        # the bytes tell whether a value representation is there; a file may be written other than it says
        length = int.from_bytes(file.read(4) if head[4:] in (b"OB\0\0", b"OW\0\0") else head[4:], "little")
        shape = (header.integer("Rows"), header.integer("Columns"))
        dtype = np.dtype(f"<u{header.integer('BitsAllocated') // 8}")
        if head[:4] != b"\xe0\x7f\x10\x00" or length == _UNDEFINED or length < shape[0] * shape[1] * dtype.itemsize:
            return None
        array = np.fromfile(file, dtype, shape[0] * shape[1])
    return array.reshape(shape)


def _decoded_pixels(header: Header) -> NDArray[Any]:
    from pydicom import dcmread
    from pydicom.pixels.utils import pixel_array
    from pydicom.uid import UID

    syntax = UID(header.text("TransferSyntaxUID"))
    if syntax in JPEG_SYNTAXES:
        pixels = decode_jpeg(dcmread(header.file, force=True).PixelData, file=header.file)
        return pixels.astype(f"u{header.integer('BitsAllocated') // 8}", copy=False)
    if syntax.is_encapsulated:
        return pixel_array(header.file, raw=True)
    dataset = dcmread(header.file, force=True)  # deflated, big-endian, or damaged
    dataset.file_meta.TransferSyntaxUID = syntax
    return pixel_array(dataset, raw=True)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]


def _used_bits(array: NDArray[Any], header: Header) -> NDArray[Any]:
    """Overlays and rubbish may stand in the bits above Bits Stored; the sign bit is the highest one stored."""
    stored = header.integer("BitsStored")
    width = array.dtype.itemsize * 8
    signed = header.integer("PixelRepresentation", 0) == 1
    dtype = np.dtype(f"{'i' if signed else 'u'}{array.dtype.itemsize}")
    array = array.astype(array.dtype.newbyteorder("="), copy=False).view(dtype)
    if stored < width and signed:
        array = (array << (width - stored)) >> (width - stored)  # the shift down repeats the sign bit
    elif stored < width:
        array = array & dtype.type((1 << stored) - 1)
    return array


def read_slices(headers: Sequence[Header]) -> NDArray[Any]:
    """Values of all slices, ``(slice, row, column)``.

    int16 where every slope is 1, every intercept whole, and all values fit; else float32, each value the stored one
    times slope plus intercept in double, rounded once.
    """
    shape = (len(headers), headers[0].integer("Rows"), headers[0].integer("Columns"))
    scales = [(h.number("RescaleSlope", 1.0), h.number("RescaleIntercept", 0.0)) for h in headers]
    if all(slope == 1 and float(inter).is_integer() and abs(inter) <= _INT16.max for slope, inter in scales):
        whole = np.empty(shape, np.int16)
        if _each_slice(headers, lambda z, stored: _shift(stored, int(scales[z][1]), whole[z])):
            return whole
    out = np.empty(shape, np.float32)
    _each_slice(headers, lambda z, stored: _rescale(stored, *scales[z], out[z]))
    return out


def _each_slice(headers: Sequence[Header], work: Callable[[int, NDArray[Any]], bool]) -> bool:
    """Whether ``work`` on the pixels of every slice said yes. Slices go to different places, so threads may share."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return all(pool.map(lambda z: work(z, stored_pixels(headers[z])), range(len(headers))))


def _shift(stored: NDArray[Any], intercept: int, out: NDArray[np.int16]) -> bool:
    """Stored values plus a whole intercept, where all fit int16; whether they do."""
    if int(stored.min()) + intercept < _INT16.min or int(stored.max()) + intercept > _INT16.max:
        return False
    # modulo 2**16 the sum is right whatever the sign of the stored type, and it was just seen to fit
    signed = stored.view(np.int16) if stored.dtype.itemsize == 2 else stored.astype(np.int16)
    np.add(signed, np.int16(intercept), out=out)
    return True


def _rescale(stored: NDArray[Any], slope: float, intercept: float, out: NDArray[np.float32]) -> bool:
    if slope == 1 and intercept == 0:
        out[:] = stored
    else:
        out[:] = stored.astype(np.float64) * slope + intercept
    return True


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
