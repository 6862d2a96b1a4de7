"""Siemens mosaics: the slices of one volume tiled into one image.

Tiles run row by row along the slice normal, in a square of ceil(sqrt(n)) tiles a side. Image Position (Patient) of
such a file is that of a full-size image about the same centre, so the first tile begins half of what is left further
in (https://nipy.org/nibabel/dicom/dicom_mosaic.html; the CSA header is described at
https://nipy.org/nibabel/dicom/siemens_csa.html).
"""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from isocenter.errors import SeriesError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isocenter.io.dicom.header import Header

__all__ = ["csa_values", "is_mosaic", "tiles_of"]

_CSA = "0029,10:SIEMENS CSA HEADER"
_COUNT = "0019,0A:SIEMENS MR HEADER"
_MAX_TAGS, _MAX_ITEMS = 1024, 256
_TAG = struct.Struct("<64si4s3i")
_ITEM = struct.Struct("<4i")


def is_mosaic(header: Header) -> bool:
    """Whether Image Type (0008,0008) says so."""
    return "MOSAIC" in header.image_type


def tiles_of(header: Header) -> tuple[Header, ...]:
    """Every slice of a mosaic, with its own position and size.

    Raises:
        SeriesError: How many slices there are, or how far apart, is not stated.
    """
    count = _count(header)
    side = math.ceil(math.sqrt(count))
    rows, columns = header.integer("Rows"), header.integer("Columns")
    if rows % side or columns % side:
        raise SeriesError(
            f"{header.file}: Rows x Columns {rows} x {columns} do not hold {side} x {side} tiles of {count} slices;"
            " export it as single slices"
        )
    height, width = rows // side, columns // side
    turn = np.array(header.numbers("ImageOrientationPatient", 6)).reshape(2, 3)
    row_mm, column_mm = header.numbers("PixelSpacing", 2)
    first = np.array(header.numbers("ImagePositionPatient", 3))
    first = first + turn[1] * row_mm * (rows - height) / 2 + turn[0] * column_mm * (columns - width) / 2
    step = _normal(header, turn) * _step(header)
    tiles = []
    for k in range(count):
        top, left = k // side * height, k % side * width
        tags = dict(header.tags) | {
            "Rows": height,
            "Columns": width,
            "TotalPixelMatrixRows": rows,  # of the whole mosaic, which the pixels are read from
            "TotalPixelMatrixColumns": columns,
            "ImagePositionPatient": tuple(float(v) for v in first + k * step),
        }
        tiles.append(replace(header, tags=tags, tile=(top, top + height, left, left + width)))
    return tuple(tiles)


def _count(header: Header) -> int:
    if _COUNT in header:
        stated = header.integer(_COUNT)
    else:
        found = csa_values(header, "NumberOfImagesInMosaic")
        stated = int(found[0]) if found else 0
    if not 1 <= stated <= 4096:
        raise SeriesError(
            f"{header.file}: a mosaic that does not state how many slices it has (NumberOfImagesInMosaic in the"
            " private Siemens header); export it as single slices"
        )
    return stated


def _step(header: Header) -> float:
    # not SliceThickness: slices may lie further apart than they are thick
    if "SpacingBetweenSlices" in header and header.number("SpacingBetweenSlices") > 0:
        return header.number("SpacingBetweenSlices")
    raise SeriesError(f"{header.file}: a mosaic that states no SpacingBetweenSlices (0018,0088); export it again")


def _normal(header: Header, turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Direction in which tiles follow each other; Siemens may order them against the cross product."""
    normal: NDArray[np.float64] = np.cross(turn[0], turn[1])
    stated = csa_values(header, "SliceNormalVector")
    if len(stated) == 3:
        along = float(np.dot(stated, normal))
        if abs(abs(along) - 1) > 1e-3:
            raise SeriesError(
                f"{header.file}: SliceNormalVector {stated} of the Siemens header is not perpendicular to"
                " ImageOrientationPatient (0020,0037); export it as single slices"
            )
        normal = normal * np.sign(along)
    return normal


def csa_values(header: Header, name: str) -> tuple[float, ...]:
    """Numbers of one entry of the Siemens CSA image header; empty where it has none or cannot be read."""
    data = header.tags.get(_CSA)
    if not isinstance(data, bytes) or data[:4] != b"SV10" or len(data) < 16:
        return ()
    try:
        return _csa_entry(data, name.encode())
    except (struct.error, ValueError):  # a damaged private header is as good as none
        return ()


def _csa_entry(data: bytes, wanted: bytes) -> tuple[float, ...]:
    (count,) = struct.unpack_from("<I", data, 8)
    at = 16
    for _ in range(min(count, _MAX_TAGS)):
        name, _vm, _vr, _type, items, _check = _TAG.unpack_from(data, at)
        at += _TAG.size
        values = []
        for _ in range(min(items, _MAX_ITEMS)):
            length = _ITEM.unpack_from(data, at)[1]
            at += _ITEM.size
            if not 0 <= length <= len(data) - at:
                raise ValueError("length")
            text = data[at : at + length].split(b"\0", 1)[0].strip()
            if text:
                values.append(text)
            at += (length + 3) // 4 * 4
        if name.split(b"\0", 1)[0] == wanted:
            return tuple(float(v) for v in values)
    return ()
