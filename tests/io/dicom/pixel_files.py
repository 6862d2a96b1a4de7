"""Files with known pixels in every transfer syntax, encoded by others."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import jpeg_ls
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import UID, generate_uid
from rle.utils import encode_pixel_data

from isocenter.io.dicom.header import Header, read_header

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, FRAMES_DEFLATED, PLAIN_ITEMS = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.1.98"
RLE, JPEG, JPEG_12 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS, JPEG_SV1 = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_LS_NEAR = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
J2K, J2K_LOSSY = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
HTJ2K, HTJ2K_RPCL, HTJ2K_LOSSY = (f"1.2.840.10008.1.2.4.{n}" for n in (201, 202, 203))
JPEG_XL, JPEG_XL_LOSSY = "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.112"
NATIVE = (IMPLICIT, EXPLICIT, BIG, DEFLATED)
# newer than pydicom's list of syntaxes, which refuses to write them: under a name of the same length
_WRITTEN_AS = {FRAMES_DEFLATED: JPEG_LS, JPEG_XL: HTJ2K, JPEG_XL_LOSSY: HTJ2K}


def _rle(frame: np.ndarray) -> bytes:
    rows, columns = frame.shape
    return bytes(
        encode_pixel_data(
            frame.tobytes(),
            rows=rows,
            columns=columns,
            samples_per_pixel=1,
            bits_allocated=8 * frame.itemsize,
            number_of_frames=1,
            byteorder="<",
        )
    )


def _deflate(frame: np.ndarray) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(frame.tobytes()) + packer.flush()


def _unsigned(frame: np.ndarray) -> np.ndarray:
    return frame.view(f"u{frame.itemsize}")


ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    PLAIN_ITEMS: np.ndarray.tobytes,
    FRAMES_DEFLATED: _deflate,
    RLE: _rle,
    JPEG_LOSSLESS: lambda f: imagecodecs.jpeg8_encode(
        _unsigned(f), lossless=True, predictor=6, bitspersample=8 * f.itemsize
    ),
    JPEG_SV1: lambda f: imagecodecs.jpeg8_encode(
        _unsigned(f), lossless=True, predictor=1, bitspersample=8 * f.itemsize
    ),
    JPEG_LS: lambda f: bytes(jpeg_ls.encode_array(_unsigned(f))),
    J2K: lambda f: imagecodecs.jpeg2k_encode(f, level=0, reversible=True, codecformat="j2k"),
    HTJ2K: lambda f: imagecodecs.htj2k_encode(f, reversible=True),
    HTJ2K_RPCL: lambda f: imagecodecs.htj2k_encode(f, reversible=True),
    JPEG_XL: lambda f: imagecodecs.jpegxl_encode(_unsigned(f), lossless=True),
}
"""Lossless ones."""
LOSSY: dict[str, Callable[[np.ndarray], bytes]] = {
    JPEG_LS_NEAR: lambda f: bytes(jpeg_ls.encode_array(f, lossy_error=2)),
    J2K_LOSSY: lambda f: imagecodecs.jpeg2k_encode(f, level=85, reversible=False, codecformat="j2k"),
    HTJ2K_LOSSY: lambda f: imagecodecs.htj2k_encode(f, level=0.0001, reversible=False),
    JPEG_XL_LOSSY: lambda f: imagecodecs.jpegxl_encode(f, distance=0.05, lossless=False),
}


def numbers(shape: Sequence[int], dtype: str, *, bits: int | None = None, seed: int = 0) -> np.ndarray:
    """Numbers that use all ``bits``, smooth enough for lossy codecs to come near."""
    kind, width = np.dtype(dtype).kind, bits or 8 * np.dtype(dtype).itemsize
    rng = np.random.default_rng(seed)
    low, high = (0, 2**width - 1) if kind == "u" else (-(2 ** (width - 1)), 2 ** (width - 1) - 1)
    ramp = np.add.outer(np.linspace(0, 0.5, shape[-2]), np.linspace(0, 0.5, shape[-1])) ** 2
    values = low + (high - low) * (0.9 * ramp + 0.1 * rng.random(shape))
    values[..., 0, 0], values[..., -1, -1] = low, high
    return np.clip(np.rint(values), low, high).astype(dtype)


def pixel_file(
    path: Path,
    frames: np.ndarray,
    syntax: str,
    *,
    stored: int | None = None,
    fragments: int = 1,
    table: str = "basic",
    encode: Callable[[np.ndarray], bytes] | None = None,
    edit: Callable[[Dataset], Any] = lambda ds: None,
) -> Header:
    """Write ``(frame, row, column)`` numbers and read the header of the file.

    Args:
        path: Where.
        frames: Numbers.
        syntax: UID of the transfer syntax.
        stored: Bits Stored; all by default.
        fragments: Of each frame.
        table: Of offsets: ``"basic"``, ``"extended"``, ``"none"``.
        encode: Of one frame, where it is not the usual one.
        edit: May change the data set before it is written.
    """
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    written = _WRITTEN_AS.get(syntax, syntax)
    ds.file_meta.TransferSyntaxUID = UID(written)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.Modality = generate_uid(), generate_uid(), "CT"
    ds.NumberOfFrames, ds.Rows, ds.Columns = frames.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = 1 if frames.dtype == bool else 8 * frames.itemsize
    if frames.dtype.kind != "f":
        ds.BitsStored = stored or bits
        ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(frames.dtype.kind == "i")
    ds.BitsAllocated = bits
    _write_pixels(ds, frames, syntax, fragments, table, encode)
    edit(ds)
    ds.save_as(path, enforce_file_format=True)
    if written != syntax:
        pad = len(written) + len(written) % 2
        path.write_bytes(path.read_bytes().replace(_padded(written, pad), _padded(syntax, pad), 1))
    return read_header(path)


def _padded(uid: str, length: int) -> bytes:
    return uid.encode().ljust(length, b"\0")


def _write_pixels(ds: Dataset, frames: np.ndarray, syntax: str, fragments: int, table: str, encode: Any) -> None:
    if syntax in NATIVE:
        order = ">" if syntax == BIG else "<"
        data = np.packbits(frames.ravel(), bitorder="little") if frames.dtype == bool else frames
        data = data.astype(data.dtype.newbyteorder(order)).tobytes()
        name = {"f4": "FloatPixelData", "f8": "DoubleFloatPixelData"}.get(frames.dtype.str[1:], "PixelData")
        setattr(ds, name, data + bytes(len(data) % 2))
        if name == "PixelData":
            ds["PixelData"].VR = "OB" if frames.itemsize == 1 else "OW"
        return
    encode = encode or ENCODERS.get(syntax) or LOSSY[syntax]
    encoded = [encode(np.ascontiguousarray(frame)) for frame in frames]
    if table == "extended":
        ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(encoded)
    else:
        ds.PixelData = encapsulate(encoded, fragments_per_frame=fragments, has_bot=table == "basic")
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
